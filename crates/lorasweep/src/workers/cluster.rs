//! A sweep's jobs on a cluster, as its controller reports them.

use std::path::Path;
use std::time::Duration;

use spec::SlurmSettings;
use store::SweepFolder;
use worker::launch::{Hint, Launcher, SlurmLauncher, render_script};
use worker::{Berth, WorkerError};

use super::Workers;
use super::start::{WorkerStart, slurm_folder};
use crate::error::Error;
use crate::inputs::sweep_file::SweepFile;

/// Somebody waits for the answer.
const LIMIT: Duration = Duration::from_secs(15);

/// What can be asked of the cluster on which a sweep has had jobs; `None` for a sweep that has not.
pub fn cluster(folder: &SweepFolder, sweep: &str) -> Result<Option<SlurmLauncher>, Error> {
    let dir = slurm_folder(folder.path());
    if !dir.is_dir() {
        return Ok(None);
    }
    // What new jobs would ask for does not matter here.
    let cluster = SlurmLauncher::open(SlurmSettings::default(), sweep, &dir);
    Ok(Some(cluster.map_err(WorkerError::Launch)?.with_limit(LIMIT)))
}

/// Ends the jobs that are left, since those in a queue look at no file; one that runs saves first.
/// `cancelled` is called for each with its number, its worker, and its state before.
pub fn cancel_jobs(
    folder: &SweepFolder,
    cancelled: &mut dyn FnMut(&str, &str, &str),
) -> Result<(), Error> {
    let Some(mut cluster) = cluster(folder, &folder.identity()?.name)? else { return Ok(()) };
    for (worker, (job, hint)) in cluster.jobs().map_err(WorkerError::Launch)? {
        cluster.kill(&job).map_err(WorkerError::Launch)?;
        cancelled(&job.0, &worker, &in_words(&hint));
    }
    Ok(())
}

/// A job's state in a few words.
pub fn in_words(hint: &Hint) -> String {
    match hint {
        Hint::Queued { reason } => format!("queued ({reason})"),
        Hint::Running { place } => format!("running on {place}"),
        Hint::Gone { how } => how.clone(),
        Hint::Unknown { said } => said.clone(),
    }
}

/// The script of a sweep's first job, if it asks for jobs; `results` is where the sweep's folder
/// will be.
pub fn script(
    file: &SweepFile,
    results: &Path,
    workers: &Workers,
) -> Result<Option<String>, Error> {
    let Some(slurm) = file.sweep.executor.kind.slurm() else { return Ok(None) };
    let folder = SweepFolder::at(results.join(&file.sweep.name));
    let start = WorkerStart::jobs(file, &folder, workers, slurm)?;
    let command = start.command(&Berth { name: "worker-001", index: 0, seq: 0 });
    let dir = slurm_folder(start.dir());
    let script = render_script(slurm, &file.sweep.name, &dir, &command);
    Ok(Some(script.map_err(WorkerError::Launch)?))
}
