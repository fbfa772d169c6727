//! What is said of a parameter: only what runs tell that differ in nothing else, and only what makes sense
//! for the data.

use std::collections::BTreeMap;

use reporter::diagnose::FindingKind;
use spec::{DataFacts, Event, Outcome, StopReason, SweepState, TargetModule, TrialConfig, TrialId};

use crate::findings::{FALLING, FLAT, GOOD, config, findings, has, sweep, the};
use crate::replicated::sets;

const BETTER: &[f64] = &[1.2, 0.9, 0.8, 0.8];

fn with_batch(batch_size: u32) -> TrialConfig {
    TrialConfig { batch_size, ..config(8, 1e-4) }
}

fn with_facts(mut state: SweepState, facts: DataFacts) -> SweepState {
    state.apply(&Event::DataPrepared { facts });
    state
}

#[test]
fn ranks_at_different_rates_are_not_compared() {
    // The higher rank had the better rate: which of the two it was cannot be told.
    let state = sweep(&[(config(2, 1e-5), FLAT), (config(16, 1e-3), GOOD)]);
    let found = the(FindingKind::RankSaturates, &state);
    assert!(found.evidence.contains("cannot be told"), "{}", found.evidence);
    assert!(found.advice.contains("vary rank"), "{}", found.advice);
    assert!(!has(FindingKind::RankTooSmall, &state));
    let edges = findings(&state).into_iter().filter(|f| f.kind == FindingKind::EdgeOfSpace);
    assert!(edges.into_iter().all(|edge| !edge.evidence.contains("rank")));
}

#[test]
fn ranks_are_compared_where_all_else_is_the_same_whatever_the_best_of_each_is() {
    // Rank 16 has the lowest loss of all by its rate alone; at each rate rank 2 is as good.
    let state = sweep(&[
        (config(2, 1e-4), GOOD),
        (config(16, 1e-4), GOOD),
        (config(16, 2e-3), BETTER),
        (config(2, 2e-3), BETTER),
    ]);
    let found = the(FindingKind::RankSaturates, &state);
    assert!(found.evidence.contains("cannot be told apart"), "{}", found.evidence);
    assert!(found.advice.contains("Take rank 2, the lowest tried"), "{}", found.advice);
}

#[test]
fn learning_rates_that_are_nearly_equal_count_as_the_same() {
    let near = sweep(&[(config(2, 1e-4), FLAT), (config(16, 1.2e-4), GOOD)]);
    assert!(has(FindingKind::RankTooSmall, &near));
    let far = sweep(&[(config(2, 1e-4), FLAT), (config(16, 2e-4), GOOD)]);
    assert!(!has(FindingKind::RankTooSmall, &far));
}

#[test]
fn nothing_is_kept_that_has_not_been_tried_against_its_neighbours() {
    let state =
        sweep(&[(config(2, 1e-4), FLAT), (config(16, 1e-4), GOOD), (config(64, 1e-4), GOOD)]);
    let advice = the(FindingKind::RankSaturates, &state).advice;
    assert!(advice.starts_with("Of the ranks tried, take 16"), "{advice}");
    assert!(advice.ends_with("No rank between 2 and 16 was tried."), "{advice}");
}

#[test]
fn runs_that_were_stopped_early_say_nothing_of_their_rank() {
    let mut state = sweep(&[(config(2, 1e-4), FLAT), (config(16, 1e-4), GOOD)]);
    let reason = StopReason::EarlyTerminate { reason: "worse than the median".to_owned() };
    let outcome = Outcome::Stopped { reason };
    state.apply(&Event::TrialFinished { trial: TrialId(1), outcome });
    assert!(!has(FindingKind::RankTooSmall, &state));
}

#[test]
fn no_batch_is_advised_that_leaves_a_few_steps_an_epoch() {
    let runs = [(with_batch(16), FLAT), (with_batch(64), GOOD)];
    let rows = |train_examples| {
        with_facts(sweep(&runs), DataFacts { train_examples, ..DataFacts::default() })
    };
    let few = rows(500);
    assert!(!has(FindingKind::EdgeOfSpace, &few), "64 leaves 8 steps already");
    let advice = the(FindingKind::BatchSize, &few).advice;
    assert_eq!(advice, "Of the batch sizes tried, take 64.");
    let edge = the(FindingKind::EdgeOfSpace, &rows(5000));
    assert_eq!(edge.yaml.as_deref(), Some("parameters:\n  batch_size: [16, 64, 256]\n"));
    assert!(the(FindingKind::BatchSize, &rows(5000)).advice.contains("try larger"));
}

#[test]
fn ranks_beyond_the_edge_stop_where_the_rows_are_far_exceeded() {
    let state = sweep(&[(config(2, 1e-4), FLAT), (config(8, 1e-4), &[1.4, 1.2, 1.1, 1.1])]);
    let facts = DataFacts {
        train_targets: 20_000,
        parameters_per_rank: BTreeMap::from([(TargetModule::QProj, 1000)]),
        ..DataFacts::default()
    };
    // 46 k bits: 64 k of rank 32 are not far beyond, 256 k of rank 128 are.
    let edge = the(FindingKind::EdgeOfSpace, &with_facts(state, facts));
    assert_eq!(edge.yaml.as_deref(), Some("parameters:\n  rank: [2, 8, 32]\n"));
}

#[test]
fn what_to_take_and_where_to_search_never_contradict() {
    let losses: [&[f64]; 3] = [GOOD, FLAT, BETTER];
    for (low, high) in losses.iter().flat_map(|a| losses.iter().map(move |b| (*a, *b))) {
        for runs in [
            [(config(4, 1e-4), low), (config(16, 1e-4), high)],
            [(with_batch(4), low), (with_batch(16), high)],
        ] {
            let found = findings(&sweep(&runs));
            let edge = found.iter().find(|f| f.kind == FindingKind::EdgeOfSpace);
            let Some(edge) = edge else { continue };
            let taken = found
                .iter()
                .filter(|f| matches!(f.kind, FindingKind::RankSaturates | FindingKind::BatchSize));
            for other in taken {
                let wants_more =
                    other.advice.contains("try") && !other.advice.contains("tried, take");
                assert!(wants_more, "{} against {}", other.advice, edge.evidence);
            }
        }
    }
}

#[test]
fn a_run_that_underfits_is_told_what_alone_differs_from_the_best() {
    use reporter::Lang;
    use reporter::diagnose::diagnose_all;
    let advice = |runs: &[(TrialConfig, &[f64])]| {
        let all = diagnose_all(&sweep(runs), &spec::ReportSettings::default(), Lang::En);
        all[&TrialId(1)].advice.clone().expect("advice")
    };
    let low = advice(&[(config(8, 1e-5), FLAT), (config(8, 1e-4), GOOD)]);
    assert!(low.contains("rate is too low"), "{low}");
    let high = advice(&[(config(8, 1e-2), FLAT), (config(8, 1e-4), GOOD)]);
    assert!(high.starts_with("Lower the learning rate"), "{high}");
    let both = advice(&[(config(2, 1e-5), FLAT), (config(8, 1e-4), GOOD)]);
    assert!(both.contains("which of these it is cannot be told"), "{both}");
    let slow = advice(&[(config(8, 1e-5), FALLING), (config(8, 1e-4), GOOD)]);
    assert!(slow.starts_with("Raise the learning rate"), "{slow}");
}

#[test]
fn runs_with_nearly_the_same_curve_have_the_same_flag() {
    use reporter::Lang;
    use reporter::diagnose::diagnose_all;
    let settings = spec::ReportSettings::default();
    // Shares of the best improvement just below and just above the threshold of `underfit`.
    let at = |share: f64| vec![2.0 - share; 4];
    let (below, above) = (at(settings.underfit_share - 0.004), at(settings.underfit_share + 0.004));
    let state =
        sweep(&[(config(8, 1e-4), GOOD), (config(4, 1e-4), &below), (config(2, 1e-4), &above)]);
    let all = diagnose_all(&state, &settings, Lang::En);
    assert_eq!(all[&TrialId(2)].flag, all[&TrialId(3)].flag);
}

#[test]
fn runs_that_fall_by_nearly_the_same_at_the_end_have_the_same_flag() {
    use reporter::Lang;
    use reporter::diagnose::diagnose_all;
    let settings = spec::ReportSettings::default();
    // The base model is at 2.0: what the last third brought is 4.7 and 5.3 % of the improvement.
    let falling = |share: f64| vec![1.9, 1.6 + 0.4 * share, 1.6 + 0.2 * share, 1.6];
    let (less, more) = (falling(0.047), falling(0.053));
    let state =
        sweep(&[(config(8, 1e-4), GOOD), (config(4, 1e-4), &less), (config(2, 1e-4), &more)]);
    let all = diagnose_all(&state, &settings, Lang::En);
    assert_eq!(all[&TrialId(2)].flag, all[&TrialId(3)].flag);
}

#[test]
fn on_real_runs_no_advice_contradicts_the_choice() {
    use reporter::Lang;
    use reporter::diagnose::{Side, verdict};
    for set in sets() {
        let rows: Vec<usize> = (0..set.targets.len()).collect();
        let configs: Vec<usize> = (0..set.runs.len()).collect();
        for seed in 0..set.seeds() {
            let state = set.sweep(&configs, &[seed], &rows);
            let found = verdict(&state, &spec::ReportSettings::default(), Lang::En);
            let choice = found.choice.expect("a choice").trial;
            let config = &state.trials[&choice].trial.config;
            for edge in &found.edges {
                let (own, values): (f64, Vec<f64>) = match edge.parameter {
                    "rank" => (config.rank.into(), of(&state, |c| c.rank.into())),
                    "batch_size" => (config.batch_size.into(), of(&state, |c| c.batch_size.into())),
                    _ => (config.learning_rate, of(&state, |c| c.learning_rate)),
                };
                let beyond = values.iter().any(|value| match edge.side {
                    Side::Highest => *value > own,
                    Side::Lowest => *value < own,
                });
                assert!(!beyond, "{} {seed}: {edge:?} but {own} is chosen", set.name);
            }
            for finding in &found.findings {
                if let Some((_, taken)) = finding.advice.split_once("Of the ranks tried, take ") {
                    let taken = taken.split(':').next().expect("a rank");
                    assert_eq!(taken, config.rank.to_string(), "{} {seed}", set.name);
                }
            }
        }
    }
}

fn of(state: &SweepState, value: fn(&TrialConfig) -> f64) -> Vec<f64> {
    state.trials.values().map(|trial| value(&trial.trial.config)).collect()
}
