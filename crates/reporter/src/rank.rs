//! The ranking: one row per run and one for the base model, by lowest validation loss or by the metric
//! that the sweep compares trials by.

use curves::SmoothPoint;
use serde::Serialize;
use spec::{
    Evaluation, MeanScore, Objective, Outcome, ReportSettings, ScoredAnswers, StopReason,
    SweepState, TrialConfig, TrialId, TrialState, TrialStatus,
};

use crate::compare::{Against, Candidates, Comparison, Z95, compare_found, score_interval};
use crate::diagnose::{
    Diagnosis, Flag, Note, Overfit, Verdict, VerdictInput, diagnose_all, verdict_of_sweep,
};
use crate::failures::{Failure, failures};
use crate::number::loss;
use crate::text::{Lang, say};

/// The runs of a sweep, best first, with what they say together.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ranking {
    /// The language of its sentences.
    #[serde(skip)]
    pub lang: Lang,
    /// Name of the sweep.
    pub sweep: String,
    /// Hash of the resolved sweep.
    pub fingerprint: String,
    /// What runs are compared by.
    pub objective: Objective,
    /// Names of the metrics that were measured beside the losses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub metrics: Vec<String>,
    /// No trial is left to run.
    pub finished: bool,
    /// The sweep in a few sentences.
    pub verdict: Verdict,
    /// How the runs compare, example by example; `None` where the journal has means alone.
    pub comparison: Option<Comparison>,
    /// Runs and the base model, the best by the metric first; those without an evaluation, and then those
    /// that the search space does not have any more, come last.
    pub rows: Vec<Row>,
    /// What went wrong outside the runs' own numbers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<Failure>,
}

/// One run, or the base model (trial 0, without a configuration). Losses are nats per target
/// token; "best" is the best evaluation by the sweep's metric (by default the one with the lowest
/// validation loss), never the last one.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// Place in the ranking, from 1.
    pub position: usize,
    /// Number of the trial; 0 is the base model.
    pub trial: TrialId,
    /// How it ended: `completed`, `stopped`, `diverged` or `failed`; `running` and `pending` before that,
    /// `base` for the base model.
    pub outcome: &'static str,
    /// Why it was stopped early, if it was: its losses are of shorter training than the others'.
    pub stopped: Option<String>,
    /// What to think of it.
    pub flag: Flag,
    /// What else is worth knowing.
    pub notes: Vec<Note>,
    /// The metrics beside the losses, at the best evaluation.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scores: Vec<RowScore>,
    /// Validation loss at the best evaluation: the lowest one, unless another metric decides.
    pub eval_loss: Option<f64>,
    /// Standard error of `eval_loss` over validation examples.
    pub eval_loss_stderr: Option<f64>,
    /// Lower and upper end of the 95 % interval of `eval_loss`.
    pub eval_loss_interval: Option<[f64; 2]>,
    /// Against the best run, on the same examples: in what is to be low, so that a run with a lower score
    /// has a positive difference.
    pub against_best: Option<Against>,
    /// Optimizer step of the best evaluation.
    pub best_step: Option<u32>,
    /// Epoch of the best evaluation.
    pub best_epoch: Option<f64>,
    /// Train loss at the best evaluation.
    pub train_loss: Option<f64>,
    /// Validation minus train loss at the best evaluation.
    pub gap: Option<f64>,
    /// Validation loss at the last evaluation.
    pub last_eval_loss: Option<f64>,
    /// Validation minus train loss at the last evaluation.
    pub last_gap: Option<f64>,
    /// Retention loss at the best evaluation.
    pub retention_loss: Option<f64>,
    /// That minus the base model's retention loss.
    pub retention_change: Option<f64>,
    /// Share of the best run's improvement over the base model that this run reached.
    pub improvement_share: Option<f64>,
    /// Probability that the run overfits; `None` where it has too few evaluations to say.
    pub overfit_probability: Option<f64>,
    /// Share of the training improvement over the base model that validation shares, at the best
    /// evaluation.
    pub shared_improvement: Option<f64>,
    /// The same at the last evaluation.
    pub last_shared_improvement: Option<f64>,
    /// Epoch from which validation no longer shares what training improves.
    pub memorizes_from: Option<f64>,
    /// What overfitting cost.
    pub overfit: Option<Overfit>,
    /// The smooth validation loss behind the evaluations.
    #[serde(skip)]
    pub smooth: Vec<SmoothPoint>,
    /// Tokens trained in all.
    pub tokens: u64,
    /// Seconds spent in all.
    pub seconds: f64,
    /// Optimizer steps taken.
    pub steps: u32,
    /// Optimizer steps planned, once known.
    pub total_steps: Option<u32>,
    /// The configuration; `None` for the base model.
    pub config: Option<TrialConfig>,
    /// Why the flag and the notes, in words and numbers.
    pub explanation: String,
    /// What to do about it, where something can be done.
    pub advice: Option<String>,
}

/// A metric at an evaluation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RowScore {
    /// Its name.
    pub metric: String,
    /// Its mean over the examples.
    pub value: f64,
    /// Standard error of `value` over the examples.
    pub stderr: f64,
    /// Lower and upper end of its 95 % interval, where its noise is known.
    pub interval: Option<[f64; 2]>,
}

impl Row {
    /// A metric at the best evaluation.
    pub fn score(&self, metric: &str) -> Option<&RowScore> {
        self.scores.iter().find(|score| score.metric == metric)
    }

    /// What runs are compared by, at the best evaluation.
    pub fn value(&self, objective: &Objective) -> Option<f64> {
        if objective.is_loss() {
            return self.eval_loss;
        }
        self.score(&objective.metric).map(|score| score.value)
    }
}

/// Ranks the runs of a sweep. A base model that is as good as a run stands above it.
pub fn rank(state: &SweepState, settings: &ReportSettings, lang: Lang) -> Ranking {
    let within = &*state.within_space();
    let diagnoses = diagnose_all(within, settings, lang);
    let found = Candidates::of(within);
    let comparison = found.as_ref().map(compare_found);
    let verdict = verdict_of_sweep(VerdictInput {
        state: within,
        diagnoses: &diagnoses,
        comparison: comparison.as_ref(),
        found: found.as_ref(),
        lang,
    });
    let mut rows = vec![base_row(state.base.as_ref(), state.base_answers.as_ref(), lang)];
    for (id, diagnosis) in diagnoses {
        if let Some(trial) = state.trials.get(&id) {
            rows.push(run_row(trial, diagnosis, state.base_of(trial), lang));
        }
    }
    rows.extend(rows_outside(state, settings, lang));
    if let Some(comparison) = &comparison {
        for row in &mut rows {
            row.against_best = comparison.against_best.get(&row.trial).copied();
        }
    }
    rows.sort_by(|a, b| {
        let objective = &state.objective;
        let cost = |row: &Row| row.value(objective).map(|value| objective.cost_of(value));
        let cost = |row: &Row| cost(row).unwrap_or(f64::INFINITY);
        let loss = |row: &Row| row.eval_loss.unwrap_or(f64::INFINITY);
        let is_outside = |row: &Row| row.notes.contains(&Note::OutsideSpace);
        let order = is_outside(a).cmp(&is_outside(b)).then(cost(a).total_cmp(&cost(b)));
        order.then(loss(a).total_cmp(&loss(b))).then(a.trial.cmp(&b.trial))
    });
    for (at, row) in rows.iter_mut().enumerate() {
        row.position = at + 1;
    }
    Ranking {
        lang,
        sweep: state.name.clone(),
        fingerprint: state.fingerprint.clone(),
        objective: state.objective.clone(),
        metrics: metrics_of(state),
        finished: state.finished,
        verdict,
        comparison,
        rows,
        failures: failures(state),
    }
}

/// Runs that the search space does not have any more, judged beside all runs of the sweep.
fn rows_outside(state: &SweepState, settings: &ReportSettings, lang: Lang) -> Vec<Row> {
    if !state.trials.values().any(|trial| trial.is_outside) {
        return Vec::new();
    }
    let mut rows = Vec::new();
    for (id, mut diagnosis) in diagnose_all(state, settings, lang) {
        let Some(trial) = state.trials.get(&id).filter(|trial| trial.is_outside) else { continue };
        diagnosis.notes.push(Note::OutsideSpace);
        diagnosis.explanation += " ";
        diagnosis.explanation += &say!(lang, NoteOutside);
        diagnosis.advice = None;
        rows.push(run_row(trial, diagnosis, state.base_of(trial), lang));
    }
    rows
}

/// The metrics beside the losses, the one that runs are compared by first.
fn metrics_of(state: &SweepState) -> Vec<String> {
    let evaluations = state.trials.values().flat_map(|trial| &trial.evaluations);
    let scores = state.base.iter().chain(evaluations).flat_map(|evaluation| &evaluation.scores);
    let mut names: Vec<String> = Vec::new();
    for score in scores {
        if !names.contains(&score.metric) {
            names.push(score.metric.clone());
        }
    }
    names.sort_by_key(|name| *name != state.objective.metric);
    names
}

fn scores(evaluation: Option<&Evaluation>, answers: Option<&ScoredAnswers>) -> Vec<RowScore> {
    let step = evaluation.map(|evaluation| evaluation.step);
    let answers = answers.filter(|answers| Some(answers.step) == step);
    let scores = evaluation.into_iter().flat_map(|evaluation| &evaluation.scores);
    let row = |score: &MeanScore| RowScore {
        metric: score.metric.clone(),
        value: score.value,
        stderr: score.stderr,
        interval: score_interval(score, answers),
    };
    scores.map(row).collect()
}

/// `None` where the trainer does not tell the noise of its losses.
fn interval(evaluation: &Evaluation) -> Option<[f64; 2]> {
    let half = Z95 * evaluation.eval_loss_stderr;
    (half > 0.0).then_some([evaluation.eval_loss - half, evaluation.eval_loss + half])
}

fn base_row(base: Option<&Evaluation>, answers: Option<&ScoredAnswers>, lang: Lang) -> Row {
    let explanation = match base {
        Some(_) => say!(lang, BaseModel),
        None => say!(lang, BaseNotEvaluated),
    };
    Row {
        position: 0,
        trial: TrialId::BASE,
        outcome: "base",
        stopped: None,
        flag: Flag::Base,
        notes: Vec::new(),
        scores: scores(base, answers),
        eval_loss: base.map(|e| e.eval_loss),
        eval_loss_stderr: base.map(|e| e.eval_loss_stderr),
        eval_loss_interval: base.and_then(interval),
        against_best: None,
        best_step: base.map(|e| e.step),
        best_epoch: base.map(|e| e.epoch),
        train_loss: base.and_then(|e| e.train_loss),
        gap: base.and_then(Evaluation::gap),
        last_eval_loss: base.map(|e| e.eval_loss),
        last_gap: base.and_then(Evaluation::gap),
        retention_loss: base.and_then(|e| e.retention_loss),
        retention_change: base.and_then(|e| e.retention_loss).map(|_| 0.0),
        improvement_share: base.map(|_| 0.0),
        overfit_probability: None,
        shared_improvement: None,
        last_shared_improvement: None,
        memorizes_from: None,
        overfit: None,
        smooth: Vec::new(),
        tokens: 0,
        seconds: base.map_or(0.0, |e| e.seconds),
        steps: 0,
        total_steps: None,
        config: None,
        explanation,
        advice: None,
    }
}

fn outcome(trial: &TrialState) -> &'static str {
    match &trial.status {
        TrialStatus::Pending => "pending",
        TrialStatus::Running => "running",
        TrialStatus::Finished { outcome } => match outcome {
            Outcome::Completed => "completed",
            Outcome::Stopped { .. } => "stopped",
            Outcome::Diverged { .. } => "diverged",
            Outcome::Failed { .. } => "failed",
        },
    }
}

fn stopped(trial: &TrialState, lang: Lang) -> Option<String> {
    let Some(Outcome::Stopped { reason }) = trial.outcome() else { return None };
    Some(match reason {
        StopReason::TargetReached { target } => say!(lang, TargetReachedShort, loss(*target)),
        StopReason::EarlyTerminate { reason } => lang.reason(reason).into_owned(),
        StopReason::Person => say!(lang, StoppedByPersonShort),
        StopReason::OutsideSpace => say!(lang, LeftSpaceShort),
    })
}

fn run_row(trial: &TrialState, diagnosis: Diagnosis, base: Option<&Evaluation>, lang: Lang) -> Row {
    let base_retention = base.and_then(|base| base.retention_loss);
    let (best, last, point) = (trial.best(), trial.last(), trial.train_points.last());
    let retention_loss = best.and_then(|e| e.retention_loss);
    Row {
        position: 0,
        trial: trial.trial.id,
        outcome: outcome(trial),
        stopped: stopped(trial, lang),
        flag: diagnosis.flag,
        notes: diagnosis.notes,
        scores: scores(best, trial.answers.as_ref()),
        eval_loss: best.map(|e| e.eval_loss),
        eval_loss_stderr: best.map(|e| e.eval_loss_stderr),
        eval_loss_interval: best.and_then(interval),
        against_best: None,
        best_step: best.map(|e| e.step),
        best_epoch: best.map(|e| e.epoch),
        train_loss: best.and_then(|e| e.train_loss),
        gap: best.and_then(Evaluation::gap),
        last_eval_loss: last.map(|e| e.eval_loss),
        last_gap: last.and_then(Evaluation::gap),
        retention_loss,
        retention_change: retention_loss.zip(base_retention).map(|(own, base)| own - base),
        improvement_share: diagnosis.improvement_share,
        overfit_probability: diagnosis.overfit_probability,
        shared_improvement: diagnosis.shared.at_best,
        last_shared_improvement: diagnosis.shared.at_end,
        memorizes_from: diagnosis.memorizes_from,
        overfit: diagnosis.overfit,
        smooth: diagnosis.smooth,
        tokens: last.map_or(0, |e| e.tokens).max(point.map_or(0, |p| p.tokens)),
        seconds: last.map_or(0.0, |e| e.seconds).max(point.map_or(0.0, |p| p.seconds)),
        steps: last.map_or(0, |e| e.step).max(point.map_or(0, |p| p.step)),
        total_steps: trial.total_steps,
        config: Some(trial.trial.config.clone()),
        explanation: diagnosis.explanation,
        advice: diagnosis.advice,
    }
}
