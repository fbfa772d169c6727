//! Trials that a command trains: each is a process whose JSON lines on stdout are its metrics.
//!
//! The drive loop sees a trainer whose step waits for news of any process. A slot is a process; a
//! trial that is stopped is asked to end (SIGTERM) and ended after a grace (SIGKILL), with
//! everything that it started.

mod left_over;
mod process;
mod run;
mod values;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use spec::{
    Admission, BaseForm, CommandSettings, CommandValue, Evaluation, Event, Objective, Sweep,
    Trainer, TrainerError, Trial, TrialId,
};
use store::SweepFolder;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::metrics::{AdapterError, Line, Loss, Said, copy_adapter, read};
use left_over::Note;
use process::{News, Process, Start, Tagged};
use run::Run;
use values::Values;

/// A step ends after so long without news, so that the loop sees a wish to stop.
const LONGEST_STEP: Duration = Duration::from_millis(200);
/// News that wait to be taken; a command that prints faster waits.
const MOST_NEWS: usize = 256;
/// Lines of the log that an error shows.
pub(crate) const SHOWN_LINES: usize = 20;
const LOG: &str = "command.log";

/// Why a command could not train its trial.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The runtime that watches the processes could not be made.
    #[error("failed to prepare the watching of processes")]
    Runtime(#[source] std::io::Error),
    /// The shell could not be started.
    #[error("failed to start `{line}` in `{}`", dir.display())]
    Start {
        /// What was to run.
        line: String,
        /// Where.
        dir: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A path that cannot be a value of a command line.
    #[error("`{}` is not UTF-8 text, so the command cannot be told of it; rename the folder", _0.display())]
    NotText(PathBuf),
    /// It ended with an error.
    #[error("the command {how}; the end of `{}`:\n{tail}", log.display())]
    Failed {
        /// How it ended.
        how: String,
        /// Where its whole output is.
        log: PathBuf,
        /// The last lines of it.
        tail: String,
    },
    /// It ended well without having said what was needed.
    #[error("the command ended without a line such as {example}{hint}; the end of `{}`:\n{tail}", log.display())]
    NoLoss {
        /// A line that would have been understood.
        example: &'static str,
        /// What it may have meant.
        hint: &'static str,
        /// Where its whole output is.
        log: PathBuf,
        /// The last lines of it.
        tail: String,
    },
    /// A line with a value that cannot be used.
    #[error("the command printed a line that cannot be used ({why}): {line}")]
    Line {
        /// What is wrong.
        why: String,
        /// The line.
        line: String,
    },
    /// An adapter that is no adapter.
    #[error(transparent)]
    Adapter(#[from] AdapterError),
}

/// Which attempt at which trial a piece of news is from.
type Tag = (TrialId, u64);

/// Trains trials by a command.
#[derive(Debug)]
pub struct CommandTrainer {
    settings: CommandSettings,
    /// What trials are compared by.
    objective: Objective,
    folder: SweepFolder,
    shared: Values,
    runtime: Runtime,
    send: Sender<Tagged<Tag>>,
    news: Receiver<Tagged<Tag>>,
    running: BTreeMap<TrialId, Run>,
    /// Attempts so far.
    attempts: u64,
}

/// From what a trial's command can go on.
#[derive(Default, Serialize, Deserialize)]
struct Resume {
    step: u32,
    /// What the command named; `None` when it named nothing and begins again.
    checkpoint: Option<String>,
    /// What it said up to there; absent from files of earlier versions.
    #[serde(default)]
    evaluations: Vec<Evaluation>,
    /// Which of the evaluations each adapter that it named is of.
    #[serde(default)]
    adapters: Vec<(usize, PathBuf)>,
}

impl CommandTrainer {
    /// For the trials of `sweep`, whose folder is `folder`.
    pub fn new(
        sweep: &Sweep,
        settings: CommandSettings,
        folder: SweepFolder,
    ) -> Result<Self, CommandError> {
        let runtime =
            Builder::new_current_thread().enable_all().build().map_err(CommandError::Runtime)?;
        let (send, news) = channel(MOST_NEWS);
        let shared = values::shared(sweep)?;
        let running = BTreeMap::new();
        let objective = sweep.metric.objective();
        Ok(Self { settings, objective, folder, shared, runtime, send, news, running, attempts: 0 })
    }

    /// The line that the shell will run for `trial` of the sweep whose results will be in
    /// `folder`, to be shown beforehand.
    pub fn preview(
        sweep: &Sweep,
        settings: &CommandSettings,
        trial: &Trial,
        folder: &SweepFolder,
    ) -> Result<String, CommandError> {
        let mut values = values::shared(sweep)?;
        values.insert(CommandValue::Trial, trial.id.0.to_string());
        let dir = folder.command_place(trial.id);
        values.insert(CommandValue::TrialDir, values::text_of(&dir)?);
        // A configuration has only values that JSON has too.
        let _ = values::add_trial(&mut values, trial);
        Ok(values::fill(&settings.command, &values))
    }

    fn values(&self, id: TrialId) -> Result<(Values, PathBuf), TrainerError> {
        let dir = self.folder.command_dir(id)?;
        let mut values = self.shared.clone();
        values.insert(CommandValue::Trial, id.0.to_string());
        values.insert(CommandValue::TrialDir, values::text_of(&dir)?);
        let log = dir.join(LOG);
        Ok((values, log))
    }

    /// Starts a command whose log is `log`, after ending what a killed worker left of it.
    fn start(&mut self, line: &str, values: &Values, tag: Tag, log: &Path) -> Started {
        let env = values::environment(values);
        let own_dir = log.parent().unwrap_or(log);
        self.runtime.block_on(left_over::end(own_dir, self.grace()));
        let _inside = self.runtime.enter();
        let start = Start { line, dir: &self.settings.dir, env: &env, log };
        let started = Process::start(&start, tag, &self.send)
            .map(|process| (Note::write(own_dir, &process), process));
        started.map_err(|source| CommandError::Start {
            line: line.to_owned(),
            dir: self.settings.dir.clone(),
            source,
        })
    }

    fn grace(&self) -> Duration {
        Duration::from_secs(self.settings.grace_seconds.into())
    }

    fn next_attempt(&mut self) -> u64 {
        self.attempts += 1;
        self.attempts
    }

    fn take(&mut self, (id, attempt): Tag, news: News) {
        if let Some(run) = self.running.get_mut(&id).filter(|run| run.attempt == attempt) {
            run.news.push_back(news);
        }
    }

    /// Waits for a command that nothing else runs beside, and returns its last validation loss.
    fn wait_for_loss(&mut self, tag: Tag, log: &Path) -> Result<(Line, f64), CommandError> {
        let mut found = None;
        loop {
            let news = self.runtime.block_on(self.news.recv());
            match news {
                Some((from, News::Line(text))) if from == tag => {
                    let unusable = |why| CommandError::Line { why, line: text.trim().to_owned() };
                    if let Said::Metrics(line) = read(&text).map_err(unusable)? {
                        match line.eval_loss {
                            Some(Loss::Finite(loss)) => found = Some((*line, loss)),
                            Some(Loss::NotANumber) => {
                                return Err(unusable("the loss is not a number".to_owned()));
                            }
                            None => {}
                        }
                    }
                }
                Some((from, News::Ended(status))) if from == tag => {
                    run::check_end(&status, log)?;
                    return found.ok_or_else(|| CommandError::NoLoss {
                        example: "{\"eval_loss\": 2.1}",
                        hint: "",
                        log: log.to_owned(),
                        tail: process::tail(log, SHOWN_LINES),
                    });
                }
                _ => {}
            }
        }
    }
}

type Started = Result<(Option<Note>, Process), CommandError>;

impl Trainer for CommandTrainer {
    fn device(&self) -> String {
        "command".to_owned()
    }

    fn capacity(&self) -> usize {
        self.settings.max_parallel as usize
    }

    fn evaluate_base(&mut self, _: Option<BaseForm>) -> Result<Evaluation, TrainerError> {
        let Some(command) = self.settings.base_command.clone() else {
            return Err("there is no `base_command`".into());
        };
        let begun = Instant::now();
        let (values, log) = self.values(TrialId::BASE)?;
        let tag = (TrialId::BASE, self.next_attempt());
        let _note = self.start(&values::fill(&command, &values), &values, tag, &log)?.0;
        let (line, eval_loss) = self.wait_for_loss(tag, &log)?;
        Ok(line.of_base(&self.objective, eval_loss, begun.elapsed().as_secs_f64()))
    }

    fn admit(
        &mut self,
        trial: &Trial,
        checkpoint: Option<&Path>,
    ) -> Result<Admission, TrainerError> {
        let (mut values, log) = self.values(trial.id)?;
        values::add_trial(&mut values, trial)?;
        let resume = match checkpoint {
            Some(path) => serde_json::from_slice(&std::fs::read(path)?)?,
            None => Resume::default(),
        };
        if let Some(checkpoint) = &resume.checkpoint {
            values.insert(CommandValue::Resume, checkpoint.clone());
        }
        let attempt = self.next_attempt();
        let line = values::fill(&self.settings.command, &values);
        let (note, process) = self.start(&line, &values, (trial.id, attempt), &log)?;
        let dir = self.settings.dir.clone();
        let from_step = resume.step;
        let run =
            Run::new(trial, attempt, (note, process), log, dir, resume, self.objective.clone());
        self.running.insert(trial.id, run);
        Ok(Admission::Admitted { from_step, total_steps: 0 })
    }

    /// Waits for news and returns what they mean; after a moment without any, nothing.
    fn step(&mut self) -> Result<Vec<Event>, TrainerError> {
        let longest =
            if self.running.values().any(Run::has_news) { Duration::ZERO } else { LONGEST_STEP };
        let first = async { timeout(longest, self.news.recv()).await };
        let mut next = self.runtime.block_on(first).ok().flatten();
        while let Some((tag, news)) = next {
            self.take(tag, news);
            next = self.news.try_recv().ok();
        }
        let mut events = Vec::new();
        self.running.values_mut().for_each(|run| run.read(&mut events));
        Ok(events)
    }

    /// The command goes on, but what it says is not heard until the trial was judged.
    fn hold(&mut self, trial: TrialId, held: bool) -> bool {
        if let Some(run) = self.running.get_mut(&trial) {
            run.is_held = held;
        }
        true
    }

    fn save_checkpoint(&self, trial: TrialId, path: &Path) -> Result<u32, TrainerError> {
        let resume = self.running.get(&trial).map(Run::resume).unwrap_or_default();
        std::fs::write(path, serde_json::to_vec(&resume)?)?;
        Ok(resume.step)
    }

    fn save_best(&self, trial: TrialId, dir: &Path) -> Result<bool, TrainerError> {
        let Some(adapter) = self.running.get(&trial).and_then(Run::best_adapter) else {
            return Ok(false);
        };
        copy_adapter(adapter, dir)?;
        Ok(true)
    }

    fn release(&mut self, trial: TrialId) {
        if let Some(run) = self.running.remove(&trial).filter(|run| !run.is_over) {
            self.runtime.block_on(run.process.end(self.grace()));
        }
    }
}

impl Drop for CommandTrainer {
    /// No command outlives the sweep that started it: it could not be told of a decision.
    fn drop(&mut self) {
        let grace = self.grace();
        let left: Vec<Run> = std::mem::take(&mut self.running).into_values().collect();
        self.runtime.block_on(async {
            // All are asked at once, and one grace is waited for.
            let mut ends = JoinSet::new();
            for run in left.into_iter().filter(|run| !run.is_over) {
                ends.spawn(async move { run.process.end(grace).await });
            }
            while ends.join_next().await.is_some() {}
        });
    }
}
