//! The words of one run's diagnosis.

use curves::Rise;
use spec::{Evaluation, Outcome, StopReason, TrialState};

use super::facts::is_stopped_early;
use super::{Flag, Note, Overfit, Reference};
use crate::number::{change, epoch, learning_rate, loss, percent};
use crate::parameters::{self, Parameter};
use crate::text::{Lang, say};

/// What is known of a run when its diagnosis is put into words.
pub struct Facts<'a> {
    pub lang: Lang,
    pub trial: &'a TrialState,
    pub reference: Reference<'a>,
    pub flag: Flag,
    pub notes: &'a [Note],
    pub overfit: Option<&'a Overfit>,
    pub rise: Option<&'a Rise>,
    pub memorizes_from: Option<f64>,
    pub improvement_share: Option<f64>,
    pub still_falling: Option<f64>,
    pub spikes: usize,
    pub further_at_lower_rate: Option<&'a TrialState>,
    pub further_at_higher_rate: Option<&'a TrialState>,
}

/// Why the run carries its flag and notes: sentences with numbers.
pub fn explanation(facts: &Facts<'_>) -> String {
    let lang = facts.lang;
    let mut sentences = vec![flag_sentence(facts)];
    sentences.extend(unclear(facts));
    sentences.extend(facts.trial.promotions.iter().map(|promoted| {
        let stopped = match &promoted.stopped {
            StopReason::TargetReached { target } => loss(*target),
            StopReason::EarlyTerminate { reason } => lang.reason(reason).into_owned(),
            StopReason::Person => say!(lang, StoppedByPerson),
            StopReason::OutsideSpace => say!(lang, NoteOutside),
        };
        let reason = lang.reason(&promoted.reason);
        say!(lang, WentOn, promoted.step.to_string(), stopped, reason)
    }));
    if let Some(Outcome::Stopped { reason }) = facts.trial.outcome() {
        sentences.push(match reason {
            StopReason::TargetReached { target } => say!(lang, TargetReached, loss(*target)),
            StopReason::EarlyTerminate { reason } => {
                say!(lang, StoppedEarly, lang.reason(reason).trim_end_matches('.'))
            }
            StopReason::Person => say!(lang, StoppedByPerson),
            StopReason::OutsideSpace => say!(lang, DroppedOutside),
        });
    }
    sentences.extend(facts.notes.iter().filter_map(|note| note_sentence(*note, facts)));
    sentences.join(" ")
}

/// What to do about it, if anything.
pub fn advice(facts: &Facts<'_>) -> Option<String> {
    let lang = facts.lang;
    let rate = learning_rate(facts.trial.trial.config.learning_rate);
    let is_judged_short = matches!(facts.flag, Flag::TooSlow | Flag::Underfit | Flag::Ok);
    if is_judged_short && is_stopped_early(facts.trial) {
        return Some(say!(lang, StoppedAdvice));
    }
    match facts.flag {
        Flag::Overfit => facts.overfit.map(|overfit| {
            if overfit.best_step == 0 {
                say!(lang, LowerRateNothingHelped, rate)
            } else {
                say!(lang, StopAt, epoch(overfit.best_epoch), rate)
            }
        }),
        Flag::TooSlow | Flag::Underfit
            if facts.spikes > 0 || facts.further_at_lower_rate.is_some() =>
        {
            Some(say!(lang, LowerRate, rate))
        }
        Flag::TooSlow => Some(say!(lang, RaiseRate, rate)),
        Flag::Ok if facts.further_at_higher_rate.is_some() => {
            Some(if facts.notes.contains(&Note::MoreEpochs) {
                say!(lang, RaiseRate, rate)
            } else {
                say!(lang, RaiseRateAlone, rate)
            })
        }
        Flag::Underfit => {
            let names: Vec<&str> = differing_from_best(facts).iter().map(|p| p.name).collect();
            let is_higher_better = facts.further_at_higher_rate.is_some();
            if is_higher_better && names != ["learning_rate"] {
                return Some(say!(lang, RaiseRateAlone, rate));
            }
            Some(difference_from_best(facts).unwrap_or_else(|| say!(lang, HigherRank)))
        }
        Flag::Diverged => Some(say!(lang, LowerRate, rate)),
        Flag::Failed => Some(say!(lang, ReadError)),
        Flag::Ok if facts.notes.contains(&Note::LearningRateTooHigh) => {
            Some(say!(lang, LowerRate, rate))
        }
        Flag::Ok if facts.notes.contains(&Note::MoreEpochs) => Some(say!(lang, MayFallFurther)),
        Flag::Base | Flag::Ok | Flag::Running | Flag::Pending => None,
    }
}

fn flag_sentence(facts: &Facts<'_>) -> String {
    let lang = facts.lang;
    let share = || facts.improvement_share.map(percent).unwrap_or_default();
    match facts.flag {
        Flag::Base => say!(lang, BaseModel),
        Flag::Pending => say!(lang, NotBegun),
        Flag::Running => running(facts),
        Flag::Failed => match facts.trial.outcome() {
            Some(Outcome::Failed { error }) => {
                say!(lang, Failed, lang.reason(error).trim_end_matches('.'))
            }
            _ => say!(lang, Failed, "?"),
        },
        Flag::Diverged => match facts.trial.outcome() {
            Some(Outcome::Diverged { step, reason }) => {
                let reason = lang.reason(reason);
                say!(lang, Diverged, step.to_string(), reason.trim_end_matches('.'))
            }
            _ => say!(lang, Diverged, "?", "?"),
        },
        Flag::Overfit => {
            facts.overfit.map(|o| overfit(lang, o, facts.reference.base)).unwrap_or_default()
        }
        Flag::TooSlow => {
            say!(lang, TooSlow, facts.still_falling.map(loss).unwrap_or_default(), share())
        }
        Flag::Underfit => say!(lang, Underfit, share()),
        Flag::Ok => facts.trial.best().map_or_else(
            || say!(lang, EndedUnevaluated),
            |best| match best.gap() {
                Some(gap) => {
                    say!(lang, Fine, loss(best.eval_loss), epoch(best.epoch), change(gap))
                }
                None => say!(lang, FineAlone, loss(best.eval_loss), epoch(best.epoch)),
            },
        ),
    }
}

/// Below this probability a run is taken not to overfit.
const UNLIKELY: f64 = 0.1;

/// What cannot be said of a run that is not flagged.
fn unclear(facts: &Facts<'_>) -> Option<String> {
    if facts.flag != Flag::Ok || facts.trial.best().is_none() {
        return None;
    }
    match facts.rise {
        None => Some(say!(facts.lang, TooFewToJudge)),
        Some(rise) if rise.probability > UNLIKELY => {
            let (risen, error) = (loss(rise.rise), loss(rise.rise_stderr));
            Some(say!(facts.lang, Unclear, percent(rise.probability), risen, error))
        }
        Some(_) => None,
    }
}

fn running(facts: &Facts<'_>) -> String {
    let lang = facts.lang;
    let Some(last) = facts.trial.last() else {
        return say!(lang, RunningUnevaluated);
    };
    let rising = facts
        .overfit
        .map_or(String::new(), |overfit| say!(lang, Rising, epoch(overfit.best_epoch)));
    say!(lang, Running, loss(last.eval_loss), epoch(last.epoch), rising)
}

fn overfit(lang: Lang, overfit: &Overfit, base: Option<&Evaluation>) -> String {
    let lowest = loss(overfit.lowest);
    let end = overfit.lowest + overfit.rise;
    let (share, probability) = (percent(overfit.rise_share), percent(overfit.probability));
    let error = loss(overfit.rise_stderr);
    let rise = say!(lang, RiseWithError, loss(overfit.rise), error, share, probability);
    let (at_end, onset) = (epoch(overfit.end_epoch), epoch(overfit.onset_epoch));
    let train = overfit.train.map_or_else(String::new, |(at_best, at_end)| {
        say!(lang, WhileTrainLoss, loss(at_best), loss(at_end))
    });
    if overfit.best_step == 0 {
        return say!(lang, NeverBelowBase, lowest, rise, loss(end), at_end, onset, train);
    }
    let best_epoch = epoch(overfit.best_epoch);
    let sentence = say!(lang, Overfit, best_epoch, lowest, rise, loss(end), at_end, onset, train);
    match base.filter(|base| end > base.eval_loss) {
        Some(base) => format!("{sentence} {}", say!(lang, AboveBase, loss(base.eval_loss))),
        None => sentence,
    }
}

/// The settings, the seed apart, that differ from the best run's.
fn differing_from_best(facts: &Facts<'_>) -> Vec<&'static Parameter> {
    let Some(best) = facts.reference.best else { return Vec::new() };
    parameters::settings(&[&facts.trial.trial.config, &best.trial.config])
}

/// Where one setting alone differs from the best run's, that is the likely cause; of several it cannot be
/// told which.
fn difference_from_best(facts: &Facts<'_>) -> Option<String> {
    let lang = facts.lang;
    let best = &facts.reference.best?.trial;
    let (own, theirs) = (&facts.trial.trial.config, &best.config);
    let differing = differing_from_best(facts);
    let here = |p: &&Parameter| say!(lang, Here, p.name, p.value(theirs), p.value(own));
    let id = best.id.to_string();
    match differing[..] {
        [] => None,
        [only] if only.name == "learning_rate" => {
            let rates = (learning_rate(own.learning_rate), learning_rate(theirs.learning_rate));
            Some(if own.learning_rate < theirs.learning_rate {
                say!(lang, RateIsTooLow, rates.0, id, rates.1)
            } else {
                say!(lang, RateIsTooHigh, rates.0, id, rates.1)
            })
        }
        [ref only] => Some(say!(lang, MoveTowards, id, here(only))),
        _ => {
            let all: Vec<String> = differing.iter().map(here).collect();
            Some(say!(lang, MoveTowardsAny, id, all.join(", ")))
        }
    }
}

fn note_sentence(note: Note, facts: &Facts<'_>) -> Option<String> {
    let lang = facts.lang;
    let best = facts.trial.best();
    match note {
        Note::WorseThanBase => {
            let base = facts.reference.base?.eval_loss;
            Some(say!(lang, NoteWorse, loss(best?.eval_loss), loss(base)))
        }
        Note::Forgetting => {
            let before = facts.reference.base?.retention_loss?;
            let after = best?.retention_loss?;
            let share = percent((after - before) / before);
            Some(say!(lang, NoteForgetting, loss(before), loss(after), share))
        }
        Note::LearningRateTooHigh => {
            let rate = learning_rate(facts.trial.trial.config.learning_rate);
            let spikes = facts.spikes.to_string();
            let spiked = (facts.spikes > 0).then(|| say!(lang, NoteSpikes, spikes, rate));
            let further = facts.further_at_lower_rate.and_then(|other| {
                let [id, rate, reached] = reached(other)?;
                Some(say!(lang, NoteLowerRateFurther, id, rate, reached))
            });
            let sentences: Vec<String> = [spiked, further].into_iter().flatten().collect();
            (!sentences.is_empty()).then(|| sentences.join(" "))
        }
        // Where no other run shows it, the flag `too_slow` has said it.
        Note::LearningRateTooLow => {
            let [id, rate, reached] = reached(facts.further_at_higher_rate?)?;
            Some(say!(lang, NoteHigherRateFurther, id, rate, reached))
        }
        Note::MoreEpochs => Some(say!(lang, NoteMoreEpochs)),
        Note::Memorizing => memorizing(facts),
        Note::OutsideSpace => Some(say!(lang, NoteOutside)),
    }
}

fn memorizing(facts: &Facts<'_>) -> Option<String> {
    let from = facts.memorizes_from?;
    let evaluations = &facts.trial.evaluations;
    let (here, last) = (evaluations.iter().find(|e| e.epoch >= from)?, evaluations.last()?);
    let train = (here.train_loss?, last.train_loss?);
    Some(say!(
        facts.lang,
        NoteMemorizing,
        epoch(from),
        loss(train.0),
        loss(train.1),
        loss(here.eval_loss),
        loss(last.eval_loss)
    ))
}

/// Number, learning rate and loss of a run.
fn reached(other: &TrialState) -> Option<[String; 3]> {
    let rate = learning_rate(other.trial.config.learning_rate);
    Some([other.trial.id.to_string(), rate, loss(other.best()?.eval_loss)])
}
