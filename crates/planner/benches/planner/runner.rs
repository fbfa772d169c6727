//! Drives a planner over a surrogate instance the way a sweep is driven: proposals, events,
//! evaluations after every epoch.

use std::path::Path;

use planner::{Earlier, Knowledge, incumbent, knowing};
use spec::{
    Evaluation, Event, Method, Outcome, PathKind, Sweep, SweepState, Trial, TrialConfig, TrialId,
};

use super::surrogate::{BATCHES, Instance, MOST_EPOCHS, Optimum, RANKS, RATES, Setting};

/// A sweep over the surrogate's space.
pub fn sweep(method: &str, extra: &str, seed: u64, cap: u32, decays: bool) -> Sweep {
    let schedule = if decays { "linear" } else { "constant" };
    let text = format!(
        "method: {method}\nrun_cap: {cap}\nseed: {seed}\nmodel: base\ndata: {{train: rows.jsonl}}\n\
         {extra}\
         parameters:\n  rank: {RANKS:?}\n  batch_size: {BATCHES:?}\n  lora_alpha: 32\n  \
         learning_rate: {{distribution: log_uniform_values, min: {:e}, max: {:e}}}\n  \
         epochs: {{min: 1, max: {MOST_EPOCHS}}}\n  lr_scheduler: {schedule}\n",
        RATES.0, RATES.1,
    );
    resolve(&text)
}

pub fn resolve(text: &str) -> Sweep {
    let look = |path: &Path| match path.extension() {
        Some(_) => PathKind::File,
        None => PathKind::Folder,
    };
    spec::resolve(text, Path::new("bench.yaml"), &look).unwrap_or_else(|errors| panic!("{errors}"))
}

pub fn setting(config: &TrialConfig) -> Setting {
    let TrialConfig { rank, learning_rate, batch_size, epochs, .. } = *config;
    Setting { rank, learning_rate, batch_size, epochs }
}

/// One evaluation at the end of an epoch.
pub fn evaluation(epoch: u32, eval_loss: f64, train_loss: f64, seconds: f64) -> Evaluation {
    Evaluation {
        step: epoch * 100,
        epoch: f64::from(epoch),
        eval_loss,
        eval_loss_stderr: 0.0,
        rise_stderr: None,
        group_nll: Vec::new(),
        train_loss: Some(train_loss),
        retention_loss: None,
        scores: Vec::new(),
        tokens: 0,
        seconds,
    }
}

/// A history in which only the base model was evaluated.
pub fn begun(base_loss: f64) -> SweepState {
    let mut state = SweepState::default();
    state.apply(&Event::BaseEvaluated { evaluation: evaluation(0, base_loss, base_loss, 0.0) });
    state
}

/// Journals a trial and its start.
pub fn start(state: &mut SweepState, trial: &Trial) {
    state.apply(&Event::proposed(trial.clone()));
    state.apply(&Event::TrialStarted {
        trial: trial.id,
        device: "cpu".to_owned(),
        from_step: 0,
        total_steps: trial.config.epochs * 100,
        continues: None,
    });
}

pub fn finish(state: &mut SweepState, trial: TrialId) {
    state.apply(&Event::TrialFinished { trial, outcome: Outcome::Completed });
}

/// How good a sweep's choice is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    /// Expected loss of the choice above the best, over the median configuration's.
    pub regret: f64,
    /// Within 1% of the best configuration of the coarse grid.
    pub is_close: bool,
}

/// The expected loss of the evaluation that the planner takes to be the best.
fn choice(sweep: &Sweep, state: &SweepState, instance: &Instance) -> Option<f64> {
    let (trial, epoch) = if sweep.method == Method::Bayes {
        incumbent(sweep, state).map(|best| (best.trial, best.epoch))?
    } else {
        let best = |t: &spec::TrialState| t.best().map(|e| (e.eval_loss, t.trial.id, e.epoch));
        let best = state.trials.values().filter_map(best).min_by(|a, b| a.0.total_cmp(&b.0))?;
        (best.1, best.2)
    };
    Some(instance.expected(setting(&state.trials[&trial].trial.config), epoch as u32))
}

pub fn score(sweep: &Sweep, state: &SweepState, instance: &Instance, optimum: Optimum) -> Score {
    let loss = choice(sweep, state, instance).unwrap_or(optimum.median);
    Score {
        regret: (loss - optimum.best) / (optimum.median - optimum.best),
        is_close: loss <= 1.01 * optimum.grid,
    }
}

/// Runs a sweep of so many full trials in batches; returns its history. It begins from `earlier`
/// sweeps.
pub fn run(
    sweep: &Sweep,
    instance: &Instance,
    seed: u64,
    (trials, batch): (u32, usize),
    earlier: Vec<Earlier>,
) -> SweepState {
    let planner = knowing(sweep, Knowledge { earlier, fits: None });
    let mut state = begun(instance.base_loss);
    loop {
        let left = trials as usize - state.trials.len();
        let trials = planner.suggest(&state, batch.min(left));
        if trials.is_empty() {
            return state;
        }
        for trial in &trials {
            train(&mut state, trial, instance, seed);
        }
    }
}

fn train(state: &mut SweepState, trial: &Trial, instance: &Instance, seed: u64) {
    let run = instance.run(setting(&trial.config), seed);
    start(state, trial);
    for (epoch, (train, eval)) in (1..).zip(run.train.iter().zip(&run.eval)) {
        let seconds = run.seconds * f64::from(epoch) / run.eval.len() as f64;
        let evaluation = evaluation(epoch, *eval, *train, seconds);
        state.apply(&Event::Evaluated { trial: trial.id, evaluation });
    }
    finish(state, trial.id);
}
