//! How sure one score is.

use curves::Measured;
use spec::{MeanScore, ScoredAnswers, is_share};

use super::Z95;

/// The 95 % interval of a score on other examples like these: of the scores of the single examples, which
/// does not leave 0..=1 where they do not; else a normal one, where the noise is known.
pub(crate) fn score_interval(
    score: &MeanScore,
    answers: Option<&ScoredAnswers>,
) -> Option<[f64; 2]> {
    let examples = answers.and_then(|answers| answers.scores.get(&score.metric));
    if let Some(examples) = examples.filter(|examples| !examples.is_empty()) {
        let examples: Vec<f64> = examples.iter().map(|score| f64::from(*score)).collect();
        let interval = Measured::Scores(&examples).interval();
        return Some([interval.low, interval.high]);
    }
    let half = Z95 * score.stderr;
    let ends = [score.value - half, score.value + half];
    (half > 0.0)
        .then(|| if is_share(&score.metric) { ends.map(|end| end.clamp(0.0, 1.0)) } else { ends })
}
