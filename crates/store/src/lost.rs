//! Signs in a sweep's folder that its journal has lost records.
//!
//! A trial's proposal is durable before anything is written into the trial's folder. A journal
//! without it, beside a folder with something in it, was cut or damaged, and a sweep that went on
//! would train that trial again and write over what it left.

use std::collections::HashSet;
use std::path::Path;

use spec::{Event, TrialId};

use crate::error::StoreError;
use crate::{atomic, journal, layout, own_files};

/// What a journal says of trials.
#[derive(Debug, Default)]
pub(crate) struct Told {
    proposed: HashSet<TrialId>,
    ended: HashSet<TrialId>,
    /// No trial was left, and the sweep has not begun again since.
    is_finished: bool,
}

impl Told {
    pub(crate) fn of<'a>(events: impl IntoIterator<Item = &'a Event>) -> Self {
        let mut told = Self::default();
        for event in events {
            match event {
                Event::TrialProposed { trial, .. } => {
                    told.is_finished = false;
                    told.proposed.insert(trial.id)
                }
                Event::TrialFinished { trial, .. } => told.ended.insert(*trial),
                Event::TrialRetried { .. } | Event::SweepStarted { .. } => {
                    std::mem::take(&mut told.is_finished)
                }
                Event::SweepFinished => std::mem::replace(&mut told.is_finished, true),
                _ => false,
            };
        }
        told
    }

    /// Trials in the sweep's folder `root` of which records are missing.
    pub(crate) fn missing(&self, root: &Path) -> Result<Vec<TrialId>, StoreError> {
        let folders = atomic::own_entries(&layout::trials(root))?;
        let ids =
            folders.iter().filter_map(|path| layout::id_of_trial(path.file_name()?.to_str()?));
        let (known, mut missing): (Vec<TrialId>, Vec<TrialId>) =
            ids.partition(|id| self.proposed.contains(id));
        missing.retain(|id| has_begun(root, *id));
        let has_ended = |id: &TrialId| own_files::is_file(&layout::trial_json(root, *id));
        // A sweep finishes when all its trials have ended: their ends are lost with a worker's file.
        if self.is_finished {
            missing.extend(self.proposed.difference(&self.ended));
            missing.sort_unstable();
            return Ok(missing);
        }
        let without_end: Vec<TrialId> =
            known.into_iter().filter(|id| !self.ended.contains(id) && has_ended(id)).collect();
        // Ends are in the journals of workers, and all of a worker's are lost with its first line.
        // Another trial's tables may be there before its end is recorded.
        if !without_end.is_empty() && journal::has_none_but_a_torn_line(&layout::journal(root))? {
            missing.extend(without_end);
        }
        Ok(missing)
    }
}

/// An error when records of `trials` are lost.
pub(crate) fn refuse(root: &Path, trials: Vec<TrialId>) -> Result<(), StoreError> {
    if trials.is_empty() {
        return Ok(());
    }
    let journal = layout::journal(root);
    let (path, line) = match journal::first_torn(&journal)? {
        Some(torn) => (torn.path, Some(torn.line)),
        None => (journal, None),
    };
    Err(StoreError::LostRecords { path, line, trials })
}

/// Whether a trial has left anything.
fn has_begun(root: &Path, id: TrialId) -> bool {
    let folder = layout::trial(root, id);
    layout::TRIAL_NAMES.iter().any(|name| {
        let path = folder.join(name);
        own_files::is_dir(&path) || own_files::is_file(&path)
    })
}
