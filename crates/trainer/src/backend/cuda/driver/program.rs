//! Programs: small operations that wait for those that follow, to be queued as one launch; see
//! `kernels/program.cu`.
//!
//! A job names what it reads and writes. It comes in the phase behind those of the jobs before it
//! that it shares something with, of which one of the two writes; jobs of a phase have no order.

use super::low_rank_table::{Sizes, Table};
use super::memory::Block;
use super::{Arg, Fields, Gpu, View, status, value_bytes};
use crate::error::Result;

/// Values of a unit of a job on a long vector, as in `job.cuh`.
pub const UNIT: usize = 2048;
/// Jobs of a program, as in `program.cu`.
pub const MOST_JOBS: usize = 16;
/// Blocks that share a job: enough to fill any GPU.
const MOST_TICKETS: usize = 2048;
/// Threads of a block.
const THREADS: u32 = 256;
/// The kernels by the bytes of their tables, as in `program.cu`.
const KERNELS: [(&str, usize); 3] =
    [("program_small", 1024), ("program_medium", 8192), ("program_large", 28_672)];
/// Bytes of a job, and its matrices.
const JOB: usize = 192;
const MATRICES: usize = 5;
const SIZES: usize = 6;

/// What a job does, in the order of `job.cuh`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    LoraU,
    LoraY,
    LoraDu,
    LoraDx,
    LoraAb,
    Add,
    Convert,
    AddBias,
    SoftCap,
    Zero,
    Embed,
    PickRows,
    PlaceRows,
    RmsNorm,
    RmsNormBackward,
    HeadNorm,
    HeadNormBackward,
    Rope,
    Glu,
    GluWithSlopes,
    GluBackward,
}

/// Bytes of the device that a job reads or writes.
#[derive(Debug, Clone, Copy)]
pub struct Use {
    begin: u64,
    end: u64,
    writes: bool,
}

impl Use {
    pub fn of(view: View<'_>, writes: bool) -> Self {
        let bytes = view.len * value_bytes(view.narrow);
        Self { begin: view.at, end: view.at + bytes as u64, writes }
    }

    pub const fn of_bytes(at: u64, bytes: usize, writes: bool) -> Self {
        Self { begin: at, end: at + bytes as u64, writes }
    }

    /// The same bytes, read.
    pub const fn as_read(self) -> Self {
        Self { writes: false, ..self }
    }

    const fn conflicts_with(&self, other: &Self) -> bool {
        (self.writes || other.writes) && self.begin < other.end && other.begin < self.end
    }
}

/// A matrix by its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Matrix {
    at: u64,
    len: u64,
    narrow: bool,
}

/// A small operation. It may name matrices that are gone by the time it is queued: their memory
/// belongs to the pool, and whatever takes it later comes later.
#[derive(Debug)]
pub struct Job {
    kind: Kind,
    units: usize,
    sizes: Vec<u32>,
    numbers: Vec<f32>,
    matrices: Vec<Matrix>,
    ints: (u64, u64),
    uses: Vec<Use>,
    phase: usize,
}

impl Job {
    /// A job of this many units; its matrices, sizes and numbers are in the order of the function in
    /// the `.cu` file.
    pub fn new(kind: Kind, units: usize) -> Self {
        Self {
            kind,
            units,
            sizes: Vec::new(),
            numbers: Vec::new(),
            matrices: Vec::new(),
            ints: (0, 0),
            uses: Vec::new(),
            phase: 0,
        }
    }

    /// A job whose blocks share this many values.
    pub fn on_values(kind: Kind, values: usize) -> Self {
        Self::new(kind, values.div_ceil(UNIT))
    }

    fn matrix(mut self, view: View<'_>, writes: bool) -> Self {
        self.matrices.push(Matrix { at: view.at, len: view.len as u64, narrow: view.narrow });
        self.uses.push(Use::of(view, writes));
        self
    }

    /// A matrix that it reads.
    pub fn reads(self, view: View<'_>) -> Self {
        self.matrix(view, false)
    }

    /// A matrix that it writes, and may read.
    pub fn writes(self, view: View<'_>) -> Self {
        self.matrix(view, true)
    }

    /// Whole numbers that it looks up.
    pub fn ints(mut self, view: View<'_>) -> Self {
        self.ints = (view.at, view.len as u64);
        self.uses.push(Use::of(view, false));
        self
    }

    pub fn size(mut self, size: usize) -> Self {
        self.sizes.push(size as u32);
        self
    }

    pub fn number(mut self, number: f64) -> Self {
        self.numbers.push(number as f32);
        self
    }

    /// What it reads and writes beside its matrices.
    pub fn with_uses(mut self, uses: impl IntoIterator<Item = Use>) -> Self {
        self.uses.extend(uses);
        self
    }

    /// All that it reads and writes.
    pub fn uses(&self) -> &[Use] {
        &self.uses
    }

    fn conflicts_with(&self, uses: &[Use]) -> bool {
        self.uses.iter().any(|mine| uses.iter().any(|other| mine.conflicts_with(other)))
    }

    fn fields<'a>(&self, units: usize, [after, until]: [usize; 2]) -> Fields<'a> {
        let head = [self.kind as usize, tickets(units), per_ticket(units), units, after, until];
        let mut fields = head.iter().fold(Fields::default(), |all, n| all.u32(*n as u32));
        for place in 0..SIZES {
            fields = fields.u32(self.sizes.get(place).copied().unwrap_or(0));
        }
        for place in 0..2 {
            fields = fields.f32(self.numbers.get(place).copied().unwrap_or(0.0));
        }
        for place in 0..MATRICES {
            let none = Matrix { at: 0, len: 0, narrow: false };
            let matrix = self.matrices.get(place).unwrap_or(&none);
            fields = fields.u64(matrix.at).u64(matrix.len).u64(u64::from(matrix.narrow));
        }
        fields.u64(self.ints.0).u64(self.ints.1)
    }
}

/// Units that one block does.
fn per_ticket(units: usize) -> usize {
    units.div_ceil(MOST_TICKETS)
}

fn tickets(units: usize) -> usize {
    units.div_ceil(per_ticket(units).max(1))
}

/// Jobs that wait.
#[derive(Debug, Default)]
pub struct Program {
    jobs: Vec<Job>,
    /// The low-rank paths that some of the jobs are of.
    pub lora: Option<Table>,
    /// Memory that only these jobs use.
    pub held: Vec<Block>,
}

/// Units of a job on a table of low-rank paths.
const fn units_on(table: &Sizes, kind: Kind) -> Option<usize> {
    match kind {
        Kind::LoraU | Kind::LoraDu => Some(table.u),
        Kind::LoraY => Some(table.y),
        Kind::LoraDx => Some(table.dx),
        Kind::LoraAb => Some(table.ab),
        _ => None,
    }
}

impl Program {
    pub const fn len(&self) -> usize {
        self.jobs.len()
    }

    pub fn push(&mut self, mut job: Job) {
        let before = self.jobs.iter().filter(|before| before.conflicts_with(&job.uses));
        job.phase = before.map(|before| before.phase + 1).max().unwrap_or(0);
        self.jobs.push(job);
    }

    /// Whether a job can use more without changing its phase.
    pub fn can_grow(&self, place: usize, uses: &[Use]) -> bool {
        let phase = self.jobs[place].phase;
        let others = self.jobs.iter().enumerate().filter(|(other, _)| *other != place);
        others.filter(|(_, job)| job.phase >= phase).all(|(_, job)| !job.conflicts_with(uses))
    }

    /// Lets a job do another's work as well.
    pub fn grow(&mut self, place: usize, by: Job) {
        self.jobs[place].uses.extend(by.uses);
    }

    /// `x += y` right before the norm of x is done by the norm, which reads x once then.
    fn take_residual(&mut self, norm: Job) -> Job {
        let Some(add) = self.jobs.last().filter(|last| last.kind == Kind::Add) else { return norm };
        let is_its = norm.kind == Kind::RmsNorm && add.matrices[0] == norm.matrices[2];
        // What is written in place of a sum's second part that nobody needs any more.
        let second = add.uses[1];
        if !is_its || norm.uses[..2].iter().any(|written| written.conflicts_with(&second)) {
            return norm;
        }
        let mut norm = norm;
        norm.matrices.push(add.matrices[1]);
        norm.uses.extend(&add.uses);
        self.jobs.pop();
        norm
    }
}

impl Gpu {
    /// Lets a job wait for those that follow.
    pub fn queue(&self, job: Job) -> Result<()> {
        if job.units == 0 {
            return Ok(());
        }
        let mut program = self.pending();
        let job = program.take_residual(job);
        if program.len() == MOST_JOBS {
            self.run(&mut program)?;
        }
        program.push(job);
        Ok(())
    }

    /// Queues the jobs of a program, which is empty then.
    pub(super) fn run(&self, program: &mut Program) -> Result<()> {
        if program.jobs.is_empty() {
            return Ok(());
        }
        let Program { mut jobs, lora, held } = std::mem::take(program);
        jobs.sort_by_key(|job| job.phase);
        let (tables, lora) = lora.map(Table::encode).unwrap_or_default();
        let units: Vec<usize> =
            jobs.iter().map(|job| units_on(&lora, job.kind).unwrap_or(job.units)).collect();
        let of_phase = |phase: usize| {
            let all = jobs.iter().zip(&units).filter(move |(job, _)| job.phase < phase);
            all.map(|(_, units)| tickets(*units)).sum::<usize>()
        };
        let all = of_phase(usize::MAX);
        let counts = [jobs.len(), all, lora.slots, lora.segments];
        let mut fields = counts.iter().fold(Fields::default(), |to, n| to.u32(*n as u32));
        for (job, units) in jobs.iter().zip(&units) {
            let phase = [of_phase(job.phase), of_phase(job.phase + 1)];
            fields = fields.then(&job.fields(*units, phase));
        }
        let fields = fields.filled_to(16 + MOST_JOBS * JOB).then(&tables);
        let (kernel, bytes) = KERNELS
            .into_iter()
            .find(|(_, bytes)| tables.len() <= *bytes)
            .ok_or_else(|| status::broken("tables of low-rank paths that are too long"))?;
        let fields = fields.filled_to(16 + MOST_JOBS * JOB + bytes);
        let args = [Arg::u64(self.progress as usize), fields.arg()];
        let started =
            if all == 0 { Ok(()) } else { self.start(kernel, (all, 1), THREADS, 0, &args) };
        let mut blocks = self.blocks();
        for block in held {
            blocks.release(block);
        }
        started
    }
}
