//! The words of a diagnosis.

use spec::{Evaluation, Outcome, StopReason, TrialState};

use super::{Flag, Note, Overfit, Reference};
use crate::number::{change, epoch, learning_rate, loss, percent};

/// What is known of a run when its diagnosis is put into words.
pub struct Facts<'a> {
    pub trial: &'a TrialState,
    pub reference: Reference<'a>,
    pub flag: Flag,
    pub notes: &'a [Note],
    pub overfit: Option<&'a Overfit>,
    pub improvement_share: Option<f64>,
    pub still_falling: Option<f64>,
}

/// Why the run carries its flag and notes: sentences with numbers.
pub fn explanation(facts: &Facts<'_>) -> String {
    let mut sentences = vec![flag_sentence(facts)];
    if let Some(Outcome::Stopped { reason }) = facts.trial.outcome() {
        sentences.push(match reason {
            StopReason::TargetReached { target } => {
                format!("It was stopped because it reached the target of {}.", loss(*target))
            }
            StopReason::EarlyTerminate { reason } => {
                format!("It was stopped early: {}.", reason.trim_end_matches('.'))
            }
        });
    }
    sentences.extend(facts.notes.iter().filter_map(|note| note_sentence(*note, facts)));
    sentences.join(" ")
}

/// What to do about it, if anything.
pub fn advice(facts: &Facts<'_>) -> Option<String> {
    let rate = learning_rate(facts.trial.trial.config.learning_rate);
    match facts.flag {
        Flag::Overfit => facts.overfit.map(|overfit| {
            if overfit.best_step == 0 {
                format!("Lower the learning rate (now {rate}): no amount of training helped.")
            } else {
                format!(
                    "Stop at epoch {}, or lower the learning rate (now {rate}).",
                    epoch(overfit.best_epoch)
                )
            }
        }),
        Flag::TooSlow => {
            Some(format!("Raise the learning rate (now {rate}) or train for more epochs."))
        }
        Flag::Underfit => Some(
            difference_from_best(facts)
                .unwrap_or_else(|| "Try a higher rank or more data.".to_owned()),
        ),
        Flag::Diverged => Some(format!("Lower the learning rate (now {rate}).")),
        Flag::Failed => Some("Read the error; the sweep goes on without this run.".to_owned()),
        Flag::Ok if is_still_improving(facts) => Some(
            "The last evaluation is the best one: more epochs may bring it further down."
                .to_owned(),
        ),
        Flag::Base | Flag::Ok | Flag::Running | Flag::Pending => None,
    }
}

fn is_still_improving(facts: &Facts<'_>) -> bool {
    facts.still_falling.is_some()
        && facts.trial.best().map(|e| e.step) == facts.trial.last().map(|e| e.step)
}

fn flag_sentence(facts: &Facts<'_>) -> String {
    match facts.flag {
        Flag::Base => "The base model without an adapter.".to_owned(),
        Flag::Pending => "Not begun yet.".to_owned(),
        Flag::Running => running(facts),
        Flag::Failed => match facts.trial.outcome() {
            Some(Outcome::Failed { error }) => format!("Could not be trained: {error}."),
            _ => "Could not be trained.".to_owned(),
        },
        Flag::Diverged => match facts.trial.outcome() {
            Some(Outcome::Diverged { step, reason }) => {
                format!("Diverged at step {step}: {}.", reason.trim_end_matches('.'))
            }
            _ => "Diverged.".to_owned(),
        },
        Flag::Overfit => {
            facts.overfit.map(|o| overfit(o, facts.reference.base)).unwrap_or_default()
        }
        Flag::TooSlow => format!(
            "Validation loss was still falling at the end (by {} over the last third of the steps), \
             but only {} of the best run's improvement over the base model was reached.",
            facts.still_falling.map(loss).unwrap_or_default(),
            facts.improvement_share.map(percent).unwrap_or_default(),
        ),
        Flag::Underfit => format!(
            "Validation loss levelled off with {} of the best run's improvement over the base \
             model.",
            facts.improvement_share.map(percent).unwrap_or_default(),
        ),
        Flag::Ok => facts.trial.best().map_or_else(
            || "Ended without an evaluation.".to_owned(),
            |best| {
                format!(
                    "Validation loss {} at epoch {}, with a gap of {} to the train loss.",
                    loss(best.eval_loss),
                    epoch(best.epoch),
                    change(best.gap()),
                )
            },
        ),
    }
}

fn running(facts: &Facts<'_>) -> String {
    let Some(last) = facts.trial.last() else {
        return "Running, not evaluated yet.".to_owned();
    };
    let rising = facts.overfit.map_or(String::new(), |overfit| {
        format!(", rising since epoch {} while the gap widens", epoch(overfit.best_epoch))
    });
    format!(
        "Running; validation loss {} at epoch {}{rising}.",
        loss(last.eval_loss),
        epoch(last.epoch)
    )
}

fn overfit(overfit: &Overfit, base: Option<&Evaluation>) -> String {
    let end = overfit.best_eval_loss + overfit.rise;
    let errors = if overfit.rise_stderr > 0.0 {
        format!(", {:.1} standard errors", overfit.rise / overfit.rise_stderr)
    } else {
        String::new()
    };
    let start = if overfit.best_step == 0 {
        format!(
            "Validation loss never fell below the base model's {}; it",
            loss(overfit.best_eval_loss)
        )
    } else {
        format!(
            "Validation loss was lowest at epoch {} ({}), then",
            epoch(overfit.best_epoch),
            loss(overfit.best_eval_loss)
        )
    };
    let above_base = base
        .filter(|base| overfit.best_step > 0 && end > base.eval_loss)
        .map_or(String::new(), |base| {
            format!(" That is above the base model's {}.", loss(base.eval_loss))
        });
    format!(
        "{start} rose by {} ({}{errors}) to {} at epoch {}, clearly from epoch {} on, while train \
         loss went from {} to {}.{above_base}",
        loss(overfit.rise),
        percent(overfit.rise_share),
        loss(end),
        epoch(overfit.end_epoch),
        epoch(overfit.onset_epoch),
        loss(overfit.train_at_best),
        loss(overfit.train_at_end),
    )
}

fn difference_from_best(facts: &Facts<'_>) -> Option<String> {
    let best = &facts.reference.best?.trial;
    let (own, theirs) = (&facts.trial.trial.config, &best.config);
    let mut differences = Vec::new();
    if own.rank != theirs.rank {
        differences.push(format!("rank {} (here {})", theirs.rank, own.rank));
    }
    if own.learning_rate != theirs.learning_rate {
        let (theirs, own) = (learning_rate(theirs.learning_rate), learning_rate(own.learning_rate));
        differences.push(format!("learning rate {theirs} (here {own})"));
    }
    if own.batch_size != theirs.batch_size {
        differences.push(format!("batch size {} (here {})", theirs.batch_size, own.batch_size));
    }
    if differences.is_empty() {
        return None;
    }
    Some(format!("Move towards trial {}, the best: {}.", best.id, differences.join(", ")))
}

fn note_sentence(note: Note, facts: &Facts<'_>) -> Option<String> {
    let base = facts.reference.base?;
    let best = facts.trial.best()?;
    match note {
        Note::WorseThanBase => Some(format!(
            "Even its best evaluation ({}) is no better than the base model ({}).",
            loss(best.eval_loss),
            loss(base.eval_loss),
        )),
        Note::Forgetting => {
            let (before, after) = (base.retention_loss?, best.retention_loss?);
            Some(format!(
                "The retention loss rose from {} to {} ({}): the base model's skills suffer.",
                loss(before),
                loss(after),
                percent((after - before) / before),
            ))
        }
    }
}
