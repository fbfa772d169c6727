//! What a person asks of a sweep that runs (`run --add`, `stop`, `retry`).
//!
//! A request stays in the sweep's folder until what follows from it is journalled. One that was
//! carried out before the driver died is recognised by its effect, and changes nothing.

use spec::{Event, Outcome, StopReason, Trial, TrialConfig, TrialId};
use store::{Purpose, Request, Requested};

use super::{Drive, Run};
use crate::error::WorkerError;
use crate::observer::Warning;

/// Whether something was asked that is not seen to yet.
pub(super) fn has_any(drive: &Drive) -> bool {
    // One that cannot be read ends the sweep where it is carried out.
    drive.sweep.dir.folder().requests().map_or(true, |requests| !requests.is_empty())
}

impl Run<'_> {
    /// Carries out what can be.
    pub(super) fn heed_requests(&mut self) -> Result<(), WorkerError> {
        for requested in self.drive.sweep.dir.folder().requests()? {
            let is_done = match &requested.request {
                Request::Add { config } => self.add(config)?,
                Request::Stop { trial } => self.stop_for_person(*trial)?,
                Request::Retry { trial } => self.retry(*trial)?,
            };
            if is_done {
                self.finish_request(&requested)?;
            }
        }
        self.drop_outside()
    }

    fn finish_request(&mut self, requested: &Requested) -> Result<(), WorkerError> {
        self.is_exhausted = false;
        Ok(self.drive.sweep.dir.done(requested)?)
    }

    /// Journals a trial of a person's own; false while its logical start is not known.
    fn add(&mut self, config: &TrialConfig) -> Result<bool, WorkerError> {
        let key = config.key();
        let known = self.trials().find(|known| known.trial.config.key() == key);
        if let Some(id) = known.map(|known| known.trial.id) {
            let text = format!("trial {id} has this configuration already");
            self.warn(&Warning::OfWorker { text });
            return Ok(true);
        }
        let last = self.drive.sweep.state.trials.keys().next_back().map_or(0, |id| id.0);
        let trial = Trial { id: TrialId(last + 1), config: config.clone() };
        let start = if self.is_ordered {
            let Some(at) = self.time_of_addition() else { return Ok(false) };
            Some(self.start_of(&trial, at))
        } else {
            None
        };
        self.record_proposal(trial, start, true)?;
        Ok(true)
    }

    /// Ends a trial; false while its worker has not done so yet.
    fn stop_for_person(&mut self, id: TrialId) -> Result<bool, WorkerError> {
        let Some(trial) = self.drive.sweep.state.trials.get(&id) else {
            self.warn(&Warning::OfWorker { text: format!("there is no trial {id} to stop") });
            return Ok(true);
        };
        if trial.outcome().is_some() {
            return Ok(true);
        }
        self.stop_one(id, &StopReason::Person)
    }

    /// Ends a trial wherever it is; whether it has ended.
    fn stop_one(&mut self, id: TrialId, reason: &StopReason) -> Result<bool, WorkerError> {
        if self.fleet.has(id) {
            if self.asked_to_stop.insert(id) {
                self.order_stop(id, reason.clone(), false);
            }
            return Ok(false);
        }
        if !self.waiting.contains(&id) {
            return Ok(false);
        }
        self.waiting.retain(|&other| other != id);
        self.end(id, &Outcome::Stopped { reason: reason.clone() })?;
        Ok(true)
    }

    /// Journals that an ended trial runs again.
    fn retry(&mut self, id: TrialId) -> Result<bool, WorkerError> {
        match self.drive.sweep.state.trials.get(&id).map(|trial| trial.outcome().is_some()) {
            Some(true) => {}
            Some(false) => return Ok(true),
            None => {
                let text = format!("there is no trial {id} to run again");
                self.warn(&Warning::OfWorker { text });
                return Ok(true);
            }
        }
        self.drive.sweep.dir.discard_checkpoint(id, Purpose::Resume)?;
        self.record(&[Event::TrialRetried { trial: id }])?;
        self.asked_to_stop.remove(&id);
        self.waiting.push_back(id);
        Ok(true)
    }

    /// Ends trials that were under way when the search space lost their configuration.
    fn drop_outside(&mut self) -> Result<(), WorkerError> {
        let is_left = |trial: &&spec::TrialState| trial.is_outside && trial.outcome().is_none();
        let left: Vec<TrialId> = self.trials().filter(is_left).map(|t| t.trial.id).collect();
        for id in left {
            self.stop_one(id, &StopReason::OutsideSpace)?;
        }
        Ok(())
    }
}
