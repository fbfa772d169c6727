//! The honest ranking, on runs whose true losses are known.

use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use reporter::{Comparison, Lang, Reason, compare, rank};
use spec::{
    Evaluation, Event, ExampleLosses, Outcome, ReportSettings, SweepState, Trial, TrialConfig,
    TrialId,
};

use crate::sweeps;

/// A run as the world has it: its configuration and the loss it would have on endless data.
#[derive(Clone)]
struct Truth {
    config: TrialConfig,
    loss: f64,
}

fn truth(rank: u32, loss: f64) -> Truth {
    Truth { config: sweeps::config(rank, 2e-4, 3), loss }
}

/// A deviate of mean 0 and variance 1.
fn unit(random: &mut ChaCha8Rng) -> f64 {
    (random.random::<f64>() - 0.5) * 12.0_f64.sqrt()
}

/// A sweep measured on `examples` rows. Every row is hard or easy for all runs alike (deviation
/// 0.5), and has something of its own for each (deviation `own`).
fn measured(runs: &[Truth], examples: usize, own: f64, seed: u64) -> SweepState {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let common: Vec<f64> = (0..examples).map(|_| 0.5 * unit(&mut random)).collect();
    let targets: Vec<usize> = (0..examples).map(|_| random.random_range(4..40)).collect();
    let mut draw = |loss: f64| {
        let each = common.iter().zip(&targets);
        let losses: Vec<(f64, usize)> = each
            .map(|(common, t)| ((loss + common + own * unit(&mut random)) * *t as f64, *t))
            .collect();
        ExampleLosses::collect(losses)
    };
    let mut events = Vec::new();
    let base = draw(3.0);
    events.push(Event::BaseEvaluated { evaluation: evaluation(&base) });
    events.push(Event::ExamplesEvaluated { trial: TrialId::BASE, step: 0, examples: base });
    for (number, run) in (1..).zip(runs) {
        let trial = TrialId(number);
        let examples = draw(run.loss);
        let config = run.config.clone();
        events.push(Event::proposed(Trial { id: trial, config }));
        events.push(Event::Evaluated { trial, evaluation: evaluation(&examples) });
        events.push(Event::ExamplesEvaluated { trial, step: 10, examples });
        events.push(Event::TrialFinished { trial, outcome: Outcome::Completed });
    }
    events.push(Event::SweepFinished);
    SweepState::from_events(&events)
}

fn evaluation(examples: &ExampleLosses) -> Evaluation {
    let tokens: u32 = examples.targets.iter().sum();
    let nll: f32 = examples.nll.iter().sum();
    let eval_loss = f64::from(nll) / f64::from(tokens);
    Evaluation {
        step: 10,
        epoch: 1.0,
        eval_loss,
        eval_loss_stderr: 0.05,
        rise_stderr: None,
        group_nll: Vec::new(),
        train_loss: Some(eval_loss - 0.1),
        retention_loss: None,
        scores: Vec::new(),
        tokens: 100,
        seconds: 1.0,
    }
}

fn compared(state: &SweepState) -> Comparison {
    compare(state).expect("losses of single examples")
}

#[test]
fn a_run_that_is_better_on_every_example_is_clearly_best() {
    let state = measured(&[truth(8, 1.0), truth(4, 1.3), truth(16, 1.4)], 200, 0.05, 1);
    let comparison = compared(&state);
    assert_eq!(comparison.tied, [TrialId(1)]);
    assert_eq!(comparison.choice.reason, Reason::ClearlyBest);
    assert!(!comparison.is_base_tied);
}

#[test]
fn pairing_sees_differences_far_below_the_spread_between_examples() {
    // The examples differ by 0.5, so that a mean of 200 has an error of 0.035; the runs differ by
    // 0.03 on nearly every example.
    let state = measured(&[truth(8, 1.0), truth(4, 1.03)], 200, 0.02, 2);
    assert_eq!(compared(&state).tied, [TrialId(1)]);
}

/// Under one seed, nearly the same settings give nearly the same adapter, whose losses differ by next to
/// nothing on every row. Another seed differs by more, and says who is better anew.
#[test]
fn nearly_the_same_settings_under_one_seed_are_tied_by_what_another_seed_does() {
    let mut state = measured(&[truth(8, 1.0), truth(8, 1.001)], 150, 0.0005, 4);
    let second = state.trials.get_mut(&TrialId(2)).expect("the second run");
    second.trial.config.weight_decay = 0.1;
    // Training moved every row by something else.
    let base = state.base_examples.as_mut().expect("the base model's losses");
    base.nll.iter_mut().enumerate().for_each(|(at, x)| *x *= if at % 2 == 0 { 1.3 } else { 0.7 });
    let comparison = compared(&state);
    assert_eq!(comparison.tied, [TrialId(1), TrialId(2)]);
    assert_eq!(comparison.tied_on_rows, [TrialId(1)]);
    let repeat = comparison.repeat.expect("repeating them would tell");
    assert_eq!((repeat.tied, repeat.top), (2, 2));
}

#[test]
fn among_ties_the_lowest_rank_is_chosen_and_the_report_says_so() {
    let runs = [truth(64, 1.0), truth(16, 1.001), truth(4, 1.0015), truth(2, 1.6)];
    let state = measured(&runs, 100, 0.1, 3);
    let comparison = compared(&state);
    assert_eq!(comparison.tied.len(), 3);
    assert_eq!(comparison.choice.trial, TrialId(3));
    assert_eq!(comparison.choice.reason, Reason::LowestRank);
    let ranking = rank(&state, &ReportSettings::default(), Lang::En);
    let words = ranking.verdict.sentences.join(" ");
    assert!(words.starts_with("Take trial 003"), "{words}");
    assert!(words.contains("cannot be told apart at the top (95 %); of the closest it has"));
}

#[test]
fn a_simpler_run_that_is_likely_worse_is_not_chosen_however_wide_the_ties_of_many_are() {
    // Hundreds of runs make the simultaneous intervals wide; the one of rank 1 lies between the
    // limit of a single comparison and that of all.
    let mut runs: Vec<Truth> = (0..300).map(|n| truth(8 + n, 1.2 + 0.001 * f64::from(n))).collect();
    runs.push(truth(4, 1.0));
    runs.push(truth(1, 1.0 + 0.12));
    let mut state = measured(&runs, 100, 0.25, 12);
    // The same losses for all but the last two, so that their company is all that matters.
    state.trials.retain(|id, _| id.0 % 3 == 0 || id.0 > 300);
    let comparison = compared(&state);
    let simple = comparison.against_best[&TrialId(302)];
    assert!(simple.is_tied, "{simple:?} with {}", comparison.critical);
    assert!(simple.difference > 1.7 * simple.stderr, "{simple:?}");
    assert_eq!(comparison.choice.trial, TrialId(301));
}

#[test]
fn ties_of_one_rank_are_decided_by_the_gap_and_then_by_what_is_forgotten() {
    let mut state = measured(&[truth(8, 1.0), truth(8, 1.0), truth(8, 1.0)], 100, 0.1, 4);
    for (number, rate) in (1..).zip([1e-4, 2e-4, 3e-4]) {
        let trial = state.trials.get_mut(&TrialId(number)).expect("trial");
        trial.trial.config.learning_rate = rate;
        let evaluation = &mut trial.evaluations[0];
        let gap = if number == 1 { 0.4 } else { 0.1 };
        evaluation.train_loss = Some(evaluation.eval_loss - gap);
        evaluation.retention_loss = Some(f64::from(10 - number));
    }
    let choice = compared(&state).choice;
    assert_eq!((choice.trial, choice.reason), (TrialId(3), Reason::LeastForgetting));
    for number in 2..=3 {
        let trial = state.trials.get_mut(&TrialId(number)).expect("trial");
        let evaluation = &mut trial.evaluations[0];
        let gap = if number == 2 { 0.1 } else { 0.4 };
        evaluation.train_loss = Some(evaluation.eval_loss - gap);
    }
    let choice = compared(&state).choice;
    assert_eq!((choice.trial, choice.reason), (TrialId(2), Reason::SmallestGap));
}

#[test]
fn a_base_model_as_good_as_the_best_run_is_said_to_be() {
    let state = measured(&[truth(8, 3.0), truth(4, 3.01)], 100, 0.2, 5);
    assert!(compared(&state).is_base_tied);
    let ranking = rank(&state, &ReportSettings::default(), Lang::En);
    assert!(ranking.verdict.sentences.iter().any(|s| s.contains("cannot be told from the base")));
}

#[test]
fn repeated_seeds_widen_the_intervals_by_what_they_differ() {
    let with_seed = |loss, seed| {
        let mut run = truth(8, loss);
        run.config.seed = seed;
        run
    };
    let mut other = truth(16, 1.02);
    other.config.seed = 1;
    let alone = compared(&measured(&[with_seed(1.0, 1), other.clone()], 400, 0.02, 6));
    assert_eq!(alone.tied, [TrialId(1)]);
    assert!(!alone.seeds.is_measured);
    // The same 0.02, but seeds alone move the loss by 0.05.
    let runs = [with_seed(1.0, 1), other, with_seed(1.05, 2), with_seed(0.95, 3)];
    let comparison = compared(&measured(&runs, 400, 0.02, 6));
    assert_eq!(comparison.candidates, 2);
    assert!(comparison.seeds.is_measured);
    assert!((0.02..0.08).contains(&comparison.seeds.deviation), "{:?}", comparison.seeds);
    assert_eq!(comparison.tied.len(), 2);
    assert_eq!(comparison.tied_on_rows, [TrialId(4)], "with these seeds it is clear");
}

#[test]
fn the_next_after_the_best_is_another_configuration_not_another_seed_of_it() {
    let of = |rank, loss, seed| {
        let mut run = truth(rank, loss);
        run.config.seed = seed;
        run
    };
    // One seed of the second configuration is lower than one of the best.
    let runs = [
        of(8, 1.0, 1),
        of(8, 1.01, 2),
        of(8, 1.3, 3),
        of(16, 1.2, 1),
        of(16, 1.8, 2),
        of(4, 2.5, 1),
    ];
    let state = measured(&runs, 400, 0.02, 6);
    let next = compared(&state).runner_up.expect("a second configuration");
    assert_eq!(next.trial, TrialId(4));
    assert!((next.behind - (1.5 - 1.1033)).abs() < 0.01, "{}", next.behind);
    let verdict = rank(&state, &ReportSettings::default(), Lang::En).verdict;
    let second = verdict.runner_up.expect("a second configuration");
    assert_eq!((second.trial, second.behind), (next.trial, next.behind));
    let mut alone = state;
    alone.base_examples = None;
    for trial in alone.trials.values_mut() {
        trial.examples = None;
    }
    let verdict = rank(&alone, &ReportSettings::default(), Lang::En).verdict;
    assert_eq!(verdict.runner_up.map(|second| second.trial), Some(TrialId(4)), "by means alone");
}

/// 60 sweeps of 20 runs of which the first is best by a hair: it is called worse in at most one
/// of twenty sweeps or so (95 %; twice that allowed for chance).
#[test]
fn the_truly_best_run_is_rarely_called_worse_however_many_there_are() {
    let runs: Vec<Truth> =
        (1..=20).map(|rank| truth(rank, if rank == 1 { 0.999 } else { 1.0 })).collect();
    let wrong = (0..60).filter(|seed| {
        let comparison = compared(&measured(&runs, 120, 0.3, 100 + seed));
        !comparison.tied.contains(&TrialId(1))
    });
    assert!(wrong.count() <= 6);
}

/// The lowest of 20 noisy losses is far too low; with the optimism added it is right on average.
#[test]
fn the_expectation_of_the_winner_is_corrected() {
    let runs: Vec<Truth> = (1..=20).map(|rank| truth(rank, 1.0)).collect();
    let sweeps = 60;
    let (mut naive, mut corrected, mut common) = (0.0, 0.0, 0.0);
    for seed in 0..sweeps {
        let state = measured(&runs, 120, 0.3, 500 + seed);
        let comparison = compared(&state);
        let losses = state.trials.values().filter_map(|t| t.best()).map(|e| e.eval_loss);
        let losses: Vec<f64> = losses.collect();
        let lowest = losses.iter().copied().fold(f64::INFINITY, f64::min);
        // What all runs of a sweep share by its draw of examples is not the winner's luck.
        common += losses.iter().sum::<f64>() / losses.len() as f64;
        naive += lowest;
        corrected += lowest + comparison.optimism.expect("enough examples");
    }
    let n = f64::from(sweeps as u32);
    let (too_low, left) = ((common - naive) / n, (common - corrected) / n);
    assert!(too_low > 0.04, "{too_low}");
    assert!(left.abs() < 0.25 * too_low, "{left} of {too_low} is left");
}

#[test]
fn old_journals_without_losses_of_single_examples_are_ranked_by_their_means() {
    let state = sweeps::quickstart();
    assert!(compare(&state).is_none());
    let ranking = rank(&state, &ReportSettings::default(), Lang::En);
    assert_eq!(ranking.verdict.choice, ranking.verdict.best);
    assert!(ranking.rows.iter().all(|row| row.against_best.is_none()));
}

#[test]
fn a_run_measured_on_other_examples_is_not_compared() {
    let mut state = measured(&[truth(8, 1.0), truth(4, 1.0)], 50, 0.1, 7);
    let second = state.trials.get_mut(&TrialId(2)).expect("trial");
    second.examples.as_mut().expect("losses").targets[3] += 1;
    let comparison = compared(&state);
    assert_eq!(comparison.candidates, 1);
    assert!(!comparison.against_best.contains_key(&TrialId(2)));
}

#[test]
fn one_example_or_two_or_losses_that_are_no_numbers_break_nothing() {
    for examples in [1, 2, 4] {
        let state = measured(&[truth(8, 1.0), truth(4, 2.0)], examples, 0.1, 8);
        let comparison = compared(&state);
        assert_eq!(comparison.optimism, None);
        if examples == 1 {
            assert_eq!(comparison.tied.len(), 2, "one example tells nothing apart");
        }
    }
    let mut state = measured(&[truth(8, 1.0), truth(4, 2.0)], 9, 0.1, 9);
    let first = state.trials.get_mut(&TrialId(1)).expect("trial");
    first.examples.as_mut().expect("losses").nll[0] = f32::NAN;
    assert_eq!(compared(&state).tied, [TrialId(2)]);
}

#[test]
fn examples_beyond_those_kept_apart_leave_mean_and_spread_as_they_are() {
    let many = 3 * ExampleLosses::MOST + 17;
    let pooled = ExampleLosses::collect((0..many).map(|e| ((e % 7) as f64, 3)));
    assert_eq!(pooled.nll.len(), ExampleLosses::MOST);
    let sum: f32 = pooled.nll.iter().sum();
    assert_eq!(f64::from(sum), (0..many).map(|e| (e % 7) as f64).sum::<f64>());
    assert_eq!(pooled.targets.iter().map(|t| *t as usize).sum::<usize>(), 3 * many);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_best_is_always_tied_with_itself_and_the_choice_is_tied(
        losses in prop::collection::vec(0.5..2.0_f64, 1..8),
        examples in 2..40_usize,
        seed in any::<u64>(),
    ) {
        let runs: Vec<Truth> =
            (1..).zip(&losses).map(|(rank, loss)| truth(rank, *loss)).collect();
        let comparison = compared(&measured(&runs, examples, 0.2, seed));
        prop_assert!(comparison.tied.contains(&comparison.choice.trial));
        for against in comparison.against_best.values() {
            prop_assert!(against.low <= against.difference && against.difference <= against.high);
        }
        let best = comparison.tied[0];
        prop_assert_eq!(comparison.against_best[&best].difference, 0.0);
    }
}
