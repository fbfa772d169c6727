//! A sweep whose trials a command trains: the same loop, without a model of its own.

use spec::CommandSettings;
use worker::{CommandTrainer, Drive};

use super::{Run, stop_on_signals, tables};
use crate::error::CliError;
use crate::exit::Exit;
use crate::progress::{self, Plan};
use crate::workload::Workload;

impl Run<'_> {
    pub(super) fn train_by_command(&self, settings: &CommandSettings) -> Result<Exit, CliError> {
        let mut opened = self.open()?;
        let folder = opened.dir.folder().clone();
        let mut trainer = CommandTrainer::new(&self.file.sweep, settings.clone(), folder)?;
        let stop = stop_on_signals()?;
        let live = self.follow(&opened)?;
        let plan = Plan { trials: self.planner.total(), workload: Workload::default() };
        let mut progress = progress::start(self.mode(), plan, self.output);
        let finish = Drive {
            settings: (&self.file.sweep).into(),
            planner: &*self.planner,
            pruner: self.pruner.as_deref(),
            trainer: &mut trainer,
            sweep: &mut opened,
            observer: &mut *progress,
            tables: &tables,
            stop: &stop,
        }
        .run();
        progress.close();
        live.stop();
        // Commands that still run are ended before the report is drawn.
        drop(trainer);
        self.conclude(&opened, finish)
    }
}
