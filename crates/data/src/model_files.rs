//! The files of a model folder that say how text becomes tokens.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;
use sha2::{Digest, Sha256};
use tokenizers::Tokenizer;

use super::error::DataError;
use super::tokenizer_growth;

const TOKENIZER: &str = "tokenizer.json";
const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
const TOOL_USE_TEMPLATE: &str = "additional_chat_templates/tool_use.jinja";
/// Names under which `SentencePiece` models are shipped.
const SENTENCE_PIECE: [&str; 3] = ["tokenizer.model", "spiece.model", "sentencepiece.bpe.model"];

/// A model's folder.
pub(super) struct ModelFiles<'a> {
    dir: &'a Path,
}

/// The parts of `tokenizer_config.json` that are used.
#[derive(Debug, Default)]
pub(super) struct TokenizerConfig {
    /// `bos_token`, `eos_token`, `pad_token` ...: templates may write any of them.
    pub special_tokens: BTreeMap<String, String>,
    chat_templates: Vec<(String, String)>,
}

/// Chat templates by name, and the file that holds them.
#[derive(Debug)]
pub(super) struct TemplateFile {
    pub path: PathBuf,
    /// One of them is named `default`.
    pub templates: Vec<(String, String)>,
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
            let bad = |message: String| DataError::BadTokenizer { path: path.clone(), message };
            // The library gives up on some files by panicking.
            let tried = std::panic::catch_unwind(|| tokenizer_growth::load(&bytes));
            let unreadable = "it is no tokenizer.json that the tokenizers library can read";
            return tried
                .map_err(|_| bad(unreadable.to_owned()))?
                .map_err(|error: tokenizers::Error| bad(error.to_string()));
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
        let older = self.json("special_tokens_map.json")?.unwrap_or_default();
        let mut special_tokens = BTreeMap::new();
        for fields in [&older, &config].into_iter().filter_map(Value::as_object) {
            let tokens = fields.iter().filter(|(name, _)| name.ends_with("_token"));
            let named = tokens.filter_map(|(name, token)| Some((name, special_token(token)?)));
            special_tokens.extend(named.map(|(name, token)| (name.clone(), token)));
        }
        let chat_templates = template_field(&config["chat_template"]);
        Ok(TokenizerConfig { special_tokens, chat_templates })
    }

    /// SHA-256 of all files of the folder on which tokens depend.
    pub fn fingerprint(&self) -> Result<[u8; 32], DataError> {
        const FILES: [&str; 8] = [
            TOKENIZER,
            TOKENIZER_CONFIG,
            "special_tokens_map.json",
            "config.json",
            "generation_config.json",
            "chat_template.jinja",
            TOOL_USE_TEMPLATE,
            "chat_template.json",
        ];
        let mut hasher = Sha256::new();
        for name in FILES {
            let content = self.read(name)?;
            // A missing file is not an empty one.
            hasher.update([u8::from(content.is_some())]);
            hasher.update(Sha256::digest(content.unwrap_or_default()));
        }
        Ok(hasher.finalize().into())
    }

    /// The end-of-sequence id: `eos_token` of `tokenizer_config.json`, else `eos_token_id`
    /// (the first of a list) of `config.json`, else that of `generation_config.json`.
    pub fn eos(&self, tokenizer: &Tokenizer, config: &TokenizerConfig) -> Result<u32, DataError> {
        if let Some(token) = config.special_tokens.get("eos_token") {
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

    /// The chat templates and the file they stand in: `chat_template.jinja` (and, for further
    /// names, `additional_chat_templates/`) goes before `tokenizer_config.json`, as in
    /// transformers, then `chat_template.json`. `None` without one named `default`.
    pub fn chat_templates(
        &self,
        config: &TokenizerConfig,
    ) -> Result<Option<TemplateFile>, DataError> {
        let name = "chat_template.jinja";
        if let Some(text) = self.template_text(name)? {
            let mut templates = vec![("default".to_owned(), text)];
            let tools = self.template_text(TOOL_USE_TEMPLATE)?;
            templates.extend(tools.map(|text| ("tool_use".to_owned(), text)));
            return Ok(Some(TemplateFile { path: self.dir.join(name), templates }));
        }
        let (mut name, mut templates) = (TOKENIZER_CONFIG, config.chat_templates.clone());
        if templates.is_empty() {
            name = "chat_template.json";
            let file = self.json(name)?.unwrap_or_default();
            templates = template_field(&file["chat_template"]);
        }
        let has_default = templates.iter().any(|(name, _)| name == "default");
        Ok(has_default.then(|| TemplateFile { path: self.dir.join(name), templates }))
    }

    fn template_text(&self, name: &str) -> Result<Option<String>, DataError> {
        let Some(bytes) = self.read(name)? else { return Ok(None) };
        let path = self.dir.join(name);
        String::from_utf8(bytes)
            .map(Some)
            .map_err(|error| DataError::ChatTemplate { path, message: error.to_string() })
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

/// Templates are a string, or a list of `{name, template}`.
fn template_field(value: &Value) -> Vec<(String, String)> {
    if let Some(text) = value.as_str() {
        return vec![("default".to_owned(), text.to_owned())];
    }
    let text = |entry: &Value, field: &str| entry[field].as_str().map(str::to_owned);
    let named = |entry: &Value| Some((text(entry, "name")?, text(entry, "template")?));
    value.as_array().into_iter().flatten().filter_map(named).collect()
}

fn eos_token_id(config: &Value) -> Option<u64> {
    let field = &config["eos_token_id"];
    field.as_u64().or_else(|| field.get(0)?.as_u64())
}
