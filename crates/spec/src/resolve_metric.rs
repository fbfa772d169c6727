//! What trials are compared by: the metric of the file together with who trains.

use std::path::Path;

use crate::answer_metrics::{AnswerMetrics, Score};
use crate::file::{Findings, MetricFile, unknown_metric};
use crate::metric::{EVAL_LOSS, Goal, is_share};
use crate::mistake::Mistake;
use crate::settings::ExecutorKind;
use crate::sweep::Metric;

/// `None` when something is wrong with it; that has been reported. `dir` is the sweep file's folder.
pub(crate) fn resolve(
    mut written: MetricFile,
    dir: &Path,
    executor: &ExecutorKind,
    findings: &mut Findings,
) -> Option<Metric> {
    let name = written.name.as_ref().map_or(EVAL_LOSS, |name| name.value.as_str()).to_owned();
    let usual = usual_goal(&name);
    if !executor.is_own() {
        return elsewhere(written, name, usual, findings);
    }
    let is_measured = written.answers.scores.iter().any(|score| score.name == name);
    if let Some(place) = written.name.as_ref().map(|name| name.place)
        && name != EVAL_LOSS
        && !is_measured
    {
        return unknown_metric(&name, place, findings);
    }
    let goal = goal(&written, &name, usual, findings)?;
    for settings in &mut written.answers.scores {
        if let Score::Command { dir: place, .. } = &mut settings.score {
            dir.clone_into(place);
        }
    }
    let generates = !written.answers.scores.is_empty();
    if let Some(at) = written.of_answers.filter(|_| !generates) {
        let both = format!("`metric.{}` and `name: {name}`", at.value);
        let help =
            "the loss needs no answers; name a metric of answers, or `measure: exact_match` \
                    beside the loss"
                .to_owned();
        return findings.mistake(at.place, Mistake::Conflict { both, help });
    }
    let answers = generates.then_some(written.answers);
    Some(Metric { goal, target: written.target.map(|at| at.value), answers, name })
}

/// Another program trains and measures: any name is its own business, and there is nothing that
/// lorasweep generates.
fn elsewhere(
    written: MetricFile,
    name: String,
    usual: Option<Goal>,
    findings: &mut Findings,
) -> Option<Metric> {
    if let Some(at) = written.of_answers {
        let both = format!("`metric.{}` and an executor that trains", at.value);
        let help = format!(
            "another program measures `{name}` there, and reports it under that name: remove `{}`",
            at.value
        );
        return findings.mistake(at.place, Mistake::Conflict { both, help });
    }
    let goal = goal(&written, &name, usual, findings)?;
    Some(Metric { goal, target: written.target.map(|at| at.value), answers: None, name })
}

/// The better direction of a known metric.
fn usual_goal(name: &str) -> Option<Goal> {
    if name == EVAL_LOSS { Some(Goal::Minimize) } else { is_share(name).then_some(Goal::Maximize) }
}

fn goal(
    written: &MetricFile,
    name: &str,
    usual: Option<Goal>,
    findings: &mut Findings,
) -> Option<Goal> {
    match (&written.goal, usual) {
        (Some(at), Some(usual)) if at.value != usual => {
            let both = format!("`goal: {}` and `name: {name}`", at.value);
            let is = if usual == Goal::Minimize {
                "is a loss, lower is better"
            } else {
                "is a score, higher is better"
            };
            let help = format!("`{name}` {is}: write `goal: {usual}`, or leave the goal out");
            findings.mistake(at.place, Mistake::Conflict { both, help })
        }
        (Some(at), _) => Some(at.value),
        (None, Some(usual)) => Some(usual),
        (None, None) => {
            let place = written.name.as_ref().map(|name| name.place)?;
            let (key, example) = ("goal", "goal: maximize");
            let section = "`metric`".to_owned();
            findings.mistake(place, Mistake::MissingKey { key, section, example })
        }
    }
}

impl AnswerMetrics {
    /// Name and command of the metrics that a program of the user's scores.
    pub fn judges(&self) -> impl Iterator<Item = (&str, &str)> {
        self.scores.iter().filter_map(|settings| match &settings.score {
            Score::Command { command, .. } => Some((settings.name.as_str(), command.as_str())),
            _ => None,
        })
    }
}
