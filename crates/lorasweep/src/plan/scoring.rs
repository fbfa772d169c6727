//! What a sweep measures of answers: the questions, and who scores.

use std::collections::BTreeSet;
use std::time::Duration;

use data::{Answers, PreparedData};
use metrics::judge::{Judge, JudgeSettings};
use metrics::{Metric, Normalise, Pattern};
use spec::{AnswerMetrics, Ignored, Score, ScoreSettings, Sweep};
use trainer::engine::{NamedScorer, Question, Scoring};

use crate::error::Error;

/// The longest time in which a judge gives no score.
const WITHOUT_A_SCORE: Duration = Duration::from_secs(120);

/// What the engine measures of answers; `None` where the sweep measures nothing of them.
pub fn of_sweep(sweep: &Sweep, data: &PreparedData) -> Result<Option<Scoring>, Error> {
    let Some(wanted) = &sweep.metric.answers else { return Ok(None) };
    let scorers = wanted.scores.iter().map(scorer).collect::<Result<Vec<_>, Error>>()?;
    let is_chat = data.report.chat_format.is_some();
    let reader = Answers::load(&sweep.model, is_chat).map_err(Error::Data)?;
    let questions = questions(wanted, data, &reader);
    if questions.is_empty() {
        return Err(Error::NothingToAsk { metric: wanted.scores[0].name.clone() });
    }
    Ok(Some(Scoring {
        reader,
        questions,
        scorers,
        every: wanted.every,
        max_new_tokens: wanted.max_new_tokens as usize,
        stop: wanted.stop.clone(),
        objective: sweep.metric.objective(),
    }))
}

/// The validation examples that have a prompt, or as many of them as are wanted, evenly spread.
fn questions(wanted: &AnswerMetrics, data: &PreparedData, reader: &Answers) -> Vec<Question> {
    let examples = data.validation.examples.iter().enumerate();
    let mut all: Vec<Question> = examples
        .filter_map(|(example, row)| {
            let asked = reader.of_example(row)?;
            let reference = asked.reference?;
            Some(Question { example, tokens: asked.tokens, prompt: asked.text, reference })
        })
        .collect();
    let (wanted, there) = (wanted.examples as usize, all.len());
    if wanted < there {
        let stay: BTreeSet<usize> = (0..wanted).map(|nth| nth * there / wanted).collect();
        let mut places = 0..there;
        all.retain(|_| places.next().is_some_and(|place| stay.contains(&place)));
    }
    all
}

/// Whoever scores by a metric.
fn scorer(ScoreSettings { name, score }: &ScoreSettings) -> Result<NamedScorer, Error> {
    let metric = match score {
        Score::Command { command, dir } => {
            let (command, dir) = (command.clone(), dir.clone());
            let judge = Judge::new(JudgeSettings { command, dir, timeout: WITHOUT_A_SCORE });
            return Ok(NamedScorer::new(name.as_str(), Box::new(judge)));
        }
        Score::ExactMatch { normalise } => Metric::ExactMatch(normaliser(*normalise)),
        Score::Contains { normalise } => Metric::Contains(normaliser(*normalise)),
        Score::RegexMatch { pattern, normalise } => {
            Metric::RegexMatch(Pattern::new(pattern)?, normaliser(*normalise))
        }
        Score::NumberMatch { tolerance } => Metric::NumberMatch(*tolerance),
        Score::TokenF1 { normalise } => Metric::TokenF1(normaliser(*normalise)),
        Score::RougeL => Metric::RougeL,
        Score::Chrf => Metric::Chrf,
        Score::JsonMatch { fields } => Metric::JsonMatch(fields.clone()),
        Score::ToolCallMatch => Metric::ToolCallMatch,
    };
    Ok(NamedScorer::new(name.as_str(), Box::new(metric)))
}

const fn normaliser(ignored: Ignored) -> Normalise {
    let Ignored { case, blanks, punctuation, articles } = ignored;
    Normalise { case, blanks, punctuation, articles }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_sweep_file_names_the_metrics_that_there_are() {
        // Neither crate knows the other: one has the names, one computes them.
        assert_eq!(spec::SCORES, metrics::NAMES);
    }
}
