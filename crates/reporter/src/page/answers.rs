//! What the base model and the runs answered, for the page's script.

use serde_json::{Map, Value, json};
use spec::{KeptAnswer, SweepState};

use crate::rank::Ranking;

/// Characters of all answers together; the runs at the end of the ranking go without.
const MOST_CHARACTERS: usize = 2_000_000;

/// The questions with the base model's answers, and each run's answers at its best and at its last
/// evaluation; `null` where none were kept.
pub fn of(state: &SweepState, ranking: &Ranking) -> Value {
    let Some(base) = state.base_answers.as_ref().filter(|base| !base.kept.is_empty()) else {
        return Value::Null;
    };
    let outputs = |kept: &[KeptAnswer]| kept.iter().map(|a| a.output.clone()).collect::<Vec<_>>();
    let mut left = MOST_CHARACTERS;
    let mut runs = Map::new();
    for row in &ranking.rows {
        let Some(answers) = state.trials.get(&row.trial).and_then(|trial| trial.answers.as_ref())
        else {
            continue;
        };
        let all = answers.kept.iter().chain(&answers.last);
        let size: usize = all.map(|answer| answer.output.len()).sum();
        let Some(rest) = left.checked_sub(size) else { break };
        left = rest;
        let last = (!answers.last.is_empty()).then(|| outputs(&answers.last));
        let run = json!({ "best": outputs(&answers.kept), "last": last });
        runs.insert(row.trial.0.to_string(), run);
    }
    let question = |a: &KeptAnswer| {
        json!({
            "row": a.example + 1,
            "prompt": a.prompt,
            "reference": a.reference,
            "base": a.output,
        })
    };
    json!({ "questions": base.kept.iter().map(question).collect::<Vec<_>>(), "runs": runs })
}
