//! A sweep whose trials a command trains: the same drive, with one worker that needs no model.

use spec::{DeviceChoice, Steps};
use worker::Drive;
use worker::launch::local::LocalLauncher;

use super::observer::{Observer, Watched};
use super::{Run, RunOutcome};
use crate::error::Error;
use crate::plan::workload::Workload;
use crate::report::publish::tables;
use crate::workers::start::WorkerStart;

impl Run<'_> {
    pub(super) fn train_by_command(
        &self,
        observer: &mut dyn Observer,
    ) -> Result<RunOutcome, Error> {
        let mut opened = self.open(observer)?;
        let folder = opened.dir.folder().clone();
        let live = self.begin(&opened, &Workload::default(), observer)?;
        let start = WorkerStart::new(self.file, &folder, self.workers, vec![DeviceChoice::Cpu])?;
        let finish = Drive {
            settings: (&self.file.sweep).into(),
            planner: &*self.planner,
            pruner: self.pruner.as_deref(),
            // It is not known beforehand; a command's trials share no steps.
            steps: &|_| Steps { total: 0, shared: None, micro_batches: 1 },
            launcher: &mut LocalLauncher::new(folder),
            workers: 1,
            command: &|berth| start.command(berth),
            sweep: &mut opened,
            observer: &mut Watched { observer, live: &live },
            tables: &tables,
            tested: None,
            stop: &self.options.stop,
        }
        .run();
        self.conclude(opened, live, None, finish, observer)
    }
}
