//! What a sweep says as a whole: the best run, how sure that is, and where to look next.

use std::collections::BTreeMap;

use serde::Serialize;
use spec::{ReportSettings, SweepState, TrialConfig, TrialId, TrialState};

use super::{Diagnosis, Flag, Reference, diagnose_all};
use crate::number::{change, count, epoch, learning_rate, loss};
use crate::parameters;

/// The sweep in a few facts, and in sentences made of them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict {
    /// The run with the lowest validation loss.
    pub best: Option<BestRun>,
    /// The run after it.
    pub runner_up: Option<RunnerUp>,
    /// Number of runs by flag; flags nobody carries are absent.
    pub flags: BTreeMap<Flag, usize>,
    /// Parameters of the best run that lie on the edge of what was tried.
    pub edges: Vec<Edge>,
    /// The best run of every rank, ascending by rank.
    pub by_rank: Vec<RankSummary>,
    /// All of it in words, the most important first.
    pub sentences: Vec<String>,
}

/// The best run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BestRun {
    /// Which.
    pub trial: TrialId,
    /// The parameters that the sweep varied, as `rank 16, learning_rate 2e-4`.
    pub settings: String,
    /// Its lowest validation loss.
    pub eval_loss: f64,
    /// Standard error of that over validation examples.
    pub eval_loss_stderr: f64,
    /// Epoch of that evaluation.
    pub epoch: f64,
    /// Drop below the base model's validation loss (negative: it is worse).
    pub improvement: Option<f64>,
}

/// The second best run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunnerUp {
    /// Which.
    pub trial: TrialId,
    /// The parameters that the sweep varied.
    pub settings: String,
    /// Its lowest validation loss.
    pub eval_loss: f64,
    /// How far above the best run's.
    pub behind: f64,
    /// The distance is less than one standard error of the best run's loss.
    pub within_noise: bool,
}

/// Which end of the range that was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The smallest value.
    Lowest,
    /// The largest value.
    Highest,
}

/// A parameter of the best run on the edge of what was tried.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Edge {
    /// The parameter's name.
    pub parameter: &'static str,
    /// Its value in the best run.
    pub value: f64,
    /// Which edge.
    pub side: Side,
}

/// The best run of one rank.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RankSummary {
    /// LoRA rank r.
    pub rank: u32,
    /// Its best run.
    pub trial: TrialId,
    /// That run's lowest validation loss.
    pub eval_loss: f64,
    /// Validation minus train loss there.
    pub gap: f64,
}

/// Sums a sweep up.
pub fn verdict(state: &SweepState, settings: &ReportSettings) -> Verdict {
    verdict_of(state, &diagnose_all(state, settings))
}

/// As [`verdict`], for runs that are already diagnosed.
pub(crate) fn verdict_of(state: &SweepState, diagnoses: &BTreeMap<TrialId, Diagnosis>) -> Verdict {
    let mut verdict = Verdict {
        best: None,
        runner_up: None,
        flags: BTreeMap::new(),
        edges: Vec::new(),
        by_rank: by_rank(state),
        sentences: Vec::new(),
    };
    for diagnosis in diagnoses.values() {
        *verdict.flags.entry(diagnosis.flag).or_default() += 1;
    }
    let configs: Vec<_> = state.trials.values().map(|t| &t.trial.config).collect();
    let varying = parameters::varying(&configs);
    let settings_of = |trial: &TrialState| parameters::describe(&trial.trial.config, &varying);
    let reference = Reference::of(state);
    if let Some((trial, best)) = reference.best.and_then(|t| Some((t, t.best()?))) {
        verdict.best = Some(BestRun {
            trial: trial.trial.id,
            settings: settings_of(trial),
            eval_loss: best.eval_loss,
            eval_loss_stderr: best.eval_loss_stderr,
            epoch: best.epoch,
            improvement: reference.base.map(|base| base.eval_loss - best.eval_loss),
        });
        verdict.edges = edges(state, &trial.trial.config);
        verdict.runner_up = runner_up(state, trial.trial.id).map(|(second, eval_loss)| RunnerUp {
            trial: second.trial.id,
            settings: settings_of(second),
            eval_loss,
            behind: eval_loss - best.eval_loss,
            within_noise: eval_loss - best.eval_loss < best.eval_loss_stderr,
        });
    }
    verdict.sentences = sentences(&verdict, state, diagnoses);
    verdict
}

fn runner_up(state: &SweepState, best: TrialId) -> Option<(&TrialState, f64)> {
    state
        .trials
        .values()
        .filter(|trial| trial.trial.id != best)
        .filter_map(|trial| Some((trial, trial.best()?.eval_loss)))
        .min_by(|a, b| a.1.total_cmp(&b.1))
}

fn by_rank(state: &SweepState) -> Vec<RankSummary> {
    let mut best: BTreeMap<u32, RankSummary> = BTreeMap::new();
    for trial in state.trials.values() {
        let Some(evaluation) = trial.best() else { continue };
        let rank = trial.trial.config.rank;
        if best.get(&rank).is_none_or(|known| evaluation.eval_loss < known.eval_loss) {
            let summary = RankSummary {
                rank,
                trial: trial.trial.id,
                eval_loss: evaluation.eval_loss,
                gap: evaluation.gap(),
            };
            best.insert(rank, summary);
        }
    }
    best.into_values().collect()
}

/// Only the learning rate and the rank: their ranges are open-ended, and a best run at the edge
/// says that the optimum may lie beyond it.
fn edges(state: &SweepState, best: &TrialConfig) -> Vec<Edge> {
    let learning_rate = edge(state, best, "learning_rate", |config| config.learning_rate);
    let rank = edge(state, best, "rank", |config| f64::from(config.rank));
    learning_rate.into_iter().chain(rank).collect()
}

fn edge(
    state: &SweepState,
    best: &TrialConfig,
    parameter: &'static str,
    of: fn(&TrialConfig) -> f64,
) -> Option<Edge> {
    let evaluated = state.trials.values().filter(|trial| trial.best().is_some());
    let tried: Vec<f64> = evaluated.map(|trial| of(&trial.trial.config)).collect();
    let low = tried.iter().copied().fold(f64::INFINITY, f64::min);
    let high = tried.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let value = of(best);
    if low >= high {
        None
    } else if value == high {
        Some(Edge { parameter, value, side: Side::Highest })
    } else if value == low {
        Some(Edge { parameter, value, side: Side::Lowest })
    } else {
        None
    }
}

fn sentences(
    verdict: &Verdict,
    state: &SweepState,
    diagnoses: &BTreeMap<TrialId, Diagnosis>,
) -> Vec<String> {
    let Some(best) = &verdict.best else {
        return vec![format!("No run has been evaluated yet ({}).", flags_in_words(verdict))];
    };
    let mut sentences = vec![best_sentence(best)];
    if let Some(diagnosis) = diagnoses.get(&best.trial)
        && diagnosis.flag != Flag::Ok
    {
        sentences
            .push(format!("The best run is flagged {}: {}", diagnosis.flag, diagnosis.explanation));
    }
    sentences.extend(verdict.runner_up.as_ref().map(runner_up_sentence));
    sentences.push(format!(
        "Of {}: {}.",
        count(state.trials.len(), "run"),
        flags_in_words(verdict)
    ));
    sentences.extend(verdict.edges.iter().map(edge_sentence));
    sentences.extend(rank_sentence(&verdict.by_rank));
    let at_the_end = state.trials.get(&best.trial).is_some_and(|trial| {
        trial.evaluations.len() > 1 && trial.best().map(|e| e.step) == trial.last().map(|e| e.step)
    });
    if at_the_end {
        sentences.push(
            "The best run was at its best at its last evaluation: try more epochs.".to_owned(),
        );
    }
    sentences
}

fn best_sentence(best: &BestRun) -> String {
    let settings =
        if best.settings.is_empty() { String::new() } else { format!(" ({})", best.settings) };
    let against_base = match best.improvement {
        Some(drop) if drop > 0.0 => format!(", {} below the base model", loss(drop)),
        Some(drop) => format!(", which is no better than the base model ({})", change(-drop)),
        None => String::new(),
    };
    format!(
        "Best: trial {}{settings}: validation loss {} ± {} at epoch {}{against_base}.",
        best.trial,
        loss(best.eval_loss),
        loss(best.eval_loss_stderr),
        epoch(best.epoch),
    )
}

fn runner_up_sentence(second: &RunnerUp) -> String {
    let settings =
        if second.settings.is_empty() { String::new() } else { format!(" ({})", second.settings) };
    let certainty =
        if second.within_noise { ", less than one standard error: take them as equal" } else { "" };
    format!("Second: trial {}{settings}, {} behind{certainty}.", second.trial, loss(second.behind))
}

fn flags_in_words(verdict: &Verdict) -> String {
    if verdict.flags.is_empty() {
        return "no runs".to_owned();
    }
    let parts: Vec<String> =
        verdict.flags.iter().map(|(flag, n)| format!("{n} {}", flag.name())).collect();
    parts.join(", ")
}

fn edge_sentence(edge: &Edge) -> String {
    let value = match edge.parameter {
        "learning_rate" => learning_rate(edge.value),
        _ => edge.value.to_string(),
    };
    let (extreme, direction) = match edge.side {
        Side::Highest => ("highest", "upwards"),
        Side::Lowest => ("lowest", "downwards"),
    };
    format!("The best {} ({value}) is the {extreme} tried: extend it {direction}.", edge.parameter)
}

/// What raising the rank brought: of many ranks, a few along the range.
fn rank_sentence(by_rank: &[RankSummary]) -> Option<String> {
    const MOST: usize = 6;
    if by_rank.len() < 2 {
        return None;
    }
    let step = (by_rank.len() - 1).div_ceil(MOST - 1);
    let ranks: Vec<String> = by_rank
        .iter()
        .step_by(step)
        .map(|r| format!("{}: {} ({})", r.rank, loss(r.eval_loss), change(r.gap)))
        .collect();
    Some(format!("Best validation loss (and gap) by rank: {}.", ranks.join(", ")))
}
