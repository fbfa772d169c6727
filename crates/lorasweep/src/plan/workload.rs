//! How much work a sweep is: for `check`, and for the time that is left.

use std::collections::BTreeMap;
use std::sync::Arc;

use data::{Dataset, Example, PreparedData};
use planner::{Fits, Planner};
use serde::Serialize;
use spec::{
    ExecutorSettings, MeasureEvery, Method, Sweep, SweepState, TrainSettings, Trial, TrialConfig,
    TrialId,
};
use trainer::model::{BaseMemory, BaseStorage, DecoderConfig};
use trainer::plan::{self, AnswerDemand, Demand, Memory, Packing, Work};
use trainer::{Device, TrainerError};

use super::base::Base;
use crate::error::Error;

/// Trials listed beforehand; a sweep that has no end is not counted.
const MOST_TRIALS: usize = 100_000;

/// The work of every trial that is known beforehand.
#[derive(Debug, Default, Clone, PartialEq, Serialize)]
pub struct Workload {
    trials: BTreeMap<TrialId, Work>,
    /// Trials in all, where which ones they are depends on what comes out.
    #[serde(skip)]
    expected: Option<usize>,
}

/// A trial in full.
pub type TrialWork<'a> = (TrialId, &'a Work);

/// All trials a fresh sweep will have; `None` when that is not known beforehand.
pub fn all_trials(planner: &dyn Planner) -> Option<Vec<Trial>> {
    let total = planner.total().filter(|&n| n <= MOST_TRIALS && !planner.is_adaptive())?;
    Some(planner.suggest(&SweepState::default(), total))
}

/// Trials drawn to plan with when they are not known beforehand.
const SAMPLE: usize = 64;

/// What an optimizer step leaves in memory: its point in the state, and once more with its journal
/// line while the page is drawn (measured on the quickstart).
const BYTES_OF_A_STEP: u64 = 640;

/// The trials to plan memory with: all of them, or a sample where they are not known beforehand.
pub fn known_trials(sweep: &Sweep, all: Option<&[Trial]>) -> Vec<Trial> {
    all.map_or_else(|| planner::sample(sweep, SAMPLE), <[_]>::to_vec)
}

/// How the trials will be packed, and what is known of it before training.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct MemoryPlan {
    /// How many trials share a step, and how large it is.
    /// How many trials share a step, and how large it is.
    pub packing: Packing,
    /// Predicted peak of what training takes, in bytes.
    pub memory: Memory,
    /// Forms of the base that are held at once.
    pub bases: u64,
    /// Bytes of the process itself: program, tokenizer, rows, and the records of the steps.
    pub process: u64,
    /// Bytes that are free for it; absent where the system does not report it.
    pub available: Option<u64>,
    /// Trials that need more memory than there is and are left out, since the method chooses among
    /// the others.
    pub unfit: usize,
}

impl MemoryPlan {
    /// Plans the packing of `trials` for the device's free memory.
    pub fn of(
        sweep: &Sweep,
        device: Device,
        base: &Base,
        trials: &[Trial],
        data: &PreparedData,
    ) -> Result<Self, Error> {
        let unusable = |source| Error::Model { path: sweep.model.clone(), source };
        let room = DeviceMemory::of(sweep, device, base)?;
        let mut configs: Vec<TrialConfig> =
            trials.iter().map(|trial| trial.config.clone()).collect();
        let unfit = leave_out_unfit(&mut configs, sweep, &room, data);
        let available = room.available;
        let (trials, train) = (&configs[..], &sweep.train);
        let evaluated = (plan::eval_tokens(data, train), answers(sweep, data));
        let demand = room.demand(trials, &data.train, evaluated, train);
        let packing = demand.fit(&sweep.executor, available).map_err(unusable)?;
        let steps: u64 = plan::works(trials, data, train).iter().map(|w| u64::from(w.steps)).sum();
        let process = trainer::memory::resident().unwrap_or(0) + steps * BYTES_OF_A_STEP;
        let (memory, bases) = (demand.memory(&packing), room.base.models);
        Ok(Self { packing, memory, bases, process, available, unfit })
    }

    /// Plans the packing of `trials` on the sweep's device.
    pub fn for_sweep(
        sweep: &Sweep,
        base: &Base,
        trials: &[Trial],
        data: &PreparedData,
    ) -> Result<Self, Error> {
        let unusable = |source| Error::Model { path: sweep.model.clone(), source };
        let (device, _) =
            trainer::select_device(sweep.executor.device, sweep.train.dtype).map_err(unusable)?;
        Self::of(sweep, device, base, trials, data)
    }

    /// Predicted peak of the whole process on the CPU, in bytes.
    pub fn total(&self) -> u64 {
        self.process + self.memory.total()
    }
}

/// A base model on a device, in all forms that trials ask for, and what is left for training it.
#[derive(Clone)]
struct DeviceMemory {
    config: DecoderConfig,
    base: BaseMemory,
    on: BaseStorage,
    available: Option<u64>,
}

impl DeviceMemory {
    fn of(sweep: &Sweep, device: Device, base: &Base) -> Result<Self, Error> {
        let unusable = |source| Error::Model { path: sweep.model.clone(), source };
        let on = device.keeps_base();
        Ok(Self {
            base: base.memory(on).map_err(unusable)?,
            on,
            available: device.available_memory(sweep.executor.memory_limit),
            config: base.config().clone(),
        })
    }

    fn demand<'a>(
        &'a self,
        trials: &'a [TrialConfig],
        train_set: &'a Dataset,
        (eval_tokens, answers): (u64, Option<AnswerDemand>),
        train: &'a TrainSettings,
    ) -> Demand<'a> {
        let Self { config, base, on, .. } = self;
        let (base, on) = (*base, *on);
        Demand { config, base, on, trials, train_set, eval_tokens, answers, train }
    }
}

/// Whether a trial fits on the sweep's device when nothing runs beside it, by its predicted memory.
pub fn fits_on_device(sweep: &Sweep, base: &Base, data: &PreparedData) -> Result<Fits, Error> {
    let unusable = |source| Error::Model { path: sweep.model.clone(), source };
    let (device, _) =
        trainer::select_device(sweep.executor.device, sweep.train.dtype).map_err(unusable)?;
    Ok(fits(sweep, DeviceMemory::of(sweep, device, base)?, data))
}

/// Answers of an evaluation, as if every prompt were as long as the longest row.
fn answers(sweep: &Sweep, data: &PreparedData) -> Option<AnswerDemand> {
    let wanted = sweep.metric.answers.as_ref()?;
    let rows = &data.validation.examples;
    let longest = rows.iter().map(|row| row.input_ids.len()).max().unwrap_or(0);
    let prompts = rows.len().min(wanted.examples as usize);
    Some(AnswerDemand { prompts, tokens: longest + wanted.max_new_tokens as usize })
}

/// Tokens that an evaluation's answers are worth: a token that is written costs about as much as so many
/// that are read, as all weights are read for few rows.
fn answer_tokens(sweep: &Sweep, data: &PreparedData) -> u64 {
    const WRITTEN: u64 = 2;
    let Some(wanted) = &sweep.metric.answers else { return 0 };
    let rows = &data.validation.examples;
    let tokens = |of: fn(&Example) -> usize| rows.iter().map(of).sum::<usize>() as u64;
    let answers = tokens(Example::targets);
    let prompts = tokens(|row| row.input_ids.len()).saturating_sub(answers);
    let asked = rows.len().min(wanted.examples as usize) as u64;
    // Whoever has learnt the rows answers about as briefly as they do.
    let all = asked * u64::from(wanted.max_new_tokens);
    let share = |of_all: u64| of_all * asked / (rows.len() as u64).max(1);
    share(prompts) + WRITTEN * share(answers).min(all)
}

/// How many of a trial's evaluations have answers.
fn answered(sweep: &Sweep, config: &TrialConfig, evaluations: u32) -> u32 {
    match sweep.metric.answers.as_ref().map(|answers| answers.every) {
        None => 0,
        Some(MeasureEvery::Evaluation) => evaluations,
        // Where the loss falls to the end, that is each one.
        Some(MeasureEvery::Epoch | MeasureEvery::Best) => evaluations.min(config.epochs),
    }
}

fn fits(sweep: &Sweep, room: DeviceMemory, data: &PreparedData) -> Fits {
    let evaluated = (plan::eval_tokens(data, &sweep.train), answers(sweep, data));
    let executor = ExecutorSettings { max_packed: Some(1), ..sweep.executor.clone() };
    let train = sweep.train.clone();
    // The longest row is what a trial's memory depends on.
    let longest = data.train.examples.iter().max_by_key(|example| example.input_ids.len());
    let train_set = Dataset { examples: longest.cloned().into_iter().collect() };
    Arc::new(move |trial| {
        let trials = std::slice::from_ref(trial);
        let demand = room.demand(trials, &train_set, evaluated, &train);
        // An adapter that the model cannot carry is a mistake of the sweep and is said to be one.
        let fitted = demand.fit(&executor, room.available);
        !matches!(fitted, Err(TrainerError::NotEnoughMemory { .. }))
    })
}

/// Leaves out the trials that a method which chooses freely will not propose, and returns how many.
/// When all of them do not fit, they stay, so that this is said.
fn leave_out_unfit(
    configs: &mut Vec<TrialConfig>,
    sweep: &Sweep,
    room: &DeviceMemory,
    data: &PreparedData,
) -> usize {
    if sweep.method != Method::Bayes {
        return 0;
    }
    let fits = fits(sweep, room.clone(), data);
    let (fitting, unfit): (Vec<_>, Vec<_>) = configs.drain(..).partition(|config| fits(config));
    let count = if fitting.is_empty() { 0 } else { unfit.len() };
    *configs = if fitting.is_empty() { unfit } else { fitting };
    count
}

impl Workload {
    /// The work of `trials` on this data.
    pub fn of(trials: &[Trial], sweep: &Sweep, data: &PreparedData) -> Self {
        let configs: Vec<TrialConfig> = trials.iter().map(|trial| trial.config.clone()).collect();
        let mut works = plan::works(&configs, data, &sweep.train);
        let answer_tokens = answer_tokens(sweep, data);
        for (work, config) in works.iter_mut().zip(&configs) {
            let answered = answered(sweep, config, work.evaluations);
            work.eval_tokens += answer_tokens * u64::from(answered);
        }
        Self { trials: trials.iter().map(|trial| trial.id).zip(works).collect(), expected: None }
    }

    /// The work of `total` trials that are not known beforehand.
    pub fn expected(total: Option<usize>) -> Self {
        Self { trials: BTreeMap::new(), expected: total.filter(|total| *total > 0) }
    }

    /// The work of each trial.
    pub fn trials(&self) -> impl Iterator<Item = TrialWork<'_>> {
        self.trials.iter().map(|(id, work)| (*id, work))
    }

    /// Share of all work that is done, in `[0, 1]`; `None` when all of it is not known.
    pub fn done_share(&self, state: &SweepState) -> Option<f64> {
        if let Some(expected) = self.expected {
            let shares = state.trials.keys().filter_map(|id| trial_share(state, *id));
            return Some((shares.sum::<f64>() / expected as f64).min(1.0));
        }
        let total: f64 = self.trials.values().map(cost).sum();
        let done: f64 = self
            .trials
            .iter()
            .filter_map(|(id, work)| Some(cost(work) * trial_share(state, *id)?))
            .sum();
        (total > 0.0).then(|| (done / total).min(1.0))
    }
}

/// Share of a trial that is done; an ended one is done, however early it ended.
fn trial_share(state: &SweepState, id: TrialId) -> Option<f64> {
    let trial = state.trials.get(&id)?;
    if trial.outcome().is_some() {
        return Some(1.0);
    }
    let shared = trial.continues.map_or(0, |shared| shared.steps);
    let step = trial.train_points.last().map_or(0, |point| point.step);
    let own = |upto: u32| f64::from(upto.saturating_sub(shared));
    Some(own(step) / own(trial.total_steps?).max(1.0))
}

/// A trained token costs a forward and a backward pass of about the same size, an evaluated one
/// the forward pass alone.
pub fn cost(work: &Work) -> f64 {
    2.0 * work.train_tokens as f64 + evaluation_cost(work)
}

/// What of it is evaluating.
pub fn evaluation_cost(work: &Work) -> f64 {
    work.eval_tokens as f64
}
