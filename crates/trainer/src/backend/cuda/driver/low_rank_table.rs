//! Low-rank paths as the kernels read them: slots, and the modules that read one input.

use std::ops::Range;

use super::{Fields, View};

/// Side of a tile, as in `common.cuh`.
const TILE: usize = 32;
/// Bytes of a slot and of a segment in `lora.cu`, and of all that a launch takes.
const ENTRY: usize = 64;
const MOST_BYTES: usize = 28_672;
/// Paths that a call may have.
pub const MOST_PARTS: usize = MOST_BYTES / ENTRY / 2;

/// One slot at one module.
#[derive(Debug)]
pub struct LoraPart<'a> {
    pub slot: LoraSlot,
    /// All values of the slot, and their gradient in the backward pass.
    pub params: View<'a>,
    pub grad: Option<View<'a>>,
    /// `x A^T` of the slot's rows.
    pub u: View<'a>,
    /// Where A and B begin among the values.
    pub a: usize,
    pub b: usize,
    pub rank: usize,
    pub scale: f32,
    /// Of the dropout.
    pub key: u64,
}

/// What the modules of a slot have in common.
#[derive(Debug, Clone, PartialEq)]
pub struct LoraSlot {
    pub rows: Range<usize>,
    /// Dropout: the hash of its first row, below which value a hash drops, what is kept times this.
    pub key_row: u64,
    pub threshold: u32,
    pub keep: f32,
}

/// The paths at one module.
#[derive(Debug)]
pub struct LoraCall<'a> {
    pub x: View<'a>,
    /// The output, or its gradient.
    pub y: View<'a>,
    /// The gradient of x that is added to; `None` where none is wanted.
    pub dx: Option<View<'a>>,
    pub is_backward: bool,
    /// Columns of x and of y.
    pub inputs: usize,
    pub width: usize,
    /// The module's columns of y.
    pub cols: Range<usize>,
    pub parts: Vec<LoraPart<'a>>,
}

/// What all modules of a table share.
#[derive(Debug, PartialEq, Eq)]
pub struct Shared {
    pub matrices: [u64; 3],
    pub is_backward: bool,
    pub inputs: usize,
    pub width: usize,
}

#[derive(Debug)]
struct Segment {
    slot: usize,
    key: u64,
    u: u64,
    du: u64,
    a: usize,
    b: usize,
    rank: usize,
    scale: f32,
    cols: Range<usize>,
}

/// Slots by the addresses of their values and gradients, and their paths at some modules.
#[derive(Debug)]
pub struct Table {
    shared: Shared,
    slots: Vec<([u64; 2], usize, LoraSlot)>,
    segments: Vec<Segment>,
    /// Where its jobs begin in the program.
    pub first_job: usize,
}

/// Units of the jobs of a table, and its length.
#[derive(Debug, Default)]
pub struct Sizes {
    pub slots: usize,
    pub segments: usize,
    pub u: usize,
    pub y: usize,
    pub dx: usize,
    pub ab: usize,
}

const fn tiles(n: usize) -> usize {
    n.div_ceil(TILE)
}

impl Table {
    /// A table without paths, of which the jobs begin at `first_job`.
    pub const fn new(shared: Shared, first_job: usize) -> Self {
        Self { shared, slots: Vec::new(), segments: Vec::new(), first_job }
    }

    /// Whether the paths of another module fit into it.
    pub fn has_room_for(&self, call: &LoraCall<'_>, shared: &Shared) -> bool {
        let entries = self.slots.len() + self.segments.len() + 2 * call.parts.len();
        self.shared == *shared
            && entries * ENTRY <= MOST_BYTES
            && call.parts.iter().all(|part| self.place_of(part).is_some())
    }

    /// The slot of a part, if its rows are those of the other modules; a new one where there is none.
    fn place_of(&self, part: &LoraPart<'_>) -> Option<usize> {
        let addresses = addresses(part);
        match self.slots.iter().position(|(of, ..)| *of == addresses) {
            Some(place) => (self.slots[place].2 == part.slot).then_some(place),
            None => Some(self.slots.len()),
        }
    }

    /// Adds the paths of a module, of which the gradients of u begin at `du`.
    pub fn add(&mut self, call: &LoraCall<'_>, mut du: u64) {
        for part in &call.parts {
            let place = self.place_of(part).unwrap_or(self.slots.len());
            if place == self.slots.len() {
                self.slots.push((addresses(part), part.params.len, part.slot.clone()));
            }
            self.segments.push(Segment {
                slot: place,
                key: part.key,
                u: part.u.at,
                du,
                a: part.a,
                b: part.b,
                rank: part.rank,
                scale: part.scale,
                cols: call.cols.clone(),
            });
            du += 4 * part.u.len as u64;
        }
    }

    /// The bytes that the kernels read, and the sizes of the jobs.
    pub fn encode(mut self) -> (Fields<'static>, Sizes) {
        // The modules of a slot one after the other, in their order.
        self.segments.sort_by_key(|segment| segment.slot);
        let mut sizes =
            Sizes { slots: self.slots.len(), segments: self.segments.len(), ..Sizes::default() };
        let mut fields = Fields::default();
        for (place, ([params, grad], values, slot)) in self.slots.iter().enumerate() {
            let begin = self.segments.partition_point(|s| s.slot < place);
            let end = self.segments.partition_point(|s| s.slot <= place);
            fields = fields
                .u64(*params)
                .u64(*grad)
                .u64(*values as u64)
                .u64(slot.key_row)
                .u32(slot.rows.start as u32)
                .u32(slot.rows.len() as u32)
                .u32(slot.threshold)
                .f32(slot.keep)
                .u32(begin as u32)
                .u32(end as u32)
                .u32(sizes.dx as u32)
                .u32(0);
            sizes.dx += tiles(slot.rows.len()) * tiles(self.shared.inputs);
        }
        for segment in &self.segments {
            let Segment { slot, key, u, du, a, b, rank, scale, cols } = segment;
            fields = fields.u64(*key).u64(*u).u64(*du).u32(*a as u32).u32(*b as u32);
            fields = fields.u32(*rank as u32).f32(*scale);
            for n in [cols.start, cols.len(), *slot, sizes.u, sizes.y, sizes.ab] {
                fields = fields.u32(n as u32);
            }
            let rows = tiles(self.slots[*slot].2.rows.len());
            sizes.u += rows * tiles(*rank);
            sizes.y += rows * tiles(cols.len());
            sizes.ab += tiles(*rank) * (tiles(self.shared.inputs) + tiles(cols.len()));
        }
        (fields, sizes)
    }
}

fn addresses(part: &LoraPart<'_>) -> [u64; 2] {
    [part.params.at, part.grad.map_or(0, |grad| grad.at)]
}
