//! What is measured of answers to validation prompts, resolved and checked.

use std::path::PathBuf;

use serde::Serialize;

/// What is measured of answers, and how they are written.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AnswerMetrics {
    /// The metrics; the one that trials are compared by is first, if it is one of them.
    pub scores: Vec<ScoreSettings>,
    /// So many of the validation examples that have a prompt, evenly spread over the set.
    pub examples: u32,
    /// When they are measured.
    pub every: MeasureEvery,
    /// Tokens of an answer at most.
    pub max_new_tokens: u32,
    /// Strings that end an answer and do not belong to it.
    pub stop: Vec<String>,
}

impl AnswerMetrics {
    /// Without anything to measure, and with the settings that hold where none are given.
    pub const fn usual() -> Self {
        Self {
            scores: Vec::new(),
            examples: 200,
            every: MeasureEvery::Evaluation,
            max_new_tokens: 128,
            stop: Vec::new(),
        }
    }
}

/// At which evaluations answers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MeasureEvery {
    /// At each one.
    Evaluation,
    /// At those at the end of an epoch.
    Epoch,
    /// At those with the lowest validation loss so far.
    Best,
}

/// A metric of answers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ScoreSettings {
    /// Its name.
    pub name: String,
    /// How an answer is scored.
    #[serde(flatten)]
    pub score: Score,
}

/// How an answer is scored against its reference.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Score {
    /// Both are equal.
    ExactMatch {
        /// What they may differ in.
        normalise: Ignored,
    },
    /// The reference stands in the answer.
    Contains {
        /// What they may differ in.
        normalise: Ignored,
    },
    /// What the expression captures is equal in both.
    RegexMatch {
        /// A regular expression.
        pattern: String,
        /// What the captures may differ in.
        normalise: Ignored,
    },
    /// The last number is equal in both.
    NumberMatch {
        /// By how much they may differ.
        tolerance: f64,
    },
    /// Common words.
    TokenF1 {
        /// What words may differ in.
        normalise: Ignored,
    },
    /// The longest common subsequence of words.
    RougeL,
    /// Common character n-grams.
    Chrf,
    /// Both are the same JSON.
    JsonMatch {
        /// The fields that are compared; all where none are named.
        fields: Vec<String>,
    },
    /// Both call the same tool with the same arguments.
    ToolCallMatch,
    /// A program of the user's scores it.
    Command {
        /// The line for the shell.
        command: String,
        /// The folder that it runs in: the sweep file's.
        #[serde(skip)]
        dir: PathBuf,
    },
}

/// What two texts may differ in and still count as equal.
#[allow(clippy::struct_excessive_bools, reason = "four independent switches of the sweep file")]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Ignored {
    /// Upper and lower case.
    pub case: bool,
    /// Numbers of blanks and line ends.
    pub blanks: bool,
    /// ASCII punctuation.
    pub punctuation: bool,
    /// The words `a`, `an` and `the`.
    pub articles: bool,
}

impl Ignored {
    /// All of them, as `SQuAD`'s evaluation script does it.
    pub const SQUAD: Self = Self { case: true, blanks: true, punctuation: true, articles: true };
}
