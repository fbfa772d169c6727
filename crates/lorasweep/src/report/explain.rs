//! What was expected of each trial when it was proposed, what came, and which
//! parameters matter. Works for every method, also while the sweep runs.

use planner::Expectation;
use reporter::Importance;
use serde::Serialize;
use spec::{Event, Sweep, SweepState, Trial, TrialConfig, TrialId, TrialState};

use super::status::outcome_name;

/// What there is to say of a sweep's choices.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    /// The sweep's name.
    pub name: String,
    /// What trials are compared by.
    pub metric: String,
    /// Every trial.
    pub trials: Vec<ExplainedTrial>,
    /// The first trial whose expectation is from a little less than was known at its proposal: in a sweep of many
    /// trials not each has a model of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub models_shared_from: Option<u32>,
    /// How much each parameter explains of the losses.
    pub importance: Vec<ParameterImportance>,
    /// Why no further trial was proposed.
    pub conclusion: Option<String>,
}

/// What was expected of a trial, and what came.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ExplainedTrial {
    /// Its number.
    pub trial: u32,
    /// The parameters that the sweep varies.
    pub settings: String,
    /// What was expected of the sweep's metric (by default the validation loss) at its end when it was
    /// proposed.
    pub expected_loss: Option<f64>,
    /// Lower end of the interval that 95 % of the losses were expected in.
    pub expected_low: Option<f64>,
    /// Its upper end.
    pub expected_high: Option<f64>,
    /// The validation loss at the best evaluation, as in every other report.
    pub eval_loss: Option<f64>,
    /// The validation loss of the last evaluation.
    pub last_eval_loss: Option<f64>,
    /// The sweep's metric at the best evaluation.
    pub best_value: Option<f64>,
    /// The sweep's metric where it was measured last, which the expectation is of.
    pub last_value: Option<f64>,
    /// Whether it ended within what was expected.
    pub as_expected: Option<bool>,
    /// How it ended, in words.
    pub status: String,
}

/// How much a parameter explains of the losses.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ParameterImportance {
    /// Its name.
    pub parameter: &'static str,
    /// Share of the variance that it explains alone.
    pub share: f64,
    /// Standard error of that share.
    pub stderr: f64,
}

/// Models that are fitted, each at what was known when a trial was proposed, before histories share one.
const MOST_MODELS: usize = 400;

/// From then on a model serves until the journal is longer by this share: what so little adds hardly moves
/// a model of hundreds of trials, and the models grow with the logarithm of the sweep's length.
const GROWTH: f64 = 0.02;

/// Goes through the journal, so that each expectation is from what was known at the proposal; after
/// [`MOST_MODELS`] models from what was known a little before.
pub fn explain(sweep: &Sweep, events: &[Event]) -> Explanation {
    let Models { of, shared_from } = Models::of(events);
    let mut state = SweepState::default();
    let mut proposals: Vec<(&Trial, Option<Expectation>)> = Vec::new();
    let mut known = 0;
    for Model { known: until, proposed } in of {
        events[known..until].iter().for_each(|event| state.apply(event));
        known = until;
        let configs: Vec<&TrialConfig> = proposed.iter().map(|trial| &trial.config).collect();
        let expected = planner::expectations(sweep, &state, &configs);
        let mut expected = expected.into_iter().flatten();
        proposals.extend(proposed.into_iter().map(|trial| (trial, expected.next())));
    }
    events[known..].iter().for_each(|event| state.apply(event));
    let lines = proposals
        .iter()
        .filter_map(|(trial, expected)| Some(line(sweep, state.trials.get(&trial.id)?, *expected)));
    Explanation {
        name: sweep.name.clone(),
        metric: sweep.metric.name.clone(),
        trials: lines.collect(),
        models_shared_from: shared_from.map(|trial| trial.0),
        importance: reporter::importance(&state).iter().map(importance_line).collect(),
        conclusion: planner::for_sweep(sweep).conclusion(&state),
    }
}

/// A model, and the trials whose losses it says what to expect of.
struct Model<'a> {
    /// It knows so many of the first events.
    known: usize,
    proposed: Vec<&'a Trial>,
}

/// The models of a journal.
struct Models<'a> {
    of: Vec<Model<'a>>,
    /// The first trial whose model does not know all that was known.
    shared_from: Option<TrialId>,
}

impl<'a> Models<'a> {
    fn of(events: &'a [Event]) -> Self {
        let (mut of, mut shared_from): (Vec<Model<'_>>, _) = (Vec::new(), None);
        // The first event since the last model that is no proposal: until then it knows everything.
        let mut has_news = true;
        for (at, event) in events.iter().enumerate() {
            let Event::TrialProposed { trial, .. } = event else {
                has_news = true;
                continue;
            };
            let models = of.len();
            let is_shared = |model: &&mut Model<'_>| {
                let is_little = (at - model.known) as f64 <= GROWTH * model.known as f64;
                !has_news || (models >= MOST_MODELS && is_little)
            };
            if let Some(model) = of.last_mut().filter(is_shared) {
                model.proposed.push(trial);
                if has_news && shared_from.is_none() {
                    shared_from = Some(trial.id);
                }
            } else {
                of.push(Model { known: at, proposed: vec![trial] });
                has_news = false;
            }
        }
        Self { of, shared_from }
    }
}

fn line(sweep: &Sweep, trial: &TrialState, expected: Option<Expectation>) -> ExplainedTrial {
    let eval_loss = trial.best().map(|best| best.eval_loss);
    let last_eval_loss = trial.last().map(|last| last.eval_loss);
    let objective = &trial.objective;
    let best_value = trial.best().and_then(|best| objective.value(best));
    let last_value = trial.evaluations.iter().rev().find_map(|e| objective.value(e));
    let is_within = |(e, loss): (Expectation, f64)| (e.low..=e.high).contains(&loss);
    let ended = trial.outcome().is_some();
    ExplainedTrial {
        trial: trial.trial.id.0,
        settings: settings(sweep, trial),
        expected_loss: expected.map(|e| e.loss),
        expected_low: expected.map(|e| e.low),
        expected_high: expected.map(|e| e.high),
        eval_loss,
        last_eval_loss,
        best_value,
        last_value,
        as_expected: expected.zip(last_value).filter(|_| ended).map(is_within),
        status: trial.outcome().map_or_else(|| "not ended".to_owned(), outcome_name),
    }
}

/// The varied settings of a trial.
fn settings(sweep: &Sweep, trial: &TrialState) -> String {
    let varied = sweep.space.varied();
    let shown = varied
        .iter()
        .map(|parameter| format!("{parameter} {}", parameter.row().shown(&trial.trial.config)));
    shown.collect::<Vec<_>>().join(", ")
}

fn importance_line(importance: &Importance) -> ParameterImportance {
    let Importance { name, share, stderr } = *importance;
    ParameterImportance { parameter: name, share, stderr }
}

#[cfg(test)]
mod tests {
    use spec::Outcome;

    use super::*;

    /// Trials of which `together` are proposed at a time, each batch when the one before has ended.
    fn journal(trials: u32, together: u32) -> Vec<Event> {
        let proposed =
            |id| Event::proposed(Trial { id: TrialId(id), config: TrialConfig::default() });
        let ended = |id| Event::TrialFinished { trial: TrialId(id), outcome: Outcome::Completed };
        let firsts = (1..=trials).step_by(together as usize);
        firsts
            .flat_map(|first| {
                let batch = first..(first + together).min(trials + 1);
                batch.clone().map(proposed).chain(batch.map(ended)).collect::<Vec<_>>()
            })
            .collect()
    }

    /// The proposals of a journal with how many events were known before, by trial.
    fn known_by_model(models: &Models<'_>) -> Vec<(u32, usize)> {
        let of_model = |model: &Model<'_>| {
            let known = model.known;
            model.proposed.iter().map(move |trial| (trial.id.0, known)).collect::<Vec<_>>()
        };
        models.of.iter().flat_map(of_model).collect()
    }

    #[test]
    fn each_of_hundreds_of_trials_has_a_model_of_all_that_was_known() {
        let events = journal(MOST_MODELS as u32, 1);
        let models = Models::of(&events);
        assert_eq!((models.of.len(), models.shared_from), (MOST_MODELS, None));
        assert!(known_by_model(&models).iter().all(|(id, known)| *known == 2 * (*id as usize - 1)));
    }

    #[test]
    fn trials_that_are_proposed_together_share_a_model_and_miss_nothing() {
        let events = journal(6_000, 500);
        let models = Models::of(&events);
        assert_eq!((models.of.len(), models.shared_from), (12, None));
        assert_eq!(known_by_model(&models)[700], (701, 1_000));
    }

    #[test]
    fn models_of_thousands_of_trials_grow_with_the_logarithm_of_their_number() {
        let events = journal(20_000, 1);
        let models = Models::of(&events);
        assert!(models.of.len() < 620, "{}", models.of.len());
        assert_eq!(models.shared_from, Some(TrialId(MOST_MODELS as u32 + 1)));
        let all = known_by_model(&models);
        assert_eq!(all.len(), 20_000);
        for (id, known) in all {
            let everything = 2 * (id as usize - 1);
            assert!(
                known <= everything && everything as f64 <= 1.02 * known as f64,
                "{id}: {known}"
            );
        }
    }
}
