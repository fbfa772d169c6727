//! A small world for the drive loop: a planner over a list, a trainer with synthetic curves, and
//! a way to die at any moment.

pub mod launcher;
pub mod trainer;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use planner::{Decision, Planner, Promotion, Pruner};
use spec::{
    Event, LrScheduler, Objective, SaveStrategy, Sweep, SweepState, TargetModule, TrainSettings,
    Trial, TrialConfig, TrialId, TrialState,
};
use store::{Identity, Opened, SweepDir, TrialTables};
use worker::launch::WorkerCommand;
use worker::{Drive, Finish, Observer, Settings, Warning, WorkerError};

pub use launcher::FakeLauncher;
pub use trainer::{FakeTrainer, Fuse};

/// A configuration for the fake trainer: `epochs` gives the length, `learning_rate` the curve.
pub fn config(learning_rate: f64, epochs: u32) -> TrialConfig {
    TrialConfig {
        rank: 8,
        lora_alpha: 16.0,
        lora_dropout: 0.0,
        use_rslora: false,
        target_modules: TargetModule::ALL.to_vec(),
        learning_rate,
        batch_size: 4,
        epochs,
        lr_scheduler: LrScheduler::Linear,
        warmup_ratio: 0.0,
        weight_decay: 0.0,
        seed: 1,
        variant: spec::LoraVariant::default(),
        quantization: None,
    }
}

/// Five trials of different lengths; the third one diverges.
pub fn five_trials() -> Vec<TrialConfig> {
    vec![config(0.1, 1), config(0.2, 3), config(9.0, 2), config(0.3, 2), config(0.05, 1)]
}

/// Two trajectories of four and three lengths, one of which diverges, and a trial of its own.
pub fn sharing_trials() -> Vec<TrialConfig> {
    let of = |lr_scheduler, learning_rate, epochs| TrialConfig {
        lr_scheduler,
        ..config(learning_rate, epochs)
    };
    let mut trials: Vec<TrialConfig> =
        (1..=4).map(|epochs| of(LrScheduler::Constant, 0.2, epochs)).collect();
    trials.extend((1..=3).map(|epochs| of(LrScheduler::WarmupStableDecay, 0.3, epochs)));
    trials.extend((1..=2).map(|epochs| of(LrScheduler::Constant, 9.0, epochs)));
    trials.push(config(0.1, 2));
    trials
}

/// Proposes a list in its order.
pub struct ListPlanner(pub Vec<TrialConfig>);

impl Planner for ListPlanner {
    fn suggest(&self, state: &SweepState, count: usize) -> Vec<Trial> {
        let trials = (1..).map(TrialId).zip(&self.0);
        let unknown = trials.filter(|(id, _)| !state.trials.contains_key(id));
        unknown.take(count).map(|(id, config)| Trial { id, config: config.clone() }).collect()
    }

    fn total(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

/// Stops a trial at its second evaluation when its loss is above a bound. What was stopped goes on
/// once all others have ended, if it promotes.
pub struct BoundPruner {
    pub bound: f64,
    pub promotes: bool,
}

impl Pruner for BoundPruner {
    fn judge(&self, state: &SweepState, trial: TrialId) -> Decision {
        let trial = &state.trials[&trial];
        match trial.evaluations.get(1) {
            Some(second) if second.eval_loss > self.bound && trial.promotions.is_empty() => {
                let reason = format!("{} is above {}", second.eval_loss, self.bound);
                Decision::Stop { reason: spec::StopReason::EarlyTerminate { reason } }
            }
            _ => Decision::Keep,
        }
    }

    fn promote(&self, state: &SweepState) -> Option<Promotion> {
        let all_ended = state.trials.values().all(|t| t.outcome().is_some());
        let paused = state.trials.values().find(|t| t.paused().is_some());
        let paused = paused.filter(|_| self.promotes && all_ended && state.trials.len() > 2)?;
        Some(Promotion { trial: paused.trial.id, reason: "all others have ended".to_owned() })
    }

    fn promotes(&self) -> bool {
        self.promotes
    }
}

/// Keeps what it sees, and burns the fuse at each event.
pub struct Witness<'a> {
    pub events: Vec<Event>,
    pub warnings: Vec<String>,
    pub fuse: Fuse,
    pub stop_after: Option<(usize, &'a AtomicBool)>,
}

impl Observer for Witness<'_> {
    fn event(&mut self, event: &Event, _: &SweepState) {
        self.events.push(event.clone());
        if let Some((count, stop)) = self.stop_after
            && self.events.len() >= count
        {
            stop.store(true, Ordering::Relaxed);
        }
        self.fuse.burn();
    }

    fn warning(&mut self, warning: &Warning) {
        self.warnings.push(warning.to_string());
    }
}

/// How a sweep of the small world is run.
pub struct World {
    pub trials: Vec<TrialConfig>,
    /// Its method and its rules are used instead of `trials` and `bound`.
    pub sweep: Option<Sweep>,
    pub capacity: usize,
    /// Worker processes.
    pub workers: usize,
    pub bound: Option<f64>,
    /// What is stopped for the bound goes on at the end.
    pub promotes: bool,
    pub target: Option<f64>,
    pub checkpoint_every: Duration,
    pub save_strategy: SaveStrategy,
    pub fuse: Fuse,
    pub stop_after_events: Option<usize>,
    pub fail_shared_step: Option<u32>,
    /// The device of the first worker does not answer after so many of its steps.
    pub lose_device_at_step: Option<u32>,
    /// Kills the worker that has taken so many turns, each time one has.
    pub kill_after_turns: Vec<usize>,
    /// Ends the worker that has taken so many turns without a word, and puts it into a queue for ever,
    /// as a cluster does whose node has died.
    pub queue_after_turns: Vec<usize>,
    pub max_retries: u32,
}

impl World {
    pub fn new(trials: Vec<TrialConfig>, capacity: usize) -> Self {
        Self {
            trials,
            sweep: None,
            capacity,
            workers: 1,
            bound: None,
            promotes: false,
            target: None,
            checkpoint_every: Duration::ZERO,
            save_strategy: SaveStrategy::Best,
            fuse: Fuse::never(),
            stop_after_events: None,
            fail_shared_step: None,
            lose_device_at_step: None,
            kill_after_turns: Vec::new(),
            queue_after_turns: Vec::new(),
            max_retries: 2,
        }
    }
}

/// What a run left.
pub struct Run {
    pub finish: Result<Finish, WorkerError>,
    pub state: SweepState,
    /// Events of this run alone.
    pub events: Vec<Event>,
    pub warnings: Vec<String>,
    /// Occupied slots at each step.
    pub occupancy: Vec<usize>,
}

pub fn open(results: &Path) -> Opened {
    let identity = Identity::new("s", "print", BTreeMap::new(), serde_json::json!({}));
    SweepDir::open(results, &identity, "name: s\n").unwrap()
}

/// Runs the sweep in `results` with `world`'s conditions.
pub fn run(results: &Path, world: &World) -> Run {
    let stop = AtomicBool::new(false);
    let mut opened = open(results);
    let mut launcher = FakeLauncher::new(opened.dir.folder().clone(), world);
    let promotes = world.promotes;
    let pruner: Option<Box<dyn Pruner>> = match &world.sweep {
        Some(sweep) => planner::pruner_for(sweep),
        None => world.bound.map(|bound| Box::new(BoundPruner { bound, promotes }) as Box<_>),
    };
    let planner: Box<dyn Planner> = match &world.sweep {
        Some(sweep) => planner::for_sweep(sweep),
        None => Box::new(ListPlanner(world.trials.clone())),
    };
    let longest = world.trials.iter().map(|trial| trial.epochs).max();
    let mut witness = Witness {
        events: Vec::new(),
        warnings: Vec::new(),
        fuse: world.fuse.clone(),
        stop_after: world.stop_after_events.map(|count| (count, &stop)),
    };
    let finish = Drive {
        settings: Settings {
            name: "s".into(),
            fingerprint: "print".into(),
            bases: vec![None],
            objective: world
                .sweep
                .as_ref()
                .map_or_else(Objective::default, |s| s.metric.objective()),
            target: world.target,
            train: world.sweep.as_ref().map_or_else(TrainSettings::default, |s| s.train.clone()),
            most_epochs: world.sweep.as_ref().map_or(longest, |s| s.space.most_epochs()),
            max_retries: world.max_retries,
            max_consecutive_failures: 3,
            silence: Duration::MAX,
            poll_every: Duration::ZERO,
            read_every: Duration::ZERO,
            is_ordered: true,
        },
        planner: &*planner,
        pruner: pruner.as_deref(),
        steps: &trainer::steps,
        launcher: &mut launcher,
        workers: world.workers,
        command: &|berth| WorkerCommand {
            name: berth.name.to_owned(),
            program: "fake".into(),
            args: vec![berth.seq.to_string().into()],
            env: BTreeMap::new(),
            log: results.join("log.txt"),
        },
        tested: None,
        sweep: &mut opened,
        observer: &mut witness,
        tables: &|trial, base| {
            let metrics_csv = format!("{} evaluations\n", trial.evaluations.len());
            let steps_csv =
                format!("{} steps, base {}\n", trial.train_points.len(), base.is_some());
            Ok(TrialTables { metrics_csv, steps_csv })
        },
        stop: &stop,
    }
    .run();
    let (events, warnings) = (witness.events, witness.warnings);
    Run { finish, state: opened.state, events, warnings, occupancy: launcher.occupancy() }
}

/// Runs the sweep until the fuse burns out; `None` if it did.
pub fn run_until_killed(results: &Path, world: &World) -> Option<Run> {
    match catch_unwind(AssertUnwindSafe(|| run(results, world))) {
        Ok(run) => Some(run),
        Err(payload) if payload.is::<trainer::Killed>() => None,
        Err(payload) => resume_unwind(payload),
    }
}

/// What must be the same however often a sweep was killed: everything but bookkeeping.
pub fn outcome(state: &SweepState) -> Vec<TrialState> {
    let strip =
        |trial: &TrialState| TrialState { checkpoint_step: None, losses: 0, ..trial.clone() };
    state.trials.values().map(strip).collect()
}

/// Trials by their best validation loss.
pub fn ranking(state: &SweepState) -> Vec<TrialId> {
    let mut ranked: Vec<_> =
        state.trials.values().filter_map(|t| Some((t.best()?.eval_loss, t.trial.id))).collect();
    ranked.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    ranked.into_iter().map(|(_, id)| id).collect()
}
