//! A chat template on its own: what it makes of rows, before any tokenizer.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;

use super::chat::ChatTemplate;
use super::error::DataError;
use super::json::Json;
use super::model_files::TemplateFile;
use super::said::Row;
use super::unwritten::Kind;

/// A chat template with the special tokens that it may write.
pub struct ChatWriter(ChatTemplate);

/// A conversation as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatText {
    /// What the template writes.
    pub text: String,
    /// The byte ranges of it that are learnt, ascending.
    pub targets: Vec<Range<usize>>,
    /// What of the conversation the template leaves out, and of how many turns.
    pub unwritten: BTreeMap<Kind, usize>,
}

impl ChatWriter {
    /// Parses a template; `path` is named where it fails.
    pub fn new(
        path: PathBuf,
        source: String,
        special_tokens: BTreeMap<String, String>,
    ) -> Result<Self, DataError> {
        let templates = vec![("default".to_owned(), source)];
        ChatTemplate::new(TemplateFile { path, templates }, special_tokens).map(Self)
    }

    /// Writes a row, given as a JSON object; else why the row is not used.
    pub fn write(&self, row: &str) -> Result<ChatText, String> {
        let row = Json::from_text(row).map_err(|error| error.to_string())?;
        let fields = row.as_object().ok_or("a row is a JSON object")?;
        let (_, row) = Row::from_object(fields).map_err(|reason| reason.to_string())?;
        let Row::Messages(conversation) = row else {
            return Err("the row is no conversation".to_owned());
        };
        let rendered = self.0.render(&conversation).map_err(|reason| reason.to_string())?;
        let (text, targets, unwritten) = (rendered.text, rendered.spans, rendered.unwritten);
        Ok(ChatText { text, targets, unwritten })
    }
}
