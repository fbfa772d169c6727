//! Runs a sweep: plans it, trains its trials through workers, and writes its report.

mod by_command;
mod extend;
pub mod external;
pub mod observer;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use data::PreparedData;
use planner::{Planner, Pruner};
use reporter::{Lang, Ranking};
use spec::{Event, ExecutorKind, Method, Outcome, SweepState, TrialConfig, TrialId};
use store::{Found, Identity, Opened, Request, SweepDir, SweepFolder};
use trainer::plan;
use worker::launch::local::LocalLauncher;
use worker::launch::{Launcher, SlurmLauncher};
use worker::{ChooseTested, Drive, Finish, WorkerError};

use self::observer::{Notice, Observer, Started, Trained, Watched};
use crate::error::Error;
use crate::export;
use crate::inputs::sweep_file::SweepFile;
use crate::inputs::{self, Settings};
use crate::plan::base::Base;
use crate::plan::checkpoints::{self, Checkpoints};
use crate::plan::workload::{self, MemoryPlan, Workload};
use crate::plan::{devices, foresight, preflight, warm_start};
use crate::report::live::Live;
use crate::report::publish::{self, Published, tables};
use crate::workers::Workers;
use crate::workers::start::{self, WorkerStart};

/// How a sweep is run.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// Begin anew: earlier results are moved aside, never deleted.
    pub fresh: bool,
    /// Trials to train beside those that the planner proposes.
    pub add: Vec<TrialConfig>,
    /// The language of the report.
    pub lang: Lang,
    /// Set it to stop: trials are saved after their current step, and another run resumes them.
    pub stop: Arc<AtomicBool>,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self { fresh: false, add: Vec::new(), lang: Lang::En, stop: Arc::default() }
    }
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunEnd {
    /// No trial is left.
    Finished,
    /// An earlier run had finished the sweep: nothing was left to do.
    NothingToDo,
    /// It was stopped; what was trained is saved, and another run resumes it.
    Interrupted,
}

/// What a run has left.
#[derive(Debug)]
pub struct RunOutcome {
    /// How it ended.
    pub end: RunEnd,
    /// The sweep's results folder.
    pub folder: SweepFolder,
    /// Everything that happened to the sweep.
    pub state: SweepState,
    /// The ranking, where the run made one: not after an interruption, nor where the report was
    /// there already. [`Sweep::report`](crate::Sweep::report) makes it at any time.
    pub ranking: Option<Ranking>,
    /// Why no further trial was proposed although there could be more.
    pub conclusion: Option<String>,
    /// Whether the report's files are all as they should be.
    pub report: Result<(), Error>,
}

impl RunOutcome {
    /// Whether every trial failed or diverged, so that there is nothing to use.
    pub fn is_useless(&self) -> bool {
        let is_useless = |outcome: &Outcome| {
            matches!(outcome, Outcome::Failed { .. } | Outcome::Diverged { .. })
        };
        let mut trials = self.state.trials.values();
        trials.all(|trial| trial.outcome().is_some_and(is_useless))
    }
}

/// Runs the sweep of `file`, with its results in a folder of `results`.
pub fn run(
    file: &SweepFile,
    results: &Path,
    workers: &Workers,
    options: &RunOptions,
    observer: &mut dyn Observer,
) -> Result<RunOutcome, Error> {
    for warning in &file.sweep.warnings {
        observer.notice(&Notice::SweepFile(warning));
    }
    let run = Run::new(file, results, workers, options)?;
    let earlier = run.earlier()?;
    if let Some(found) = &earlier
        && run.is_finished(found)?
    {
        return run.nothing_to_do(&found.state, observer);
    }
    match &file.sweep.executor.kind {
        ExecutorKind::Local | ExecutorKind::Slurm(_) => {
            workers.refuse_impossible()?;
            run.train(earlier.map_or(0, |found| checkpoints::ended(&found.state)), observer)
        }
        ExecutorKind::Command(_) => {
            workers.refuse_impossible()?;
            run.train_by_command(observer)
        }
        ExecutorKind::External => Err(Error::TrainsElsewhere { path: file.path.clone() }),
    }
}

/// One launch.
struct Run<'a> {
    file: &'a SweepFile,
    results: &'a Path,
    workers: &'a Workers,
    options: &'a RunOptions,
    planner: Box<dyn Planner>,
    pruner: Option<Box<dyn Pruner>>,
    trials: Option<Vec<spec::Trial>>,
    identity: Identity,
}

impl<'a> Run<'a> {
    fn new(
        file: &'a SweepFile,
        results: &'a Path,
        workers: &'a Workers,
        options: &'a RunOptions,
    ) -> Result<Self, Error> {
        let planner = planner::for_sweep(&file.sweep);
        let pruner = planner::pruner_for(&file.sweep);
        let trials = workload::all_trials(&*planner);
        let identity = inputs::identity(file, planner.total(), results)?;
        let planner = warm_start::planner(&file.sweep, &identity, None)?;
        Ok(Self { file, results, workers, options, planner, pruner, trials, identity })
    }

    /// This sweep as an earlier launch left it. Refuses a folder that this launch could
    /// not use, before anything expensive is done.
    fn earlier(&self) -> Result<Option<Found>, Error> {
        if self.options.fresh {
            return Ok(None);
        }
        Ok(SweepDir::look(self.results, &self.identity)?)
    }

    /// Whether an earlier launch left nothing to do.
    fn is_finished(&self, Found { state, extended }: &Found) -> Result<bool, Error> {
        if !extended.is_empty() || !self.options.add.is_empty() || self.has_requests()? {
            return Ok(false);
        }
        // The test rows are evaluated once all trials have ended: that may be left to do.
        let is_tested = self.file.sweep.data.test.is_none()
            || !self.file.sweep.executor.kind.is_own()
            || state.test.contains_key(&TrialId::BASE);
        // Replicates may have been asked for after the end.
        Ok(state.finished && is_tested && self.planner.suggest(state, 1).is_empty())
    }

    /// Whether people asked something of the sweep that no driver has seen to.
    fn has_requests(&self) -> Result<bool, Error> {
        let folder = SweepFolder::at(self.results.join(&self.identity.name));
        Ok(!folder.requests()?.is_empty())
    }

    fn nothing_to_do(
        &self,
        state: &SweepState,
        observer: &mut dyn Observer,
    ) -> Result<RunOutcome, Error> {
        let folder = SweepFolder::open(self.results.join(&self.identity.name))?;
        let settings = Settings::of(&self.identity)?;
        let (mut ranking, mut report) = (None, Ok(()));
        if !publish::is_published(&folder, state) {
            let lang = self.options.lang;
            let published = publish::publish(&folder, &folder, state, &settings, lang)?;
            let (made, is_whole) = ranking_of(published, observer);
            (ranking, report) = (Some(made), is_whole);
        }
        let (end, state) = (RunEnd::NothingToDo, state.clone());
        Ok(RunOutcome { end, folder, state, ranking, conclusion: None, report })
    }

    /// Trains what an earlier launch, in which this many trials ended, has left.
    fn train(&self, ended: usize, observer: &mut dyn Observer) -> Result<RunOutcome, Error> {
        let (base, data) = preflight::prepare(&self.file.sweep)?;
        self.report_inputs(&base, &data, observer)?;
        let workload = self.workload(&data, observer);
        let memory = self.plan_memory(&base, &data)?;
        let planner = self.planner_within_memory(&base, &data)?;
        self.ask_for_room(&base, &data, memory.as_ref(), ended)?;
        let facts = inputs::facts(&self.file.sweep, &data)?;
        let examples = data.train.examples.len();
        let tokens_per_example = plan::tokens_per_example(&data.train);
        // Workers prepare it for themselves.
        drop(data);
        let mut opened = self.open(observer)?;
        if opened.state.facts.as_ref() != Some(&facts) {
            let prepared = Event::DataPrepared { facts };
            opened.record(&[prepared])?;
        }
        let live = self.begin(&opened, &workload, observer)?;
        let folder = opened.dir.folder().clone();
        let executor = &self.file.sweep.executor;
        let start = if let Some(slurm) = executor.kind.slurm() {
            WorkerStart::jobs(self.file, &folder, self.workers, slurm)?
        } else {
            let devices = devices::of(executor)?;
            WorkerStart::new(self.file, &folder, self.workers, devices)?
        };
        let mut launcher = self.launcher(&folder)?;
        let report = Settings::of(&self.identity)?.report;
        let choose = |state: &SweepState| {
            let ranking = reporter::rank(state, &report, self.options.lang);
            export::best_trial(&folder, state, &ranking)
        };
        // A command has nothing that evaluates test rows.
        let has_test =
            self.file.sweep.data.test.is_some() && self.file.sweep.executor.kind.is_own();
        let tested: Option<&ChooseTested> = if has_test { Some(&choose) } else { None };
        let train = &self.file.sweep.train;
        let finish = Drive {
            settings: self.drive_settings(),
            planner: planner.as_deref().unwrap_or(&*self.planner),
            pruner: self.pruner.as_deref(),
            steps: &|trial| plan::steps(trial, examples, tokens_per_example, train),
            launcher: &mut *launcher,
            workers: start.most(),
            command: &|berth| start.command(berth),
            sweep: &mut opened,
            observer: &mut Watched { observer, live: &live },
            tables: &tables,
            tested,
            stop: &self.options.stop,
        }
        .run();
        self.conclude(opened, live, memory.as_ref(), finish, observer)
    }

    /// What starts the workers.
    fn launcher(&self, folder: &SweepFolder) -> Result<Box<dyn Launcher>, Error> {
        let Some(slurm) = self.file.sweep.executor.kind.slurm() else {
            return Ok(Box::new(LocalLauncher::new(folder.clone())));
        };
        let (name, dir) = (&self.file.sweep.name, start::slurm_folder(folder.path()));
        let launcher = SlurmLauncher::open(slurm.clone(), name, &dir);
        Ok(Box::new(launcher.map_err(WorkerError::Launch)?))
    }

    fn drive_settings(&self) -> worker::Settings {
        /// What a cluster's controller is asked no more often.
        const BETWEEN_POLLS: Duration = Duration::from_secs(15);
        /// What a shared file system is asked no more often.
        const BETWEEN_READS: Duration = Duration::from_millis(500);
        let settings = worker::Settings::from(&self.file.sweep);
        match self.file.sweep.executor.kind.slurm() {
            None => settings,
            Some(_) => worker::Settings {
                poll_every: BETWEEN_POLLS,
                read_every: BETWEEN_READS,
                ..settings
            },
        }
    }

    /// Plans the memory of the first worker, so that what cannot fit is refused before anything
    /// is started; `None` where workers run on other machines.
    fn plan_memory(&self, base: &Base, data: &PreparedData) -> Result<Option<MemoryPlan>, Error> {
        if self.file.sweep.executor.kind.slurm().is_some() {
            return Ok(None);
        }
        let sweep = devices::on_first_device(&self.file.sweep)?;
        let trials = workload::known_trials(&sweep, self.trials.as_deref());
        MemoryPlan::for_sweep(&sweep, base, &trials, data).map(Some)
    }

    /// Refuses to begin where the disk has no room for one checkpoint of each trial in training.
    fn ask_for_room(
        &self,
        base: &Base,
        data: &PreparedData,
        memory: Option<&MemoryPlan>,
        ended: usize,
    ) -> Result<(), Error> {
        let (sweep, total) = (&self.file.sweep, self.planner.total());
        let trials = workload::known_trials(sweep, self.trials.as_deref());
        let rows = data.validation.examples.len();
        let planned = Checkpoints::of(sweep, base.config(), &trials, rows, memory, total)?;
        let name = &self.identity.name;
        // Old results are moved aside on the same disk.
        let there = if self.options.fresh { format!("{name}.new") } else { name.clone() };
        planned.ask_for_room(&SweepFolder::at(self.results.join(there)), ended, total)
    }

    /// A planner that does not propose what cannot fit on the first worker's device, where there is
    /// one that heeds it.
    fn planner_within_memory(
        &self,
        base: &Base,
        data: &PreparedData,
    ) -> Result<Option<Box<dyn Planner>>, Error> {
        let sweep = &self.file.sweep;
        if sweep.method != Method::Bayes || sweep.executor.kind.slurm().is_some() {
            return Ok(None);
        }
        let first = devices::on_first_device(sweep)?;
        let fits = workload::fits_on_device(&first, base, data)?;
        warm_start::planner(sweep, &self.identity, Some(fits)).map(Some)
    }

    /// Training starts: from here on `report.html` is kept up to date.
    fn begin(
        &self,
        opened: &Opened,
        workload: &Workload,
        observer: &mut dyn Observer,
    ) -> Result<Live, Error> {
        let (folder, trials) = (opened.dir.folder(), self.planner.total());
        observer.started(&Started { folder, trials, workload });
        Live::start(folder.clone(), Settings::of(&self.identity)?, self.options.lang)
    }

    fn report_inputs(
        &self,
        base: &Base,
        data: &PreparedData,
        observer: &mut dyn Observer,
    ) -> Result<(), Error> {
        observer.notice(&Notice::Data(&data.report));
        let foreseen = foresight::warnings(&self.file.sweep.model, base, data)?;
        for warning in base.warnings().iter().chain(&foreseen) {
            observer.notice(&Notice::Warning(warning));
        }
        Ok(())
    }

    fn workload(&self, data: &PreparedData, observer: &mut dyn Observer) -> Workload {
        let sweep = &self.file.sweep;
        let trials = workload::known_trials(sweep, self.trials.as_deref());
        let workload = Workload::of(&trials, sweep, data);
        for warning in foresight::beyond_the_end(sweep, &workload) {
            observer.notice(&Notice::Warning(&warning));
        }
        // A sample has the rule's number of evaluations, and not the sweep's work.
        if self.trials.is_some() { workload } else { Workload::expected(self.planner.total()) }
    }

    fn open(&self, observer: &mut dyn Observer) -> Result<Opened, Error> {
        if self.options.fresh
            && let Some(aside) = store::set_aside(self.results, &self.identity.name)?
        {
            observer.notice(&Notice::SetAside(&aside));
        }
        let mut opened = SweepDir::open(self.results, &self.identity, &self.file.text)?;
        if !opened.extended.is_empty() {
            observer.notice(&Notice::Extended(&opened.extended));
        }
        extend::extend(&mut opened, &self.identity, &self.file.sweep, &self.file.text)?;
        for config in &self.options.add {
            opened.dir.folder().request(&Request::Add { config: Box::new(config.clone()) })?;
        }
        for line in &opened.cut {
            observer.notice(&Notice::CutJournal(line));
        }
        Ok(opened)
    }

    /// Writes the report, whatever the end was.
    fn conclude(
        &self,
        opened: Opened,
        live: Live,
        memory: Option<&MemoryPlan>,
        finish: Result<Finish, WorkerError>,
        observer: &mut dyn Observer,
    ) -> Result<RunOutcome, Error> {
        let page = live.stop();
        observer.trained(&Trained { state: &opened.state, memory });
        if let Some(warning) = page {
            observer.notice(&Notice::Warning(&warning));
        }
        let folder = opened.dir.folder().clone();
        let settings = Settings::of(&self.identity)?;
        let (state, lang) = (&opened.state, self.options.lang);
        let published = publish::publish(&folder, &folder, state, &settings, lang);
        // The error that ended the sweep matters more than one of its report.
        let (end, ranking, report) = match (finish?, published) {
            (Finish::Interrupted, published) => {
                if let Err(error) = &published {
                    let warning = format!("no report was written: {}", worker::chain(error));
                    observer.notice(&Notice::Warning(&warning));
                }
                (RunEnd::Interrupted, None, published.map(|_| ()))
            }
            (_, Ok(published)) => {
                let (ranking, report) = ranking_of(published, observer);
                (RunEnd::Finished, Some(ranking), report)
            }
            // Whatever could not be written, what was learnt is there.
            (_, Err(error)) => {
                let ranking = reporter::rank(state, &settings.report, lang);
                (RunEnd::Finished, Some(ranking), Err(error))
            }
        };
        let is_finished = end == RunEnd::Finished;
        let conclusion = if is_finished { self.planner.conclusion(state) } else { None };
        Ok(RunOutcome { end, folder, state: opened.state, ranking, conclusion, report })
    }
}

/// The ranking of a report, and whether its files are all as they should be.
fn ranking_of(published: Published, observer: &mut dyn Observer) -> (Ranking, Result<(), Error>) {
    for warning in &published.warnings {
        observer.notice(&Notice::Warning(warning));
    }
    (published.ranking, published.best)
}
