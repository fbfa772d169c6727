//! What can be wrong in a sweep file: one variant a kind of mistake, its sentence, and what to do.

use std::path::PathBuf;

use thiserror::Error;

/// What is wrong at one place of a sweep file. `what` names the setting with its section
/// (`train.max_seq_len`), `found` is the text as written.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum Mistake {
    /// The file is not YAML.
    #[error("this is not valid YAML: {message}")]
    Syntax {
        /// The YAML reader's message.
        message: String,
    },
    /// A key that means nothing here.
    #[error("unknown key `{key}` in {section}")]
    UnknownKey {
        /// The key.
        key: String,
        /// Where it stands, in words.
        section: String,
        /// The known key that looks most like it.
        similar: Option<String>,
        /// The section in which this key is known (`""` for the top level).
        belongs: Option<&'static str>,
        /// All known keys.
        known: Vec<&'static str>,
    },
    /// A key of another tool.
    #[error("`{key}` is a key of {tool}: {why}")]
    ForeignKey {
        /// The key.
        key: String,
        /// Whose key it is.
        tool: &'static str,
        /// Why lorasweep has no use for it.
        why: &'static str,
        /// What to write.
        instead: &'static str,
    },
    /// A key that already stands in the same section.
    #[error("`{key}` is given twice; it first stands in line {first_line}")]
    DuplicateKey {
        /// The key.
        key: String,
        /// Line of the first one, from 1.
        first_line: usize,
    },
    /// A key without which the sweep is not complete.
    #[error("{section} has no `{key}`")]
    MissingKey {
        /// The key.
        key: &'static str,
        /// Where it should stand, in words.
        section: String,
        /// A line to write.
        example: &'static str,
    },
    /// A value of the wrong type.
    #[error("`{what}` must be {expected}, but this is {found}")]
    WrongType {
        /// The setting.
        what: String,
        /// What it must be, in words.
        expected: String,
        /// What stands there, in words.
        found: String,
        /// What to do, when the type alone does not say it.
        help: Option<&'static str>,
    },
    /// A number outside its limits.
    #[error("`{what}` must be {required}, but this is {found}")]
    OutOfRange {
        /// The setting.
        what: String,
        /// The limits, in words.
        required: String,
        /// The number as written.
        found: String,
    },
    /// A word that is not one of the known ones.
    #[error("`{found}` is not a known {what}")]
    UnknownName {
        /// What kind of name, in words.
        what: &'static str,
        /// The word as written.
        found: String,
        /// The known word that looks most like it.
        similar: Option<String>,
        /// All known words.
        known: Vec<&'static str>,
    },
    /// Something people know from W&B that this version does not do.
    #[error("{what} `{found}` is not available in this version")]
    NotAvailable {
        /// What kind of thing, in words.
        what: &'static str,
        /// The word as written.
        found: String,
        /// What to write.
        instead: &'static str,
    },
    /// Two settings that exclude each other.
    #[error("{both} cannot both be given")]
    Conflict {
        /// The two, in words.
        both: String,
        /// What to do.
        help: String,
    },
    /// An option for `sbatch` that cannot be given.
    #[error("`{found}` cannot be one of `executor.additional_parameters`: {why}")]
    BadOption {
        /// The option as written.
        found: String,
        /// Why not.
        why: String,
        /// What to write.
        instead: String,
    },
    /// A text that is not a regular expression.
    #[error("`{what}` is not a regular expression: {message}")]
    BadPattern {
        /// The setting.
        what: String,
        /// The text.
        found: String,
        /// What is wrong with it.
        message: String,
    },
    /// The name would not make a folder's name.
    #[error("the sweep's name `{found}` cannot name a results folder")]
    BadName {
        /// The name.
        found: String,
    },
    /// A trial has one value of each parameter.
    #[error("`{what}` must be one value: a trial has one of each")]
    SeveralInATrial {
        /// The parameter.
        what: String,
    },
    /// A trial that leaves open what the sweep varies.
    #[error("the trial has no `{what}`, which the sweep varies")]
    MissingInATrial {
        /// The parameter.
        what: &'static str,
    },
    /// A list without elements.
    #[error("`{what}` is an empty list")]
    EmptyList {
        /// The setting.
        what: String,
    },
    /// A listed value that is listed before.
    #[error("`{what}` lists {found} twice")]
    DuplicateValue {
        /// The setting.
        what: String,
        /// The value.
        found: String,
    },
    /// The ends of a range are the wrong way round.
    #[error("`{what}` has min {min} above max {max}")]
    MinAboveMax {
        /// The parameter.
        what: String,
        /// Its `min` as written.
        min: String,
        /// Its `max` as written.
        max: String,
    },
    /// A range of one value.
    #[error("`{what}` has the same min and max, {value}")]
    EmptyRange {
        /// The parameter.
        what: String,
        /// Both.
        value: String,
    },
    /// The distribution can give values that the parameter cannot have.
    #[error("`{what}` must be {required}, but this distribution {reach}")]
    RangeLeavesLimits {
        /// The parameter.
        what: String,
        /// Its limits, in words.
        required: String,
        /// What it reaches, in words.
        reach: String,
        /// What to do.
        help: Option<&'static str>,
    },
    /// A parameter that no distribution of numbers fits.
    #[error("`{what}` is not a number, so it cannot have a range")]
    RangeOfNames {
        /// The parameter.
        what: String,
    },
    /// A command line that cannot be filled in.
    #[error("`{what}` {problem}")]
    BadCommand {
        /// The setting.
        what: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A value at a place of a command line where the shell would not take it as it is.
    #[error(
        "`{what}` has `{{{{{value}}}}}` {place}, where the shell may read it as something else"
    )]
    MisplacedValue {
        /// The setting.
        what: String,
        /// The value's name.
        value: &'static str,
        /// Where it stands.
        place: &'static str,
    },
    /// Probabilities that do not fit the values.
    #[error("`{what}`: {problem}")]
    BadProbabilities {
        /// The setting.
        what: String,
        /// What is wrong, in words and numbers.
        problem: String,
    },
    /// A grid over something that has no end of values.
    #[error("a grid needs values that can be counted, but `{what}` is {distribution}")]
    ContinuousInGrid {
        /// The parameter.
        what: String,
        /// Its distribution, with an article.
        distribution: String,
    },
    /// A search that would never end.
    #[error("`method: {method}` needs a `run_cap`: `{what}` has a range, so the draws never end")]
    EndlessDraws {
        /// The method.
        method: &'static str,
        /// The parameter.
        what: String,
    },
    /// More trials than anybody means.
    #[error("the parameters make {combinations} combinations and there is no `run_cap`")]
    TooManyTrials {
        /// How many.
        combinations: u128,
    },
    /// Validation rows that are the training rows.
    #[error("`data.{what}` is the training file itself")]
    SameFile {
        /// The key under `data`.
        what: &'static str,
    },
    /// Test rows that are trained on or chosen by.
    #[error("`data.test` is the training or the validation file itself")]
    TestIsSeen,
    /// A file or folder that is not there, or is the other of the two.
    #[error("`{what}`: {problem}: {}", path.display())]
    BadPath {
        /// The setting.
        what: &'static str,
        /// What is wrong with it.
        problem: &'static str,
        /// The path, resolved.
        path: PathBuf,
        /// What to do.
        help: &'static str,
    },
}

impl Mistake {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::UnknownKey { similar: None, belongs: Some(section), .. } => {
                Some(match *section {
                    "" => "it belongs at the top level, not indented".to_owned(),
                    section => format!("it belongs under `{section}:`"),
                })
            }
            Self::UnknownKey { similar, known, .. } | Self::UnknownName { similar, known, .. } => {
                Some(suggestion(similar.as_deref(), known))
            }
            Self::ForeignKey { instead, .. } | Self::NotAvailable { instead, .. } => {
                Some((*instead).to_owned())
            }
            Self::DuplicateKey { .. } => Some("keep one of the two".to_owned()),
            Self::MissingKey { example, .. } => Some(format!("write `{example}`")),
            Self::Conflict { help, .. } | Self::BadOption { instead: help, .. } => {
                Some(help.clone())
            }
            Self::BadName { .. } => Some(
                "use letters, digits, `-`, `_` and `.`, beginning with a letter or a digit"
                    .to_owned(),
            ),
            Self::SeveralInATrial { .. } => Some("add a trial for each value".to_owned()),
            Self::MissingInATrial { what } => Some(format!("add `\"{what}\": ` with its value")),
            Self::EmptyList { .. } => Some("list at least one value".to_owned()),
            Self::DuplicateValue { .. } => Some("list every value once".to_owned()),
            Self::MinAboveMax { .. } => Some("exchange the two".to_owned()),
            Self::EmptyRange { value, .. } => {
                Some(format!("for a fixed setting write `value: {value}`"))
            }
            Self::RangeOfNames { .. } => Some("list its values under `values:`".to_owned()),
            Self::ContinuousInGrid { .. } => Some(
                "list its `values:`, give it `distribution: q_uniform` or \
                 `q_log_uniform_values`, or write `method: bayes` with a `run_cap`"
                    .to_owned(),
            ),
            Self::EndlessDraws { .. } => {
                Some("write for instance `run_cap: 20` (the number of trials)".to_owned())
            }
            Self::TooManyTrials { .. } => Some(
                "write a `run_cap:`, list fewer values, or use `method: random` with a `run_cap`"
                    .to_owned(),
            ),
            Self::BadCommand { .. } => Some(
                "values stand in double braces: `{{rank}}` and other parameters of a trial, \
                 `{{model}}`, `{{train}}`, `{{trial_dir}}`"
                    .to_owned(),
            ),
            Self::MisplacedValue { value, .. } => Some(format!(
                "write `\"$LORASWEEP_{}\"` there, a variable that holds the same text, or put \
                 `{{{{{value}}}}}` between words or inside plain quotes",
                value.to_uppercase()
            )),
            Self::BadPath { help, .. } => Some((*help).to_owned()),
            Self::SameFile { .. } => Some(
                "give `data.validation` a file of its own, or write `validation_fraction: 0.1` to \
                 set training rows aside"
                    .to_owned(),
            ),
            Self::TestIsSeen => Some(
                "give `data.test` rows that stand in neither file: their loss is what to expect on \
                 new rows only if nothing was learned or chosen from them"
                    .to_owned(),
            ),
            Self::RangeLeavesLimits { help, .. } | Self::WrongType { help, .. } => {
                help.map(str::to_owned)
            }
            Self::BadPattern { .. } => Some(
                "put it in single quotes, where YAML leaves backslashes as they are: \
                 `pattern: 'answer is ([A-D])'`"
                    .to_owned(),
            ),
            Self::Syntax { .. } | Self::OutOfRange { .. } | Self::BadProbabilities { .. } => None,
        }
    }
}

fn suggestion(similar: Option<&str>, known: &[&str]) -> String {
    match (similar, known) {
        (Some(similar), _) => format!("did you mean `{similar}`?"),
        (None, [only]) => format!("only `{only}` is known"),
        (None, known) => format!("known are {}", quoted_list(known)),
    }
}

/// `a`, `b` and `c`.
fn quoted_list(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.as_slice() {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// The known name that looks most like `found`, if one looks alike at all.
pub(crate) fn most_similar(found: &str, known: &[&'static str]) -> Option<String> {
    let found = found.to_lowercase().replace('-', "_");
    known
        .iter()
        .map(|name| (strsim::damerau_levenshtein(&found, name), *name))
        .filter(|(distance, name)| *distance <= 1 + name.len().min(found.len()) / 4)
        .min()
        .map(|(_, name)| name.to_owned())
}
