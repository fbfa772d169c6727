//! Low-rank paths as jobs of a program: the modules that read one input share their jobs.

use std::ops::Range;

use super::memory::Block;
use super::program::{Job, Kind, MOST_JOBS, Program, Use};
use super::{Fields, Gpu, View};
use crate::error::Result;

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
struct Shared {
    matrices: [u64; 3],
    is_backward: bool,
    inputs: usize,
    width: usize,
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
    first_job: usize,
}

/// Units of the jobs of a table, and its length.
#[derive(Debug, Default)]
pub struct Sizes {
    pub slots: usize,
    pub segments: usize,
    u: usize,
    y: usize,
    dx: usize,
    ab: usize,
}

impl Sizes {
    /// The units of a job on the table.
    pub const fn units_of(&self, kind: Kind) -> Option<usize> {
        match kind {
            Kind::LoraU | Kind::LoraDu => Some(self.u),
            Kind::LoraY => Some(self.y),
            Kind::LoraDx => Some(self.dx),
            Kind::LoraAb => Some(self.ab),
            _ => None,
        }
    }
}

const fn tiles(n: usize) -> usize {
    n.div_ceil(TILE)
}

impl Table {
    fn entries(&self) -> usize {
        self.slots.len() + self.segments.len()
    }

    /// The slot of a part, if its rows are those of the other modules; a new one where there is none.
    fn place_of(&self, part: &LoraPart<'_>) -> Option<usize> {
        let addresses = addresses(part);
        match self.slots.iter().position(|(of, ..)| *of == addresses) {
            Some(place) => (self.slots[place].2 == part.slot).then_some(place),
            None => Some(self.slots.len()),
        }
    }

    fn add(&mut self, call: &LoraCall<'_>, mut du: u64) {
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

/// A job on the tables, with what it reads and writes.
fn jobs(call: &LoraCall<'_>, du: Option<Use>) -> Vec<Job> {
    let of_parts = |view: fn(&LoraPart<'_>) -> Option<Use>| call.parts.iter().filter_map(view);
    let params = || of_parts(|part| Some(Use::of(part.params, false)));
    let reads_u = || of_parts(|part| Some(Use::of(part.u, false)));
    let job = |kind| Job::new(kind, 1);
    let (inputs, width) = (call.inputs, call.width);
    if !call.is_backward {
        let writes_u = of_parts(|part| Some(Use::of(part.u, true)));
        let u = job(Kind::LoraU).reads(call.x).size(inputs).with_uses(params()).with_uses(writes_u);
        let y = job(Kind::LoraY).writes(call.y).size(width).with_uses(params());
        return vec![u, y.with_uses(reads_u())];
    }
    let reads_du = du.map(Use::as_read);
    let grads = of_parts(|part| part.grad.map(|grad| Use::of(grad, true)));
    let of_du = job(Kind::LoraDu).reads(call.y).size(width).with_uses(params()).with_uses(du);
    let of_dx = call.dx.map(|dx| {
        job(Kind::LoraDx).writes(dx).size(inputs).with_uses(params()).with_uses(reads_du)
    });
    let of_ab = job(Kind::LoraAb).reads(call.x).reads(call.y).size(inputs).size(width);
    let of_ab = of_ab.with_uses(reads_u()).with_uses(reads_du).with_uses(grads);
    [Some(of_du), of_dx, Some(of_ab)].into_iter().flatten().collect()
}

impl Program {
    /// Whether the paths of another module can share the jobs of those that wait.
    fn can_join(&self, call: &LoraCall<'_>, shared: &Shared, jobs: &[Job]) -> bool {
        let Some(table) = &self.lora else { return false };
        let entries = table.entries() + 2 * call.parts.len();
        table.shared == *shared
            && table.first_job + jobs.len() == self.len()
            && entries * ENTRY <= MOST_BYTES
            && call.parts.iter().all(|part| table.place_of(part).is_some())
            && (jobs.iter().enumerate())
                .all(|(place, job)| self.can_grow(table.first_job + place, job.uses()))
    }
}

impl Gpu {
    /// Lets the paths of a module wait for what follows; those of other modules on the same matrices
    /// join them.
    pub fn queue_lora(&self, call: &LoraCall<'_>) -> Result<()> {
        let values: usize = call.parts.iter().map(|part| part.u.len).sum();
        if values == 0 {
            return Ok(());
        }
        let held: Option<Block> =
            if call.is_backward { Some(self.block(4 * values)?) } else { None };
        let at = held.map_or(0, |(_, at)| at);
        let du = held.map(|(_, at)| Use::of_bytes(at, 4 * values, true));
        let shared = Shared {
            matrices: [call.x.at, call.y.at, call.dx.map_or(0, |dx| dx.at)],
            is_backward: call.is_backward,
            inputs: call.inputs,
            width: call.width,
        };
        let jobs = jobs(call, du);
        let mut program = self.pending();
        if program.can_join(call, &shared, &jobs) {
            let first = program.lora.as_ref().map_or(0, |table| table.first_job);
            for (place, job) in jobs.into_iter().enumerate() {
                program.grow(first + place, job);
            }
        } else {
            if program.lora.is_some() || program.len() + jobs.len() > MOST_JOBS {
                self.run(&mut program)?;
            }
            let (slots, segments, first_job) = (Vec::new(), Vec::new(), program.len());
            for job in jobs {
                program.push(job);
            }
            program.lora = Some(Table { shared, slots, segments, first_job });
        }
        if let Some(table) = &mut program.lora {
            table.add(call, at);
        }
        program.held.extend(held);
        Ok(())
    }
}
