//! What a verdict is made of, and what it says.

use std::collections::BTreeMap;

use serde::Serialize;
use spec::{Outcome, StopReason, SweepState, TestEvaluation, TrialId, TrialState};

use super::{Diagnosis, Flag};
use crate::compare::{Candidates, Comparison};
use crate::text::Lang;

/// The sweep in a few facts, and in sentences made of them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict {
    /// The run with the lowest validation loss.
    pub best: Option<BestRun>,
    /// The run to take: the simplest of those that cannot be told from the best.
    pub choice: Option<BestRun>,
    /// The next configuration after the best.
    pub runner_up: Option<RunnerUp>,
    /// Number of runs by flag; flags nobody carries are absent.
    pub flags: BTreeMap<Flag, usize>,
    /// Parameters of the best run that lie on the edge of what was tried.
    pub edges: Vec<Edge>,
    /// What stands out, with evidence and advice, the most important first.
    pub findings: Vec<Finding>,
    /// The verdict in words, the most important first.
    pub sentences: Vec<String>,
}

/// One run at its best evaluation.
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
    /// Loss on the held-out test rows, where they were evaluated with this run.
    pub test: Option<TestEvaluation>,
}

/// The best run of the second best configuration.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunnerUp {
    /// Which.
    pub trial: TrialId,
    /// The parameters that the sweep varied.
    pub settings: String,
    /// Its lowest validation loss.
    pub eval_loss: f64,
    /// How far its configuration is above the best one; where seeds were repeated, by their means.
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

/// What a verdict is made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct VerdictInput<'a> {
    pub state: &'a SweepState,
    pub diagnoses: &'a BTreeMap<TrialId, Diagnosis>,
    pub comparison: Option<&'a Comparison>,
    pub found: Option<&'a Candidates>,
    pub lang: Lang,
}

/// What kind of thing was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// Validation rows are training rows.
    Leakage,
    /// Too few validation examples to tell runs apart.
    DataTooSmall,
    /// The seeds' share alone ties the best configurations.
    SeedsDecide,
    /// The best value of a parameter is the last one tried.
    EdgeOfSpace,
    /// The chosen run would have gone on improving.
    MoreEpochs,
    /// Validation loss rose while the gap widened.
    Overfitting,
    /// Runs that levelled off far behind.
    Underfitting,
    /// Rates at which training diverges or spikes.
    LearningRateTooHigh,
    /// Rates at which training does not get there.
    LearningRateTooLow,
    /// More rank brings nothing.
    RankSaturates,
    /// More rank would bring more.
    RankTooSmall,
    /// The highest rank is the best, though it could hold the training rows many times over.
    RankHelps,
    /// Which batch size, and whether it matters.
    BatchSize,
    /// Whether a quantised base costs anything.
    Quantization,
    /// The base model's skills suffer.
    Forgetting,
    /// Runs that never beat the base model.
    WorseThanBase,
}

/// One thing that stands out.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// What kind.
    pub kind: FindingKind,
    /// What was seen, with numbers.
    pub evidence: String,
    /// What to do.
    pub advice: String,
    /// The runs it was seen on.
    pub trials: Vec<TrialId>,
    /// What to write into the sweep file, where that is the advice.
    pub yaml: Option<String>,
}

pub(super) fn finding(
    kind: FindingKind,
    trials: Vec<TrialId>,
    evidence: String,
    advice: String,
) -> Finding {
    Finding { kind, evidence, advice, trials, yaml: None }
}

/// A rule of `early_terminate` ended it; reaching the target is no early stop.
pub(crate) fn is_stopped_early(trial: &TrialState) -> bool {
    let Some(Outcome::Stopped { reason }) = trial.outcome() else { return false };
    matches!(reason, StopReason::EarlyTerminate { .. })
}
