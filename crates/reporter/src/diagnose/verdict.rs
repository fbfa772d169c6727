//! What a sweep says as a whole: the run to take, how sure that is, and what to do next.

use std::collections::BTreeMap;

use spec::{Objective, ReportSettings, SweepState, TrialConfig, TrialId, TrialState, TrialStatus};

use super::facts::{BestRun, Edge, RunnerUp, Side, Verdict, VerdictInput, is_stopped_early};
use super::matched::Matched;
use super::{Flag, Reference, diagnose_all, extend, findings, metric};
use crate::compare::{Candidates, Comparison, Reason, Z95, compare_found};
use crate::number::{change, epoch, loss};
use crate::parameters;
use crate::text::{Lang, say};

/// Sums a sweep up.
pub fn verdict(state: &SweepState, settings: &ReportSettings, lang: Lang) -> Verdict {
    let diagnoses = &diagnose_all(state, settings, lang);
    let found = Candidates::of(state);
    let comparison = found.as_ref().map(compare_found);
    let (found, comparison) = (found.as_ref(), comparison.as_ref());
    verdict_of_sweep(VerdictInput { state, diagnoses, comparison, found, lang })
}

/// As [`verdict`], for runs that are already diagnosed and compared.
pub(crate) fn verdict_of_sweep(input: VerdictInput<'_>) -> Verdict {
    if input.state.objective.is_loss() {
        return verdict_of(input, input);
    }
    // What is found of settings is said of the losses.
    let state = &*input.state.by_loss();
    let found = Candidates::of(state);
    let comparison = found.as_ref().map(compare_found);
    let (found, comparison) = (found.as_ref(), comparison.as_ref());
    verdict_of(input, VerdictInput { state, comparison, found, ..input })
}

fn verdict_of(input: VerdictInput<'_>, by_loss: VerdictInput<'_>) -> Verdict {
    let VerdictInput { state, diagnoses, comparison, .. } = input;
    let mut flags = BTreeMap::new();
    for diagnosis in diagnoses.values() {
        *flags.entry(diagnosis.flag).or_default() += 1;
    }
    let best = Reference::of(state).best;
    let choice = comparison
        .and_then(|comparison| state.trials.get(&comparison.choice.trial))
        .or(best)
        .map(|trial| trial.trial.id);
    let chosen = choice.and_then(|id| state.trials.get(&id));
    let mut verdict = Verdict {
        best: best.and_then(|trial| best_run(state, trial)),
        choice: chosen.and_then(|trial| best_run(state, trial)),
        runner_up: best.and_then(|trial| runner_up(input, trial)),
        flags,
        edges: best
            .zip(chosen)
            .map(|(best, chosen)| edges(input, best, chosen))
            .unwrap_or_default(),
        findings: Vec::new(),
        sentences: Vec::new(),
    };
    verdict.findings = findings::find(by_loss, &verdict);
    verdict.sentences = sentences(&verdict, input);
    verdict
}

fn settings_of(state: &SweepState, trial: &TrialState) -> String {
    let configs: Vec<_> = state.trials.values().map(|t| &t.trial.config).collect();
    parameters::describe(&trial.trial.config, &parameters::varying(&configs))
}

fn best_run(state: &SweepState, trial: &TrialState) -> Option<BestRun> {
    let best = trial.best()?;
    Some(BestRun {
        trial: trial.trial.id,
        settings: settings_of(state, trial),
        eval_loss: best.eval_loss,
        eval_loss_stderr: best.eval_loss_stderr,
        epoch: best.epoch,
        improvement: state.base_of(trial).map(|base| base.eval_loss - best.eval_loss),
        test: state.test.get(&trial.trial.id).cloned(),
    })
}

/// The best of the other configurations; the best one under another seed is none.
fn runner_up(input: VerdictInput<'_>, best: &TrialState) -> Option<RunnerUp> {
    let state = input.state;
    let own = best.trial.config.key_without_seed();
    let others = state.trials.values().filter(|trial| trial.trial.config.key_without_seed() != own);
    let lowest = others
        .filter_map(|trial| Some((trial, trial.best_cost()?)))
        .min_by(|a, b| a.1.total_cmp(&b.1));
    let (evaluation, cost) = (best.best()?, best.best_cost()?);
    let compared = input.comparison.and_then(|comparison| comparison.runner_up);
    let (second, behind) = match compared {
        Some(next) => (state.trials.get(&next.trial)?, next.behind),
        None => lowest.map(|(trial, other)| (trial, other - cost))?,
    };
    Some(RunnerUp {
        trial: second.trial.id,
        settings: settings_of(state, second),
        eval_loss: second.best()?.eval_loss,
        behind,
        within_noise: behind < state.objective.stderr(evaluation).unwrap_or_default(),
    })
}

/// Of the parameters whose ranges are open-ended: a best run at the edge says that the optimum may
/// lie beyond it. For rank and batch size, runs that differ in nothing else must say so too; a rate
/// at the edge counts unless a run at another one is as good. Where nothing sensible lies beyond, or the
/// run to take is not at the edge, there is none.
fn edges(input: VerdictInput<'_>, best: &TrialState, chosen: &TrialState) -> Vec<Edge> {
    let (best, chosen) = (&best.trial.config, &chosen.trial.config);
    let whole = |name: &'static str, value: fn(&TrialConfig) -> u32| {
        let matched = Matched::of(input, name, value)?;
        let own = Some(value(best)).filter(|own| *own == value(chosen))?;
        let side = if Some(&own) == matched.best.keys().next_back() {
            Side::Highest
        } else if Some(&own) == matched.best.keys().next() {
            Side::Lowest
        } else {
            return None;
        };
        let edge = Edge { parameter: name, value: f64::from(own), side };
        matched.wins(own).then_some(edge)
    };
    let found = [
        rate_edge(input, best).filter(|edge| edge.value == chosen.learning_rate),
        whole("rank", |config| config.rank),
        whole("batch_size", |config| config.batch_size),
    ];
    let leads_on = |edge: &Edge| extend::leads_on(input.state, edge);
    found.into_iter().flatten().filter(leads_on).collect()
}

fn rate_edge(input: VerdictInput<'_>, best: &TrialConfig) -> Option<Edge> {
    let of = |trial: &TrialState| trial.trial.config.learning_rate;
    let trials = &input.state.trials;
    let tried = || trials.values().filter(|trial| trial.best().is_some()).map(of);
    let low = tried().fold(f64::INFINITY, f64::min);
    let high = tried().fold(f64::NEG_INFINITY, f64::max);
    let value = best.learning_rate;
    let mut tied = input.comparison.iter().flat_map(|c| &c.tied).filter_map(|id| trials.get(id));
    if low >= high || tied.any(|trial| of(trial) != value) {
        return None;
    }
    let edge = |side| Edge { parameter: "learning_rate", value, side };
    if value == high {
        Some(edge(Side::Highest))
    } else {
        (value == low).then(|| edge(Side::Lowest))
    }
}

fn sentences(verdict: &Verdict, input: VerdictInput<'_>) -> Vec<String> {
    let VerdictInput { state, diagnoses, comparison, lang, .. } = input;
    let Some(choice) = &verdict.choice else {
        return vec![say!(lang, NothingYet, flags_in_words(verdict, lang))];
    };
    let mut sentences: Vec<String> = preliminary(state, lang).into_iter().collect();
    sentences.push(take(choice, lang));
    if !state.objective.is_loss() {
        sentences.extend(metric::sentences(state, choice.trial, lang));
    }
    match comparison {
        Some(comparison) if !state.finished => {
            let (ended, best) = (comparison.candidates.to_string(), comparison.best.to_string());
            sentences.push(if state.objective.is_loss() {
                say!(lang, BestSoFar, ended, best)
            } else {
                say!(lang, BestScoreSoFar, ended, best, state.objective.metric.as_str())
            });
        }
        Some(comparison) => {
            sentences.extend(certainty(verdict, comparison, &state.objective, lang));
            sentences.extend(if state.objective.is_loss() {
                expectation(choice, comparison, lang)
            } else {
                metric::expectation(comparison, &state.objective, lang)
            });
        }
        None => sentences.extend(verdict.runner_up.as_ref().map(|second| {
            let settings = in_brackets(&second.settings);
            let (trial, behind) = (second.trial.to_string(), loss(second.behind));
            if second.within_noise {
                say!(lang, RunnerUpEqual, trial, settings, behind)
            } else {
                say!(lang, RunnerUp, trial, settings, behind)
            }
        })),
    }
    sentences.extend(stopped_early(state, lang));
    sentences.extend(choice.test.as_ref().map(|test| {
        let (rows, value) = (test.examples.to_string(), loss(test.loss));
        let error = loss(test.loss_stderr);
        match state.test.get(&TrialId::BASE) {
            Some(base) => say!(lang, TestWithBase, rows, value, error, loss(base.loss)),
            None => say!(lang, Test, rows, value, error),
        }
    }));
    if let Some(diagnosis) = diagnoses.get(&choice.trial)
        && diagnosis.flag != Flag::Ok
    {
        sentences.push(say!(lang, BestIsFlagged, diagnosis.flag.name(), diagnosis.explanation));
    }
    let runs = match state.trials.len() {
        1 => say!(lang, OneRun),
        all => say!(lang, AllRuns, all.to_string()),
    };
    sentences.push(say!(lang, Flags, runs, flags_in_words(verdict, lang)));
    sentences
}

/// What is missing, while the sweep has not ended.
fn preliminary(state: &SweepState, lang: Lang) -> Option<String> {
    if state.finished {
        return None;
    }
    let count = |is: fn(&TrialState) -> bool| state.trials.values().filter(|t| is(t)).count();
    let running = count(|trial| trial.status == TrialStatus::Running);
    let waiting = count(|trial| trial.status == TrialStatus::Pending);
    let all = state.trials.len();
    if running + waiting == 0 {
        return Some(say!(lang, PreliminaryMoreToCome, all.to_string()));
    }
    let ended = (all - running - waiting).to_string();
    let (running, waiting) = (running.to_string(), waiting.to_string());
    Some(say!(lang, Preliminary, ended, all.to_string(), running, waiting))
}

/// How many runs were stopped early: their losses are of shorter training than the others'.
fn stopped_early(state: &SweepState, lang: Lang) -> Option<String> {
    let stopped = state.trials.values().filter(|trial| is_stopped_early(trial)).count();
    let all = state.trials.len().to_string();
    (stopped > 0).then(|| say!(lang, StoppedRuns, stopped.to_string(), all))
}

fn in_brackets(settings: &str) -> String {
    if settings.is_empty() { String::new() } else { format!(" ({settings})") }
}

fn take(choice: &BestRun, lang: Lang) -> String {
    let against_base = match choice.improvement {
        Some(drop) if drop > 0.0 => say!(lang, BelowBase, loss(drop)),
        Some(drop) => say!(lang, NotBelowBase, change(-drop)),
        None => String::new(),
    };
    let half = Z95 * choice.eval_loss_stderr;
    let interval = if half > 0.0 {
        say!(lang, Interval, loss(choice.eval_loss - half), loss(choice.eval_loss + half))
    } else {
        // The trainer does not tell the noise of its losses.
        String::new()
    };
    let (trial, settings) = (choice.trial.to_string(), in_brackets(&choice.settings));
    let at = epoch(choice.epoch);
    say!(lang, Take, trial, settings, loss(choice.eval_loss), interval, at, against_base)
}

fn certainty(
    verdict: &Verdict,
    comparison: &Comparison,
    objective: &Objective,
    lang: Lang,
) -> Vec<String> {
    let by_loss = objective.is_loss();
    let metric = objective.metric.as_str();
    let (tied, all) = (comparison.tied.len().to_string(), comparison.candidates.to_string());
    let why = match comparison.choice.reason {
        Reason::ClearlyBest | Reason::LowestLoss if !by_loss => say!(lang, HasBestScore, metric),
        Reason::ClearlyBest | Reason::LowestLoss => say!(lang, HasLowestLoss),
        Reason::LowestRank => say!(lang, HasLowestRank),
        Reason::SmallestGap => say!(lang, HasSmallestGap),
        Reason::LeastForgetting => say!(lang, ForgetsLeast),
    };
    let behind = comparison.choice.behind;
    let mut sentences = Vec::new();
    match (comparison.choice.reason, &verdict.runner_up) {
        (Reason::ClearlyBest, Some(second)) => {
            let (trial, behind) = (second.trial.to_string(), loss(second.behind));
            sentences.push(say!(lang, ClearlyBest, trial, behind));
        }
        (Reason::ClearlyBest, None) => {}
        _ if behind > 0.0 => {
            let (lowest, behind) = (comparison.best.to_string(), loss(behind));
            sentences.push(if !by_loss {
                say!(lang, TiedChosenByScore, tied, all, why, metric, lowest, behind)
            } else if comparison.seeds.is_measured {
                say!(lang, TiedChosenOfSeeds, tied, all, why, lowest, behind)
            } else {
                say!(lang, TiedChosen, tied, all, why, lowest, behind)
            });
        }
        _ => sentences.push(say!(lang, TiedBest, tied, all, why)),
    }
    match comparison.tied_on_rows.len() {
        fewer if fewer >= comparison.tied.len() => {}
        1 => sentences.push(say!(lang, BestOnRows, comparison.best.to_string())),
        fewer => sentences.push(say!(lang, FewerOnRows, fewer.to_string())),
    }
    if comparison.is_base_tied {
        sentences.push(say!(lang, BaseTied));
    }
    let deviation = loss(comparison.seeds.deviation);
    if !by_loss {
        sentences.push(say!(lang, SeedOfScore, metric, deviation));
    } else if comparison.seeds.is_measured {
        sentences.push(say!(lang, SeedSpread, deviation));
    } else if comparison.candidates > 1 {
        sentences.push(say!(lang, SeedEstimate, deviation));
    }
    sentences
}

/// The correction only where it shows in the digits that are printed.
fn expectation(choice: &BestRun, comparison: &Comparison, lang: Lang) -> Vec<String> {
    let mut sentences = Vec::new();
    if comparison.candidates < 2 {
        return sentences;
    }
    if let Some((optimism, expected)) = comparison.optimism.zip(comparison.expected_loss)
        && optimism >= 0.000_05
    {
        let candidates = comparison.candidates.to_string();
        let [too_low, expected, mean] = [optimism, expected, expected - optimism].map(loss);
        sentences.push(if mean == loss(choice.eval_loss) {
            say!(lang, Expect, candidates, too_low, expected)
        } else {
            say!(lang, ExpectOfSeeds, candidates, too_low, expected, mean)
        });
    }
    sentences.extend(comparison.expected.map(|expected| {
        let (low, high) = (loss(expected.low), loss(expected.high));
        say!(lang, ExpectWithSeeds, loss(expected.loss), low, high)
    }));
    sentences
}

fn flags_in_words(verdict: &Verdict, lang: Lang) -> String {
    if verdict.flags.is_empty() {
        return say!(lang, NoRuns);
    }
    let parts: Vec<String> =
        verdict.flags.iter().map(|(flag, n)| format!("{n} {}", flag.name())).collect();
    parts.join(", ")
}
