//! What is known of a model's tokens, for messages.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

/// The tokens of a model that say where text begins and ends.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ModelTokens {
    /// What is put in front of every row that is no conversation: usually `bos`, or nothing.
    pub prefix: Vec<String>,
    /// The end-of-sequence token.
    pub eos: String,
    /// The texts of special and other added tokens.
    #[serde(skip)]
    pub names: BTreeMap<u32, String>,
    /// At which tokens `generate()` stops.
    pub stops: Option<StopTokens>,
    /// How many positions the model was made for.
    pub max_position_embeddings: Option<usize>,
    /// The file of its chat template.
    pub chat_template: Option<PathBuf>,
}

/// The tokens at which `generate()` stops.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StopTokens {
    /// The file that names them.
    pub file: String,
    /// Their ids.
    pub ids: Vec<u64>,
}

impl ModelTokens {
    /// A token's text in backquotes, with its id.
    pub(super) fn named(&self, id: u32) -> String {
        match self.names.get(&id) {
            Some(name) => format!("`{name}` (id {id})"),
            None => format!("id {id}"),
        }
    }
}
