//! `lorasweep run`: plan, train, report.

mod by_command;

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use data::PreparedData;
use planner::{Planner, Pruner};
use reporter::Ranking;
use spec::{Event, ExecutorKind, Method, Outcome, SweepState, TrialId};
use store::{Identity, Opened, ReportFile, SweepDir, SweepFolder, TornLine};
use trainer::engine::Steps;
use trainer::plan;
use worker::launch::local::LocalLauncher;
use worker::launch::{Launcher, SlurmLauncher};
use worker::{ChooseTested, Drive, Finish, WorkerError};

use crate::args::RunArgs;
use crate::plan::checkpoints::{self, Checkpoints};
use crate::plan::devices;
use crate::error::Error;
use crate::exit::Exit;
use crate::export;
use crate::plan::foresight;
use crate::inputs::{self, Settings};
use crate::report::live::{self, Live};
use crate::output::{self, Output};
use crate::plan::preflight::{self, Base};
use crate::progress::{self, Mode, Plan};
use crate::report::publish::{self, Published, tables};
use crate::inputs::sweep_file::{self, SweepFile};
use crate::plan::warm_start;
use crate::workers::start::{self, WorkerStart};
use crate::plan::workload::{self, MemoryPlan, Workload};

pub fn run(args: &RunArgs, output: Output) -> Result<Exit, Error> {
    let file = sweep_file::load_with_model(&args.sweep)?;
    file.warn();
    let run = Run::new(args, &file, output)?;
    let earlier = run.earlier()?;
    if let Some(state) = earlier.as_ref().filter(|state| run.is_finished(state)) {
        return run.say_finished(state);
    }
    match &file.sweep.executor.kind {
        ExecutorKind::Local | ExecutorKind::Slurm(_) => {
            run.train(earlier.map_or(0, |state| checkpoints::ended(&state)))
        }
        ExecutorKind::Command(_) => run.train_by_command(),
        ExecutorKind::External => Err(Error::TrainsElsewhere { path: file.path.clone() }),
    }
}

/// One launch.
struct Run<'a> {
    args: &'a RunArgs,
    file: &'a SweepFile,
    output: Output,
    planner: Box<dyn Planner>,
    pruner: Option<Box<dyn Pruner>>,
    trials: Option<Vec<spec::Trial>>,
    identity: Identity,
}

impl<'a> Run<'a> {
    fn new(args: &'a RunArgs, file: &'a SweepFile, output: Output) -> Result<Self, Error> {
        let planner = planner::for_sweep(&file.sweep);
        let pruner = planner::pruner_for(&file.sweep);
        let trials = workload::all_trials(&*planner);
        let identity = inputs::identity(&file.sweep, planner.total(), &args.results)?;
        let planner = warm_start::planner(&file.sweep, &identity, None)?;
        Ok(Self { args, file, output, planner, pruner, trials, identity })
    }

    /// The state of this sweep as an earlier launch left it. Refuses a folder that this launch could
    /// not use, before anything expensive is done.
    fn earlier(&self) -> Result<Option<SweepState>, Error> {
        if self.args.fresh {
            return Ok(None);
        }
        Ok(SweepDir::look(&self.args.results, &self.identity)?)
    }

    /// Whether an earlier launch left nothing to do.
    fn is_finished(&self, state: &SweepState) -> bool {
        // The test rows are evaluated once all trials have ended: that may be left to do.
        let is_tested = self.file.sweep.data.test.is_none()
            || !self.file.sweep.executor.kind.is_own()
            || state.test.contains_key(&TrialId::BASE);
        // Replicates may have been asked for after the end.
        state.finished && is_tested && self.planner.suggest(state, 1).is_empty()
    }

    fn say_finished(&self, state: &SweepState) -> Result<Exit, Error> {
        let folder = SweepFolder::open(self.args.results.join(&self.identity.name))?;
        let settings = Settings::of(&self.identity)?;
        let mut is_whole = Ok(());
        if !publish::is_published(&folder, state) {
            let spans = publish::spans(&folder)?;
            let lang = self.args.lang.into();
            let published = publish::publish(&folder, &folder, state, &spans, &settings, lang)?;
            is_whole = self.ranking_of(published).1;
        }
        if !self.args.quiet {
            self.tell(&format!(
                "The sweep `{}` is finished: nothing to do (`--fresh` runs it anew).\n{}",
                self.identity.name,
                publish::places(&folder, &folder)
            ));
        }
        is_whole.map(|()| exit_of(state))
    }

    /// Trains what an earlier launch, in which so many trials ended, has left.
    fn train(&self, ended: usize) -> Result<Exit, Error> {
        let (base, data) = preflight::prepare(&self.file.sweep)?;
        self.tell_of_inputs(&base, &data)?;
        let plan = self.plan(&data);
        let memory = self.plan_memory(&base, &data)?;
        let planner = self.planner_within_memory(&base, &data)?;
        self.ask_for_room(&base, &data, memory.as_ref(), ended)?;
        let facts = inputs::facts(&self.file.sweep, &data)?;
        let examples = data.train.examples.len();
        let tokens_per_example = plan::tokens_per_example(&data.train);
        // Workers prepare it for themselves.
        drop(data);
        let mut opened = self.open()?;
        if opened.state.facts.as_ref() != Some(&facts) {
            let prepared = Event::DataPrepared { facts };
            opened.dir.record(std::slice::from_ref(&prepared))?;
            opened.state.apply(&prepared);
        }
        let stop = stop_on_signals()?;
        let live = self.follow(&opened)?;
        let mut progress = progress::start(self.mode(), plan, self.output);
        let folder = opened.dir.folder().clone();
        let executor = &self.file.sweep.executor;
        let start = match executor.kind.slurm() {
            Some(slurm) => WorkerStart::jobs(self.file, &folder, slurm)?,
            None => WorkerStart::new(self.file, &folder, devices::of(executor)?)?,
        };
        let mut launcher = self.launcher(&folder)?;
        let report = Settings::of(&self.identity)?.report;
        let choose = |state: &SweepState| {
            let ranking = reporter::rank(state, &report, self.args.lang.into());
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
            steps: &|trial| {
                let Steps { total, shared } = Steps::of(trial, examples, train);
                let micro_batches =
                    plan::micro_batches(trial.batch_size, tokens_per_example, train);
                worker::Steps { total, shared, micro_batches }
            },
            launcher: &mut *launcher,
            workers: start.most(),
            command: &|berth| start.command(berth),
            sweep: &mut opened,
            observer: &mut *progress,
            tables: &tables,
            tested,
            stop: &stop,
        }
        .run();
        progress.close();
        live.stop();
        if !self.args.quiet {
            output::note(&spent(&opened.state, memory.as_ref()));
        }
        self.conclude(&opened, finish)
    }

    /// What starts the workers.
    fn launcher(&self, folder: &SweepFolder) -> Result<Box<dyn Launcher>, Error> {
        let Some(slurm) = self.file.sweep.executor.kind.slurm() else {
            return Ok(Box::new(LocalLauncher::new(folder.clone())));
        };
        let (name, dir) = (&self.file.sweep.name, worker_start::slurm_folder(folder.path()));
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
    fn plan_memory(
        &self,
        base: &Base,
        data: &PreparedData,
    ) -> Result<Option<MemoryPlan>, Error> {
        if self.file.sweep.executor.kind.slurm().is_some() {
            return Ok(None);
        }
        let sweep = worker_start::on_first_device(&self.file.sweep)?;
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
        // With `--fresh` the old results are moved aside on the same disk.
        let there = if self.args.fresh { format!("{name}.new") } else { name.clone() };
        planned.ask_for_room(&SweepFolder::at(self.args.results.join(there)), ended, total)
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
        let first = worker_start::on_first_device(sweep)?;
        let fits = workload::fits_on_device(&first, base, data)?;
        warm_start::planner(sweep, &self.identity, Some(fits)).map(Some)
    }

    /// Keeps `report.html` up to date while the sweep runs.
    fn follow(&self, opened: &Opened) -> Result<Live, Error> {
        let folder = opened.dir.folder().clone();
        let settings = Settings::of(&self.identity)?;
        let page = folder.report_path(&ReportFile::ReportHtml);
        if self.args.open {
            let lang = self.args.lang.into();
            // What stays in its place is named by what follows the sweep.
            live::write(&folder, &settings, lang)?;
            live::open(&page.display().to_string(), self.output);
        }
        Live::start(folder, settings, self.args.lang.into(), self.output)
    }

    fn tell_of_inputs(&self, base: &Base, data: &PreparedData) -> Result<(), Error> {
        if self.args.quiet {
            data.report.warnings().iter().for_each(|warning| self.output.warning(warning));
        } else {
            output::note(&data.report.to_string());
        }
        base.warnings().iter().for_each(|warning| self.output.warning(warning));
        for warning in foresight::warnings(&self.file.sweep.model, base, data)? {
            self.output.warning(&warning);
        }
        Ok(())
    }

    fn plan(&self, data: &PreparedData) -> Plan {
        let trials = self.trials.as_deref();
        let workload = trials
            .map_or_else(Workload::default, |trials| Workload::of(trials, &self.file.sweep, data));
        if let Some(warning) = foresight::idle_rule(&self.file.sweep, &workload) {
            self.output.warning(&warning);
        }
        Plan { trials: self.planner.total(), workload }
    }

    fn open(&self) -> Result<Opened, Error> {
        let RunArgs { results, fresh, .. } = self.args;
        if *fresh && let Some(aside) = store::set_aside(results, &self.identity.name)? {
            output::note(&format!("The old results are now in {}", aside.display()));
        }
        let opened = SweepDir::open(results, &self.identity, &self.file.text)?;
        for TornLine { path, line, bytes } in &opened.cut {
            output::note(&format!(
                "The journal `{}` ended within line {line}: its {bytes} bytes are cut, as the process \
                 that wrote them died before the line counted",
                path.display()
            ));
        }
        Ok(opened)
    }

    fn mode(&self) -> Mode {
        match (self.args.json, self.args.quiet) {
            (true, _) => Mode::Json,
            (false, true) => Mode::Quiet,
            (false, false) if std::io::stderr().is_terminal() => Mode::Bars,
            (false, false) => Mode::Lines,
        }
    }

    /// Writes the report, whatever the end was, and tells how it went.
    fn conclude(
        &self,
        opened: &Opened,
        finish: Result<Finish, WorkerError>,
    ) -> Result<Exit, Error> {
        let folder = opened.dir.folder();
        let settings = Settings::of(&self.identity)?;
        let (state, lang) = (&opened.state, self.args.lang.into());
        let published = publish::spans(folder)
            .and_then(|spans| publish::publish(folder, folder, state, &spans, &settings, lang));
        // The error that ended the sweep matters more than one of its report.
        if finish? == Finish::Interrupted {
            if let Err(error) = published {
                self.output.warning(&format!("no report was written: {}", worker::chain(&error)));
            }
            output::note(&format!(
                "Interrupted; everything is saved. To go on:\n  {}",
                self.command_to_go_on()
            ));
            return Ok(Exit::Interrupted);
        }
        // Whatever could not be written, what was learnt is shown.
        let (ranking, is_whole) = match published {
            Ok(published) => self.ranking_of(published),
            Err(error) => (reporter::rank(state, &settings.report, lang), Err(error)),
        };
        if !self.args.quiet {
            self.tell(&self.report(&ranking, &opened.state, folder));
        }
        is_whole.map(|()| exit_of(&opened.state))
    }

    /// The ranking of a report, and whether its files are all as they should be.
    fn ranking_of(&self, published: Published) -> (Ranking, Result<(), Error>) {
        for warning in &published.warnings {
            self.output.warning(warning);
        }
        (published.ranking, published.best)
    }

    fn report(&self, ranking: &Ranking, state: &SweepState, folder: &SweepFolder) -> String {
        let colour = self.output.has_stdout_colour() && !self.args.json;
        let ending = self.planner.conclusion(state).map_or_else(String::new, |ending| {
            format!("No further trial was proposed: {ending}.\n\n")
        });
        format!("{}\n{ending}{}", publish::text(ranking, colour), publish::places(folder, folder))
    }

    fn command_to_go_on(&self) -> String {
        let results = if self.args.results.as_os_str() == "results" {
            String::new()
        } else {
            format!(" --results {}", self.args.results.display())
        };
        format!("lorasweep run {}{results}", self.file.path.display())
    }

    /// With `--json`, stdout is for events alone.
    fn tell(&self, text: &str) {
        if self.args.json { output::note(text) } else { output::result(text) }
    }
}

/// What training took: tokens, and memory beside what was predicted.
fn spent(state: &SweepState, plan: Option<&MemoryPlan>) -> String {
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    let peak = state.peak_bytes.map_or_else(String::new, |peak| {
        let predicted =
            plan.map_or_else(String::new, |plan| format!(" ({} MiB predicted)", mib(plan.total())));
        format!(", peak memory of a worker {} MiB{predicted}", mib(peak))
    });
    format!("trained {} tokens{peak}", state.trained_tokens())
}

fn exit_of(state: &SweepState) -> Exit {
    let is_useless =
        |outcome: &Outcome| matches!(outcome, Outcome::Failed { .. } | Outcome::Diverged { .. });
    let mut trials = state.trials.values();
    if trials.all(|trial| trial.outcome().is_some_and(is_useless)) {
        Exit::NoUsableTrial
    } else {
        Exit::Done
    }
}

/// The first Ctrl-C (or SIGTERM) asks for a stop after the current step, the second ends the
/// process at once; what was saved last stays good either way.
fn stop_on_signals() -> Result<Arc<AtomicBool>, Error> {
    let stop = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&stop);
    ctrlc::set_handler(move || {
        if asked.swap(true, Ordering::Relaxed) {
            std::process::exit(Exit::Interrupted.code().into());
        }
        output::note("\nFinishing this step and saving; press Ctrl-C again to stop at once.");
    })?;
    Ok(stop)
}
