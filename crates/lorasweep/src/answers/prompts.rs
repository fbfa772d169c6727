//! Where prompts come from.

use std::path::{Path, PathBuf};

use data::{Answers, AskedPrompt, PreparedData};

use crate::error::Error;
use crate::inputs::view::{DataSet, of_set};

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PromptSource {
    /// A text: what a user says where the sweep trains on conversations, else the beginning of a text.
    Text(String),
    /// A JSONL file with a prompt or a row a line.
    File(PathBuf),
    /// The first rows of a set of the sweep.
    Set {
        /// The set.
        set: DataSet,
        /// How many rows.
        count: usize,
    },
}

/// A prompt and where it is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    pub place: Option<String>,
    pub asked: AskedPrompt,
}

pub fn questions(
    source: &PromptSource,
    data: &PreparedData,
    reader: &Answers,
) -> Result<Vec<Question>, Error> {
    let questions = match source {
        PromptSource::Text(text) => {
            let asked = reader.of_text(text).map_err(|why| Error::Prompt { place: None, why })?;
            vec![Question { place: None, asked }]
        }
        PromptSource::File(path) => of_file(path, reader)?,
        PromptSource::Set { set, count } => of_rows(*set, *count, data, reader)?,
    };
    if questions.is_empty() {
        let why = match source {
            PromptSource::File(_) => "the file has no rows",
            _ => "the set has no rows with a prompt before their answer",
        };
        return Err(Error::Prompt { place: None, why: why.to_owned() });
    }
    Ok(questions)
}

fn of_file(path: &Path, reader: &Answers) -> Result<Vec<Question>, Error> {
    let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(index, line)| {
            let place = Some(format!("{}:{}", path.display(), index + 1));
            match reader.of_row(line) {
                Ok(asked) => Ok(Question { place, asked }),
                Err(why) => Err(Error::Prompt { place, why }),
            }
        })
        .collect()
}

fn of_rows(
    set: DataSet,
    count: usize,
    data: &PreparedData,
    reader: &Answers,
) -> Result<Vec<Question>, Error> {
    let Some((rows, places)) = of_set(data, set) else {
        return Err(Error::NoSuchRow { set: set.name(), number: 1, rows: 0 });
    };
    let question = |(example, place)| {
        Some(Question { place: Some(data.report.place(place)), asked: reader.of_example(example)? })
    };
    Ok(rows.examples.iter().zip(places.iter().copied()).filter_map(question).take(count).collect())
}
