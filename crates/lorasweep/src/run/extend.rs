//! A sweep file that was changed since its sweep began: the sweep continues in its folder.

use spec::{Event, Sweep, TrialId, TrialState};
use store::{Identity, Opened};

use crate::error::Error;

/// Journals what the sweep file changes, and then writes it to the folder. Does nothing where it
/// changes nothing, or an earlier launch died between the two.
pub fn extend(
    opened: &mut Opened,
    identity: &Identity,
    sweep: &Sweep,
    text: &str,
) -> Result<(), Error> {
    if opened.extended.is_empty() {
        return Ok(());
    }
    if opened.state.fingerprint != identity.fingerprint {
        let extension = extension(opened, identity, sweep);
        opened.dir.record(std::slice::from_ref(&extension))?;
        opened.state.apply(&extension);
    }
    opened.dir.write_identity(identity, text)?;
    Ok(())
}

fn extension(opened: &Opened, identity: &Identity, sweep: &Sweep) -> Event {
    let state = &opened.state;
    let replicates = planner::replicate_ids(state);
    let is_outside = |trial: &&TrialState| {
        let (id, config) = (trial.trial.id, &trial.trial.config);
        let is_of_space = if replicates.contains(&id) {
            // Its seed is derived from one of the space's.
            sweep.space.contains_but_seed(config)
        } else {
            sweep.space.contains(config)
        };
        !trial.is_added && !is_of_space
    };
    let outside: Vec<TrialId> =
        state.trials.values().filter(is_outside).map(|trial| trial.trial.id).collect();
    let has_new_space = opened.extended.iter().any(|line| line.starts_with("parameters."));
    Event::SweepExtended {
        fingerprint: identity.fingerprint.clone(),
        changes: opened.extended.clone(),
        outside,
        first_draw: if has_new_space {
            planner::first_draw(state, &sweep.space)
        } else {
            state.first_draw
        },
    }
}
