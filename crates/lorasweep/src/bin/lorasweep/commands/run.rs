//! `lorasweep run`: runs a sweep, and shows how it goes.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lorasweep::spec::{Event, ExecutorKind, SweepState, TrialConfig};
use lorasweep::store::{Holder, ReportFile, Request};
use lorasweep::{
    Error, MemoryPlan, Notice, Observer, RunEnd, RunOptions, RunOutcome, Started, Sweep, Trained,
};

use crate::args::RunArgs;
use crate::error::CliError;
use crate::exit::Exit;
use crate::output::{self, Output};
use crate::progress::{self, Mode, Plan, Progress};
use crate::{browser, places, program};

pub fn run(args: &RunArgs, output: Output) -> Result<Exit, CliError> {
    let sweep = args.sweep.open()?.with_workers(program()?);
    let lang = args.lang.into();
    let add = args.add.iter().map(|trial| sweep.trial_of(trial)).collect::<Result<Vec<_>, _>>()?;
    if !add.is_empty()
        && let Some(holder) = sweep.holder()?
    {
        return add_to_running(&sweep, add, &holder);
    }
    let options = RunOptions { fresh: args.fresh, add, lang, ..RunOptions::default() };
    let stop = Arc::clone(&options.stop);
    let mut screen = Screen { args, output, sweep: &sweep, stop, progress: None, failed: None };
    let outcome = sweep.run_with(&options, &mut screen);
    if let Some(failed) = screen.failed {
        return Err(failed.into());
    }
    conclude(args, output, outcome?)
}

/// The process that runs the sweep takes the trials.
fn add_to_running(sweep: &Sweep, add: Vec<TrialConfig>, holder: &Holder) -> Result<Exit, CliError> {
    let count = add.len();
    for config in add {
        sweep.request(&Request::Add { config: Box::new(config) })?;
    }
    let trials = if count == 1 { "the trial" } else { "the trials" };
    output::result(&format!("The sweep is running: {holder} takes {trials}."));
    Ok(Exit::Done)
}

/// Shows a run.
struct Screen<'a> {
    args: &'a RunArgs,
    output: Output,
    sweep: &'a Sweep,
    stop: Arc<AtomicBool>,
    /// While it trains.
    progress: Option<Box<dyn Progress>>,
    /// Why it could not begin to show the run.
    failed: Option<Error>,
}

impl Observer for Screen<'_> {
    fn event(&mut self, event: &Event, state: &SweepState) {
        if let Some(progress) = &mut self.progress {
            progress.event(event, state);
        }
    }

    fn notice(&mut self, notice: &Notice<'_>) {
        match (notice, &mut self.progress) {
            (Notice::Training(warning), Some(progress)) => progress.warning(warning),
            (Notice::Training(_) | Notice::Warning(_), _) => {
                self.output.warning(&notice.to_string());
            }
            (Notice::Data(report), _) if self.args.quiet => {
                report.warnings().iter().for_each(|warning| self.output.warning(warning));
            }
            _ => output::note(&notice.to_string()),
        }
    }

    fn started(&mut self, started: &Started<'_>) {
        if let Err(error) = self.begin(started) {
            self.failed = Some(error);
            self.stop.store(true, Ordering::Relaxed);
        }
        let plan = Plan { trials: started.trials, workload: started.workload.clone() };
        self.progress = Some(progress::start(self.mode(), plan, self.output));
    }

    fn trained(&mut self, trained: &Trained<'_>) {
        if let Some(mut progress) = self.progress.take() {
            progress.close();
        }
        let executor = self.sweep.resolved().map(|sweep| &sweep.executor.kind);
        let is_by_command = matches!(executor, Some(ExecutorKind::Command(_)));
        if !self.args.quiet && !is_by_command {
            output::note(&spent(trained.state, trained.memory));
        }
    }
}

impl Screen<'_> {
    fn begin(&self, started: &Started<'_>) -> Result<(), Error> {
        stop_on_signals(&self.stop)?;
        if self.args.open {
            self.sweep.write_page(self.args.lang.into())?;
            let page = started.folder.report_path(&ReportFile::ReportHtml);
            browser::open(&page.display().to_string());
        }
        Ok(())
    }

    fn mode(&self) -> Mode {
        match (self.args.json, self.args.quiet) {
            (true, _) => Mode::Json,
            (false, true) => Mode::Quiet,
            (false, false) if std::io::stderr().is_terminal() => Mode::Bars,
            (false, false) => Mode::Lines,
        }
    }
}

/// Says how it went.
fn conclude(args: &RunArgs, output: Output, outcome: RunOutcome) -> Result<Exit, CliError> {
    // With `--json`, stdout is for events alone.
    let tell = |text: &str| if args.json { output::note(text) } else { output::result(text) };
    let places = || places::places(&outcome.folder, &outcome.folder);
    match outcome.end {
        RunEnd::Interrupted => {
            output::note(&format!(
                "Interrupted; everything is saved. To resume:\n  lorasweep run {}",
                args.sweep.in_words()
            ));
            return Ok(Exit::Interrupted);
        }
        RunEnd::NothingToDo if !args.quiet => tell(&format!(
            "The sweep `{}` is finished: nothing to do (`--fresh` runs it anew).\n{}",
            outcome.state.name,
            places()
        )),
        RunEnd::Finished if !args.quiet => {
            let colour = output.has_stdout_colour() && !args.json;
            let report = outcome.ranking.as_ref().map(|ranking| places::text(ranking, colour));
            let ending = outcome.conclusion.as_ref().map_or_else(String::new, |ending| {
                format!("No further trial was proposed: {ending}.\n\n")
            });
            tell(&format!("{}\n{ending}{}", report.unwrap_or_default(), places()));
        }
        RunEnd::NothingToDo | RunEnd::Finished => {}
    }
    let is_useless = outcome.is_useless();
    outcome.report?;
    Ok(if is_useless { Exit::NoUsableTrial } else { Exit::Done })
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

/// The first Ctrl-C (or SIGTERM) asks for a stop after the current step, the second ends the
/// process at once; what was saved last stays good either way.
fn stop_on_signals(stop: &Arc<AtomicBool>) -> Result<(), Error> {
    let asked = Arc::clone(stop);
    ctrlc::set_handler(move || {
        if asked.swap(true, Ordering::Relaxed) {
            std::process::exit(Exit::Interrupted.code().into());
        }
        output::note("\nFinishing this step and saving; press Ctrl-C again to stop at once.");
    })?;
    Ok(())
}
