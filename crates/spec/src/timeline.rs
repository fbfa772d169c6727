//! When trials ran where, by the clocks of those who wrote the journal. Nothing is decided by it.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::event::Event;
use crate::trial::TrialId;

/// One stretch of a trial on a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Span {
    /// Which trial.
    pub trial: TrialId,
    /// Where.
    pub device: String,
    /// Milliseconds since the Unix epoch.
    pub from_ms: u64,
    /// When it ended, or the last that was heard of it.
    pub to_ms: u64,
}

/// The stretches of all trials.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Timeline {
    trials: BTreeMap<TrialId, Vec<Span>>,
}

impl Timeline {
    /// All stretches in the order of their beginning. One that a crash cut off ends with the last
    /// record about its trial.
    pub fn spans(&self) -> Vec<Span> {
        let mut spans: Vec<Span> = self.trials.values().flatten().cloned().collect();
        spans.sort_by_key(|span| span.from_ms);
        spans
    }

    /// The first and the last moment of a trial, in milliseconds since the Unix epoch.
    pub fn bounds(&self, trial: TrialId) -> Option<(u64, u64)> {
        bounds(self.trials.get(&trial)?)
    }

    /// The first and the last moment of all trials.
    pub fn whole(&self) -> Option<(u64, u64)> {
        bounds(self.trials.values().flatten())
    }

    /// Notes what happened at this time.
    pub(crate) fn note(&mut self, at_ms: u64, event: &Event) {
        match event {
            Event::TrialStarted { trial, device, .. } => {
                let (trial, device) = (*trial, device.clone());
                let span = Span { trial, device, from_ms: at_ms, to_ms: at_ms };
                self.trials.entry(trial).or_default().push(span);
            }
            // A worker that outlives its driver goes on with the stretch that it is in.
            Event::Trained { trial, .. }
            | Event::Evaluated { trial, .. }
            | Event::Checkpointed { trial, .. }
            | Event::TrialFinished { trial, .. } => {
                if let Some(span) = self.trials.get_mut(trial).and_then(|spans| spans.last_mut()) {
                    span.to_ms = span.to_ms.max(at_ms);
                }
            }
            _ => {}
        }
    }
}

fn bounds<'a>(spans: impl IntoIterator<Item = &'a Span>) -> Option<(u64, u64)> {
    let each = spans.into_iter().map(|span| (span.from_ms, span.to_ms));
    each.reduce(|(from, to), (begin, end)| (from.min(begin), to.max(end)))
}
