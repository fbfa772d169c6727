//! What stands out in a sweep, each with its evidence and what to do about it.

use spec::{TrialId, TrialState};

use super::facts::{Edge, Finding, FindingKind, Side, Verdict, VerdictInput, finding};
use super::quantization::{bases_in_words, quantization};
use super::{Flag, Note, extend, settings};
use crate::number::{change, epoch, learning_rate, percent, short_count};
use crate::text::say;

/// Everything that stands out, the most important first.
pub(crate) fn find(input: VerdictInput<'_>, verdict: &Verdict) -> Vec<Finding> {
    if verdict.best.is_none() {
        return Vec::new();
    }
    let mut found: Vec<Finding> = [
        leakage(input),
        worse_than_base(input),
        too_small(input),
        seeds_decide(input),
        more_epochs(input, verdict),
        overfitting(input),
        underfitting(input),
        rate_too_high(input),
        rate_too_low(input),
        settings::rank(input, verdict),
        settings::batch_size(input, verdict),
        quantization(input),
        forgetting(input, verdict),
    ]
    .into_iter()
    .flatten()
    .collect();
    found.extend(verdict.edges.iter().map(|edge| edge_of_space(input, edge)));
    // A sweep of which nothing can be used says so first.
    let evaluated = input.state.trials.values().filter(|trial| trial.best().is_some()).count();
    let is_hopeless = |finding: &Finding| {
        finding.kind == FindingKind::WorseThanBase && finding.trials.len() == evaluated
    };
    found.sort_by_key(|finding| (!is_hopeless(finding), finding.kind));
    found
}

fn flagged(input: VerdictInput<'_>, flag: Flag) -> Vec<TrialId> {
    let all = input.diagnoses.iter();
    all.filter(|(_, diagnosis)| diagnosis.flag == flag).map(|(id, _)| *id).collect()
}

fn noted(input: VerdictInput<'_>, note: Note) -> Vec<TrialId> {
    let all = input.diagnoses.iter();
    all.filter(|(_, diagnosis)| diagnosis.notes.contains(&note)).map(|(id, _)| *id).collect()
}

/// `3 of 24 runs`, the beginning of a sentence.
fn of_all(input: VerdictInput<'_>, trials: &[TrialId]) -> String {
    let all = input.state.trials.len();
    if all == 1 {
        return say!(input.lang, OnlyRun);
    }
    say!(input.lang, RunsOf, trials.len().to_string(), all.to_string())
}

fn leakage(input: VerdictInput<'_>) -> Option<Finding> {
    let facts = input.state.facts.as_ref()?;
    if facts.leaked_rows + facts.leaked_prompts == 0 {
        return None;
    }
    let (rows, prompts) = (facts.leaked_rows.to_string(), facts.leaked_prompts.to_string());
    let evidence = say!(input.lang, Leakage, rows, prompts);
    let advice = say!(input.lang, LeakageAdvice);
    Some(finding(FindingKind::Leakage, Vec::new(), evidence, advice))
}

fn worse_than_base(input: VerdictInput<'_>) -> Option<Finding> {
    let trials = noted(input, Note::WorseThanBase);
    let base = bases_in_words(input.state, input.lang)?;
    if trials.is_empty() {
        return None;
    }
    let evaluated = input.state.trials.values().filter(|trial| trial.best().is_some()).count();
    let evidence = say!(input.lang, WorseThanBase, of_all(input, &trials), base);
    let advice = if trials.len() == evaluated {
        say!(input.lang, AllWorseAdvice)
    } else {
        say!(input.lang, WorseThanBaseAdvice)
    };
    Some(finding(FindingKind::WorseThanBase, trials, evidence, advice))
}

/// Too small when the rows alone tie a third of the configurations, or the base model.
fn too_small(input: VerdictInput<'_>) -> Option<Finding> {
    let comparison = input.comparison?;
    let (tied, all) = (comparison.tied_on_rows.len(), comparison.candidates);
    let many_tied = all >= 3 && tied * 3 >= all && tied >= 2;
    let base = comparison.against_best.get(&TrialId::BASE);
    if !many_tied && base.is_none_or(|base| !base.is_tied_on_rows) {
        return None;
    }
    let examples = comparison.examples.to_string();
    let evidence = say!(input.lang, TooSmall, examples, tied.to_string(), all.to_string());
    let mut advice = say!(input.lang, TooSmallAdvice);
    if let Some(needed) = comparison.examples_needed.filter(|n| *n > comparison.examples as u64) {
        advice += " ";
        advice += &say!(input.lang, TooSmallNeeded, short_count(needed as f64));
    }
    Some(finding(FindingKind::DataTooSmall, comparison.tied_on_rows.clone(), evidence, advice))
}

/// Configurations that more rows would not tell apart, but more seeds may.
fn seeds_decide(input: VerdictInput<'_>) -> Option<Finding> {
    let comparison = input.comparison.filter(|_| input.state.finished)?;
    let repeat = comparison.repeat?;
    let evidence = say!(input.lang, SeedsDecide, repeat.tied.to_string());
    let advice = match repeat.seeds {
        Some(seeds) => say!(input.lang, SeedsDecideAdvice, seeds.to_string()),
        None => say!(input.lang, SeedsTooMany),
    };
    let yaml = Some(repeat.setting() + "\n");
    let trials = comparison.tied.clone();
    Some(Finding { yaml, ..finding(FindingKind::SeedsDecide, trials, evidence, advice) })
}

fn edge_of_space(input: VerdictInput<'_>, edge: &Edge) -> Finding {
    let value = match edge.parameter {
        "learning_rate" => learning_rate(edge.value),
        _ => edge.value.to_string(),
    };
    let evidence = match edge.side {
        Side::Highest => say!(input.lang, EdgeHighest, edge.parameter, value),
        Side::Lowest => say!(input.lang, EdgeLowest, edge.parameter, value),
    };
    let advice = if extend::is_drawn(input.state, edge) {
        say!(input.lang, EdgeAdviceDrawn)
    } else {
        say!(input.lang, EdgeAdvice)
    };
    let yaml = extend::yaml(input.state, edge);
    Finding { yaml, ..finding(FindingKind::EdgeOfSpace, Vec::new(), evidence, advice) }
}

fn more_epochs(input: VerdictInput<'_>, verdict: &Verdict) -> Option<Finding> {
    let trial = verdict.choice.as_ref()?.trial;
    let diagnosis = input.diagnoses.get(&trial)?;
    if !diagnosis.notes.contains(&Note::MoreEpochs) {
        return None;
    }
    let epochs = input.state.trials.get(&trial)?.trial.config.epochs;
    let advice = say!(input.lang, MoreEpochsAdvice, epochs.to_string());
    let evidence = say!(input.lang, MoreEpochs);
    let yaml = Some(format!("parameters:\n  epochs: {}\n", epochs.saturating_mul(2)));
    Some(Finding { yaml, ..finding(FindingKind::MoreEpochs, vec![trial], evidence, advice) })
}

fn overfitting(input: VerdictInput<'_>) -> Option<Finding> {
    let trials = flagged(input, Flag::Overfit);
    let mut found: Vec<_> = trials
        .iter()
        .filter_map(|id| Some((*id, input.diagnoses.get(id)?.overfit.as_ref()?)))
        .collect();
    let worst = found.iter().max_by(|a, b| a.1.rise_share.total_cmp(&b.1.rise_share))?;
    let (name, share) = (worst.0.to_string(), percent(worst.1.rise_share));
    found.sort_by(|a, b| a.1.best_epoch.total_cmp(&b.1.best_epoch));
    let typical = epoch(found[found.len() / 2].1.best_epoch);
    let runs = of_all(input, &trials);
    let evidence = say!(input.lang, Overfitting, runs, typical, name, share);
    let advice = say!(input.lang, OverfittingAdvice, typical);
    Some(finding(FindingKind::Overfitting, trials, evidence, advice))
}

fn underfitting(input: VerdictInput<'_>) -> Option<Finding> {
    let trials = flagged(input, Flag::Underfit);
    if trials.is_empty() {
        return None;
    }
    let evidence = say!(input.lang, Underfitting, of_all(input, &trials));
    let advice = say!(input.lang, UnderfittingAdvice);
    Some(finding(FindingKind::Underfitting, trials, evidence, advice))
}

/// The lowest rate from which on at least half of the runs, and half of those at that rate, have
/// the note.
fn rate_too_high(input: VerdictInput<'_>) -> Option<Finding> {
    let rates = by_rate(input, Note::LearningRateTooHigh);
    let from = last_mostly_noted(rates.iter().enumerate().rev())?;
    let (trials, count) = together(&rates[from..]);
    let rate = learning_rate(rates[from].rate);
    let (noted, count) = (trials.len().to_string(), count.to_string());
    let evidence = say!(input.lang, RateTooHigh, rate, noted, count);
    let advice = say!(input.lang, RateTooHighAdvice, rate);
    Some(finding(FindingKind::LearningRateTooHigh, trials, evidence, advice))
}

fn rate_too_low(input: VerdictInput<'_>) -> Option<Finding> {
    let rates = by_rate(input, Note::LearningRateTooLow);
    let to = last_mostly_noted(rates.iter().enumerate())?;
    let (trials, count) = together(&rates[..=to]);
    let rate = learning_rate(rates[to].rate);
    let (noted, count) = (trials.len().to_string(), count.to_string());
    let evidence = say!(input.lang, RateTooLow, rate, noted, count);
    let advice = say!(input.lang, RateTooLowAdvice, rate);
    Some(finding(FindingKind::LearningRateTooLow, trials, evidence, advice))
}

struct AtRate {
    rate: f64,
    noted: Vec<TrialId>,
    count: usize,
}

/// The ended runs by learning rate, ascending.
fn by_rate(input: VerdictInput<'_>, note: Note) -> Vec<AtRate> {
    let mut rates: Vec<AtRate> = Vec::new();
    let mut trials: Vec<&TrialState> =
        input.state.trials.values().filter(|trial| trial.outcome().is_some()).collect();
    let rate = |trial: &TrialState| trial.trial.config.learning_rate;
    trials.sort_by(|a, b| rate(a).total_cmp(&rate(b)));
    for trial in trials {
        if rates.last().is_none_or(|last| last.rate != rate(trial)) {
            rates.push(AtRate { rate: rate(trial), noted: Vec::new(), count: 0 });
        }
        let Some(last) = rates.last_mut() else { continue };
        last.count += 1;
        let id = trial.trial.id;
        if input.diagnoses.get(&id).is_some_and(|diagnosis| diagnosis.notes.contains(&note)) {
            last.noted.push(id);
        }
    }
    rates
}

/// The last place at which at least half of its runs, and half of all runs up to it, have the note. In one
/// pass: there may be as many rates as runs.
fn last_mostly_noted<'a>(rates: impl Iterator<Item = (usize, &'a AtRate)>) -> Option<usize> {
    let is_most = |noted: usize, count: usize| noted > 0 && noted * 2 >= count;
    let (mut noted, mut count) = (0, 0);
    let is_there = |(at, own): (usize, &AtRate)| {
        (noted, count) = (noted + own.noted.len(), count + own.count);
        (is_most(noted, count) && is_most(own.noted.len(), own.count)).then_some(at)
    };
    rates.filter_map(is_there).last()
}

fn together(rates: &[AtRate]) -> (Vec<TrialId>, usize) {
    let trials = rates.iter().flat_map(|at| at.noted.iter().copied()).collect();
    (trials, rates.iter().map(|at| at.count).sum())
}

fn forgetting(input: VerdictInput<'_>, verdict: &Verdict) -> Option<Finding> {
    let trials = noted(input, Note::Forgetting);
    if trials.is_empty() {
        return None;
    }
    let chosen = input.state.trials.get(&verdict.choice.as_ref()?.trial)?;
    let before = input.state.base_of(chosen)?.retention_loss?;
    let own = chosen.best()?.retention_loss.map(|after| change(after - before));
    let evidence = say!(input.lang, Forgets, of_all(input, &trials), own.unwrap_or_default());
    let advice = say!(input.lang, ForgetsAdvice);
    Some(finding(FindingKind::Forgetting, trials, evidence, advice))
}
