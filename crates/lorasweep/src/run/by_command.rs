//! A sweep whose trials a command trains: the same drive, with one worker that needs no model.

use spec::DeviceChoice;
use worker::launch::local::LocalLauncher;
use worker::{Drive, Steps};

use super::{Run, stop_on_signals};
use crate::error::Error;
use crate::exit::Exit;
use crate::progress::{self, Plan};
use crate::report::publish::tables;
use crate::workers::start::WorkerStart;
use crate::plan::workload::Workload;

impl Run<'_> {
    pub(super) fn train_by_command(&self) -> Result<Exit, Error> {
        let mut opened = self.open()?;
        let folder = opened.dir.folder().clone();
        let stop = stop_on_signals()?;
        let live = self.follow(&opened)?;
        let plan = Plan { trials: self.planner.total(), workload: Workload::default() };
        let mut progress = progress::start(self.mode(), plan, self.output);
        let start = WorkerStart::new(self.file, &folder, vec![DeviceChoice::Cpu])?;
        let finish = Drive {
            settings: (&self.file.sweep).into(),
            planner: &*self.planner,
            pruner: self.pruner.as_deref(),
            // Nobody can tell before; a command's trials share no steps.
            steps: &|_| Steps { total: 0, shared: None, micro_batches: 1 },
            launcher: &mut LocalLauncher::new(folder),
            workers: 1,
            command: &|berth| start.command(berth),
            sweep: &mut opened,
            observer: &mut *progress,
            tables: &tables,
            tested: None,
            stop: &stop,
        }
        .run();
        progress.close();
        live.stop();
        self.conclude(&opened, finish)
    }
}
