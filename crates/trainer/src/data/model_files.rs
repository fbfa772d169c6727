//! The files of a model folder that say how text becomes tokens.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tokenizers::Tokenizer;

use super::error::DataError;

const TOKENIZER: &str = "tokenizer.json";
const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
/// Names under which `SentencePiece` models are shipped.
const SENTENCE_PIECE: [&str; 3] = ["tokenizer.model", "spiece.model", "sentencepiece.bpe.model"];

/// A model's folder.
pub(super) struct ModelFiles<'a> {
    dir: &'a Path,
}

/// The parts of `tokenizer_config.json` that are used.
#[derive(Debug, Default)]
pub(super) struct TokenizerConfig {
    pub bos_token: Option<String>,
    pub eos_token: Option<String>,
    pub chat_template: Option<String>,
}

impl<'a> ModelFiles<'a> {
    pub fn new(dir: &'a Path) -> Self {
        Self { dir }
    }

    pub fn tokenizer_path(&self) -> PathBuf {
        self.dir.join(TOKENIZER)
    }

    /// Loads `tokenizer.json`.
    pub fn tokenizer(&self) -> Result<Tokenizer, DataError> {
        let path = self.tokenizer_path();
        if let Some(bytes) = self.read(TOKENIZER)? {
            return Tokenizer::from_bytes(bytes)
                .map_err(|error| DataError::BadTokenizer { path, message: error.to_string() });
        }
        let model_dir = self.dir.to_owned();
        match SENTENCE_PIECE.into_iter().find(|name| self.dir.join(name).exists()) {
            Some(file) => Err(DataError::SentencePieceOnly { model_dir, file }),
            None => Err(DataError::NoTokenizer { model_dir }),
        }
    }

    /// Reads `tokenizer_config.json`; a missing file is an empty one.
    pub fn tokenizer_config(&self) -> Result<TokenizerConfig, DataError> {
        let config = self.json(TOKENIZER_CONFIG)?.unwrap_or_default();
        Ok(TokenizerConfig {
            bos_token: special_token(&config["bos_token"]),
            eos_token: special_token(&config["eos_token"]),
            chat_template: template_field(&config["chat_template"]),
        })
    }

    /// The end-of-sequence id: `eos_token` of `tokenizer_config.json`, else `eos_token_id`
    /// (the first of a list) of `config.json`, else that of `generation_config.json`.
    pub fn eos(&self, tokenizer: &Tokenizer, config: &TokenizerConfig) -> Result<u32, DataError> {
        if let Some(token) = &config.eos_token {
            return tokenizer.token_to_id(token).ok_or_else(|| DataError::UnknownEos {
                path: self.dir.join(TOKENIZER_CONFIG),
                token: format!("`{token}`"),
            });
        }
        for name in ["config.json", "generation_config.json"] {
            let Some(id) = self.json(name)?.and_then(|config| eos_token_id(&config)) else {
                continue;
            };
            return u32::try_from(id)
                .ok()
                .filter(|&id| tokenizer.id_to_token(id).is_some())
                .ok_or_else(|| DataError::UnknownEos {
                    path: self.dir.join(name),
                    token: format!("id {id}"),
                });
        }
        Err(DataError::NoEos { model_dir: self.dir.to_owned() })
    }

    /// The chat template and the file it stands in: `chat_template.jinja` goes before
    /// `tokenizer_config.json`, as in transformers, then `chat_template.json`.
    pub fn chat_template(
        &self,
        config: &TokenizerConfig,
    ) -> Result<Option<(PathBuf, String)>, DataError> {
        let name = "chat_template.jinja";
        if let Some(bytes) = self.read(name)? {
            let path = self.dir.join(name);
            return match String::from_utf8(bytes) {
                Ok(text) => Ok(Some((path, text))),
                Err(error) => Err(DataError::ChatTemplate { path, message: error.to_string() }),
            };
        }
        if let Some(text) = &config.chat_template {
            return Ok(Some((self.dir.join(TOKENIZER_CONFIG), text.clone())));
        }
        let name = "chat_template.json";
        let text = self.json(name)?.and_then(|file| template_field(&file["chat_template"]));
        Ok(text.map(|text| (self.dir.join(name), text)))
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, DataError> {
        let path = self.dir.join(name);
        match std::fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(DataError::io("read", &path)(error)),
        }
    }

    fn json(&self, name: &str) -> Result<Option<Value>, DataError> {
        let Some(bytes) = self.read(name)? else { return Ok(None) };
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|source| DataError::ModelFile { path: self.dir.join(name), source })
    }
}

/// A special token is written as a string or as an object with its `content`.
fn special_token(value: &Value) -> Option<String> {
    value.as_str().or_else(|| value["content"].as_str()).map(str::to_owned)
}

/// A template is a string or a list of `{name, template}`, of which `default` is used.
fn template_field(value: &Value) -> Option<String> {
    if let Some(text) = value.as_str() {
        return Some(text.to_owned());
    }
    let default = value.as_array()?.iter().find(|entry| entry["name"] == "default")?;
    default["template"].as_str().map(str::to_owned)
}

fn eos_token_id(config: &Value) -> Option<u64> {
    let field = &config["eos_token_id"];
    field.as_u64().or_else(|| field.get(0)?.as_u64())
}
