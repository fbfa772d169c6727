//! Low-rank paths as jobs of a program: the modules that read one input share their jobs.

use super::Gpu;
use super::low_rank_table::{LoraCall, LoraPart, Shared, Table};
use super::memory::Block;
use super::program::{Job, Kind, MOST_JOBS, Program, Use};
use crate::error::Result;

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
        table.has_room_for(call, shared)
            && table.first_job + jobs.len() == self.len()
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
            let table = Table::new(shared, program.len());
            for job in jobs {
                program.push(job);
            }
            program.lora = Some(table);
        }
        if let Some(table) = &mut program.lora {
            table.add(call, at);
        }
        program.held.extend(held);
        Ok(())
    }
}
