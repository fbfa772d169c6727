//! What a search sees of a history: neither replicates nor trials that left the search space, and the
//! cost of the metric in the place of the validation loss.

use std::borrow::Cow;

use spec::{SearchSpace, SweepState, Trial, TrialId, TrialState};

use crate::{Planner, replicates};

/// What of a history is looked at.
pub(crate) type View = fn(&SweepState) -> Cow<'_, SweepState>;

/// A search that is asked about its own trials alone. What it proposes gets numbers above all that
/// there are.
pub(crate) struct Searched(pub Box<dyn Planner>);

/// The history as the search sees it.
fn searched(history: &SweepState) -> Cow<'_, SweepState> {
    let views: [View; 3] = [SweepState::within_space, replicates::without, SweepState::costs];
    views.into_iter().fold(Cow::Borrowed(history), |seen, view| match seen {
        Cow::Borrowed(seen) => view(seen),
        Cow::Owned(seen) => Cow::Owned(view(&seen).into_owned()),
    })
}

/// The draw with which a method that draws continues when the search space becomes `space`: as many
/// are used up as there are trials of it.
pub fn first_draw(history: &SweepState, space: &SearchSpace) -> u64 {
    let proposed = replicates::without(history);
    let is_of_space = |trial: &&TrialState| !trial.is_added && space.contains(&trial.trial.config);
    proposed.trials.values().filter(is_of_space).count() as u64
}

impl Planner for Searched {
    fn suggest(&self, history: &SweepState, count: usize) -> Vec<Trial> {
        let mut trials = self.0.suggest(&searched(history), count);
        let last = history.trials.keys().next_back().copied().unwrap_or(TrialId::BASE);
        for (trial, number) in trials.iter_mut().zip(last.0 + 1..) {
            trial.id = TrialId(number);
        }
        trials
    }

    fn conclusion(&self, history: &SweepState) -> Option<String> {
        self.0.conclusion(&searched(history))
    }

    fn is_adaptive(&self) -> bool {
        self.0.is_adaptive()
    }

    fn total(&self) -> Option<usize> {
        self.0.total()
    }
}
