//! How much a sweep computes: steps and tokens, each counted once however many trials share it.

use std::collections::HashMap;

use spec::{ConfigKey, Steps, TrainSettings, TrialConfig};

use super::packing::TOKENS_PER_MICRO_BATCH;
use crate::schedule::Schedule;
use data::{Dataset, Example, PreparedData};

/// The work of one trial.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Work {
    /// Optimizer steps.
    pub steps: u32,
    /// Steps of them that a shorter trial takes for it.
    pub shared_steps: u32,
    /// Tokens this trial trains itself, prompts included.
    pub train_tokens: u64,
    /// Tokens of the steps that a shorter trial takes for it.
    pub shared_tokens: u64,
    /// Evaluations it makes itself.
    pub evaluations: u32,
    /// Evaluations that a shorter trial makes for it.
    pub shared_evaluations: u32,
    /// Tokens of these evaluations.
    pub eval_tokens: u64,
}

/// The sets whose sizes decide the work.
#[derive(Debug, Clone, Copy)]
pub struct Sets<'a> {
    /// What adapters learn from.
    pub train: &'a Dataset,
    /// What runs are ranked by.
    pub validation: &'a Dataset,
    /// What the base model could do already.
    pub retention: Option<&'a Dataset>,
}

impl<'a> From<&'a PreparedData> for Sets<'a> {
    fn from(data: &'a PreparedData) -> Self {
        let (train, validation) = (&data.train, &data.validation);
        Self { train, validation, retention: data.retention.as_ref() }
    }
}

/// The work of each of these trials on this data. Of trials that differ in `epochs` alone and
/// whose schedule allows it, a longer one continues where the next shorter one ends or begins its
/// decay ([`TrialConfig::trajectory`]).
pub fn works<'a>(
    trials: &[TrialConfig],
    data: impl Into<Sets<'a>>,
    train: &TrainSettings,
) -> Vec<Work> {
    let data = data.into();
    let tokens = Tokens::of(data, train);
    let mut shortest_first: Vec<usize> = (0..trials.len()).collect();
    shortest_first.sort_by_key(|i| trials[*i].epochs);
    let mut forks: HashMap<ConfigKey, u32> = HashMap::new();
    let mut works = vec![Work::default(); trials.len()];
    for index in shortest_first {
        let trial = &trials[index];
        let schedule = Schedule::on_examples(trial, data.train.examples.len(), train);
        let open_ended = schedule.open_ended_steps();
        let fork = trial.trajectory(train).zip(open_ended).map(|(key, own)| {
            let fork = forks.entry(key).or_insert(0);
            std::mem::replace(fork, own.max(*fork)).min(own)
        });
        works[index] = tokens.work(trial, schedule.total_steps, fork.unwrap_or(0), train);
    }
    works
}

/// Tokens of an example, on average, prompt included; 0 where there is none.
pub fn tokens_per_example(train: &Dataset) -> f64 {
    let tokens: usize = train.examples.iter().map(|example| example.input_ids.len()).sum();
    tokens as f64 / train.examples.len().max(1) as f64
}

/// How many steps a trial takes on this many training examples, each with about this many tokens.
pub fn steps(
    trial: &TrialConfig,
    examples: usize,
    tokens_per_example: f64,
    train: &TrainSettings,
) -> Steps {
    let schedule = Schedule::on_examples(trial, examples, train);
    Steps {
        total: schedule.total_steps,
        shared: trial.trajectory(train).and_then(|_| schedule.open_ended_steps()),
        micro_batches: micro_batches(trial.batch_size, tokens_per_example, train),
    }
}

/// Micro-batches of an optimizer step of `batch_size` examples with this many tokens: what the engine
/// splits it into when rows are of equal length.
fn micro_batches(batch_size: u32, tokens_per_example: f64, train: &TrainSettings) -> u32 {
    let by_tokens = f64::from(batch_size) * tokens_per_example / TOKENS_PER_MICRO_BATCH as f64;
    let by_examples = train.micro_batch_size.map_or(1, |most| batch_size.div_ceil(most.max(1)));
    (by_tokens.ceil() as u32).max(by_examples).max(1)
}

/// Tokens that one evaluation of a trial computes.
pub fn eval_tokens<'a>(data: impl Into<Sets<'a>>, train: &TrainSettings) -> u64 {
    Tokens::of(data.into(), train).eval
}

/// Tokens of one pass over each set.
struct Tokens {
    train: u64,
    eval: u64,
}

impl Tokens {
    fn of(data: Sets<'_>, train: &TrainSettings) -> Self {
        let tokens =
            |examples: &[Example]| examples.iter().map(|e| e.input_ids.len() as u64).sum::<u64>();
        let train_tokens = tokens(&data.train.examples);
        let share = train.eval.train_subset.map_or(data.validation.examples.len(), |n| n as usize);
        let share = share.min(data.train.examples.len()) as u64;
        let subset = train_tokens * share / (data.train.examples.len() as u64).max(1);
        let retention = data.retention.map_or(0, |r| tokens(&r.examples));
        let validation = tokens(&data.validation.examples);
        Self { train: train_tokens, eval: validation + subset + retention }
    }

    /// The work after the first `shared` steps.
    fn work(&self, trial: &TrialConfig, steps: u32, shared: u32, train: &TrainSettings) -> Work {
        let per_epoch = steps / trial.epochs.max(1);
        let evaluations_upto = |step: u32| {
            let epochs = step / per_epoch.max(1);
            let every = train.eval.eval_steps.map_or(0, |n| step / n);
            let both = train.eval.eval_steps.map_or(0, |n| {
                (1..=epochs).filter(|e| (e * per_epoch).is_multiple_of(n)).count() as u32
            });
            epochs + every - both
        };
        let shared_evaluations = evaluations_upto(shared);
        let evaluations = evaluations_upto(steps) - shared_evaluations;
        let all = self.train * u64::from(trial.epochs);
        let shared_tokens = all * u64::from(shared) / u64::from(steps.max(1));
        Work {
            steps,
            shared_steps: shared,
            train_tokens: all - shared_tokens,
            shared_tokens,
            evaluations,
            shared_evaluations,
            eval_tokens: self.eval * u64::from(evaluations),
        }
    }
}

impl Work {
    /// Evaluations of its whole curve.
    pub const fn all_evaluations(&self) -> u32 {
        self.evaluations + self.shared_evaluations
    }
}

#[cfg(test)]
mod tests {
    use spec::LrScheduler;

    use super::super::tests::{rows, trial};
    use super::*;

    fn on_ten_rows(trials: &[TrialConfig], train: &TrainSettings) -> Vec<Work> {
        let (train_set, validation, retention) = (rows(10), rows(4), rows(2));
        let sets = Sets { train: &train_set, validation: &validation, retention: Some(&retention) };
        works(trials, sets, train)
    }

    #[test]
    fn a_trial_takes_whole_epochs_of_steps_and_is_evaluated_after_each() {
        let work = on_ten_rows(&[trial(8, 3)], &TrainSettings::default())[0];
        let eval_tokens = 3 * (40 + 40 + 20);
        let expected =
            Work { steps: 9, train_tokens: 300, evaluations: 3, eval_tokens, ..Work::default() };
        assert_eq!(work, expected);
    }

    #[test]
    fn an_evaluation_that_falls_on_an_epochs_end_is_counted_once() {
        let mut train = TrainSettings::default();
        train.eval.eval_steps = Some(2);
        // Steps 2, 3 (epoch), 4, 6 (both), 8, 9 (epoch).
        assert_eq!(on_ten_rows(&[trial(8, 3)], &train)[0].evaluations, 6);
    }

    #[test]
    fn trials_over_epochs_count_the_tokens_of_the_longest_alone() {
        let trials = [trial(8, 4), trial(8, 1), trial(8, 2), trial(16, 2)];
        let works = on_ten_rows(&trials, &TrainSettings::default());
        let own: Vec<u64> = works.iter().map(|w| w.train_tokens).collect();
        assert_eq!(own, [200, 100, 100, 200]);
        assert_eq!(works.iter().map(|w| w.evaluations).collect::<Vec<_>>(), [2, 1, 1, 2]);
        assert_eq!(works[0].shared_steps, 6);
    }

    #[test]
    fn a_decay_is_counted_for_each_trial_and_a_linear_schedule_shares_nothing() {
        let with =
            |lr_scheduler| [1, 2].map(|epochs| TrialConfig { lr_scheduler, ..trial(8, epochs) });
        let train = TrainSettings { decay_ratio: 0.3, ..TrainSettings::default() };
        let tokens = |trials: [TrialConfig; 2]| -> u64 {
            on_ten_rows(&trials, &train).iter().map(|w| w.train_tokens).sum()
        };
        assert_eq!(tokens(with(LrScheduler::Linear)), 300);
        // 3 steps of which the last decays; 6 steps of which the first 2 are shared: 7 of 9.
        assert_eq!(tokens(with(LrScheduler::WarmupStableDecay)), 100 + 200 - 66);
    }
}
