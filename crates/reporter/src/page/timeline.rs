//! When trials ran where, from the journal's clock.

use std::collections::BTreeMap;

use serde::Serialize;
use spec::{Event, Record, TrialId};

/// One stretch of a trial on a device.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Span {
    /// Which trial.
    pub trial: TrialId,
    /// Where.
    pub device: String,
    /// Milliseconds since the Unix epoch.
    pub from_ms: u64,
    /// Where it ended, or the last that was heard of it.
    pub to_ms: u64,
}

/// The stretches in the order of their beginning. One that a crash cut off ends with the last
/// record about its trial.
pub fn timeline(records: &[Record]) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    let mut open: BTreeMap<TrialId, usize> = BTreeMap::new();
    for Record { at_ms, event, .. } in records {
        match event {
            Event::SweepStarted { .. } => open.clear(),
            Event::TrialStarted { trial, device, .. } => {
                open.insert(*trial, spans.len());
                let (device, at_ms) = (device.clone(), *at_ms);
                spans.push(Span { trial: *trial, device, from_ms: at_ms, to_ms: at_ms });
            }
            Event::Trained { trial, .. }
            | Event::Evaluated { trial, .. }
            | Event::Checkpointed { trial, .. }
            | Event::TrialFinished { trial, .. } => {
                if let Some(span) = open.get(trial).and_then(|at| spans.get_mut(*at)) {
                    span.to_ms = span.to_ms.max(*at_ms);
                }
            }
            _ => {}
        }
    }
    spans
}
