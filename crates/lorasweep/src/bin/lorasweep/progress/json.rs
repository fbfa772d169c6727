//! One JSON event a line on stdout, as in the journal.

use std::time::{SystemTime, UNIX_EPOCH};

use lorasweep::spec::{Event, Record, SCHEMA_VERSION, SweepState};
use lorasweep::worker::{Observer, Warning};

use super::Progress;
use crate::output::{self, Output};

/// See the module.
pub struct Json {
    output: Output,
}

impl Json {
    pub const fn new(output: Output) -> Self {
        Self { output }
    }
}

impl Observer for Json {
    fn event(&mut self, event: &Event, _: &SweepState) {
        let at_ms =
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64);
        let (v, event) = (SCHEMA_VERSION, event.clone());
        let record = Record { v, at_ms, seq: None, attempt: None, event };
        if let Ok(line) = serde_json::to_string(&record) {
            output::json_text(&line);
        }
    }

    fn warning(&mut self, warning: &Warning) {
        self.output.warning(&warning.to_string());
    }
}

impl Progress for Json {}
