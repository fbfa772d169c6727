//! The files of a model folder that say how text becomes tokens.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::{ModelWrapper, NormalizerWrapper, Tokenizer};

use super::added_tokens::{AddedTokens, OtherId};
use super::error::DataError;
use super::model_tokens::StopTokens;
use super::tokenizer_growth;

const TOKENIZER: &str = "tokenizer.json";
const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
const SPECIAL_TOKENS_MAP: &str = "special_tokens_map.json";
/// Of older folders.
const ADDED_TOKENS: &str = "added_tokens.json";
const CONFIG: &str = "config.json";
const GENERATION_CONFIG: &str = "generation_config.json";
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
            let tokenizer = tried
                .map_err(|_| bad(unreadable.to_owned()))?
                .map_err(|error: tokenizers::Error| bad(error.to_string()))?;
            return self.completed(tokenizer);
        }
        let model_dir = self.dir.to_owned();
        match SENTENCE_PIECE.into_iter().find(|name| self.dir.join(name).exists()) {
            Some(file) => Err(DataError::SentencePieceOnly { model_dir, file }),
            None => Err(DataError::NoTokenizer { model_dir }),
        }
    }

    /// The tokenizer with what the other files change of it, as transformers 5 reads them.
    fn completed(&self, mut tokenizer: Tokenizer) -> Result<Tokenizer, DataError> {
        let config = self.token_settings()?;
        let model = self.json(CONFIG)?.unwrap_or_default();
        let unusable = |error: tokenizers::Error| DataError::BadTokenizer {
            path: self.tokenizer_path(),
            message: error.to_string(),
        };
        if let Some(blanks) = legacy_blanks(&tokenizer, &config, &model) {
            tokenizer.with_normalizer(None::<NormalizerWrapper>).map_err(unusable)?;
            tokenizer.with_pre_tokenizer(Some(blanks));
        }
        let older = self.json(ADDED_TOKENS)?.unwrap_or_default();
        let other = AddedTokens::of(&config, &older).add_to(&mut tokenizer).map_err(unusable)?;
        if let Some(OtherId { token, listed, given }) = other {
            let has_list = config["added_tokens_decoder"].is_object();
            let path = self.dir.join(if has_list { TOKENIZER_CONFIG } else { ADDED_TOKENS });
            return Err(DataError::AddedTokenId { path, token, listed, given });
        }
        Ok(tokenizer)
    }

    /// `tokenizer_config.json`; where it lists no added tokens, `special_tokens_map.json` is older
    /// and takes precedence in what both name.
    fn token_settings(&self) -> Result<Value, DataError> {
        let mut config = self.json(TOKENIZER_CONFIG)?.unwrap_or_default();
        if !config.is_object() {
            config = json!({});
        }
        let older = self.json(SPECIAL_TOKENS_MAP)?.unwrap_or_default();
        if let (Value::Object(fields), Value::Object(older)) = (&mut config, older)
            && !fields.contains_key("added_tokens_decoder")
        {
            fields.extend(older);
        }
        Ok(config)
    }

    /// Reads `tokenizer_config.json`; a missing file is an empty one.
    pub fn tokenizer_config(&self) -> Result<TokenizerConfig, DataError> {
        let config = self.token_settings()?;
        let fields = config.as_object().into_iter().flatten();
        let tokens = fields.filter(|(name, _)| name.ends_with("_token"));
        let named = tokens.filter_map(|(name, token)| Some((name.clone(), special_token(token)?)));
        let special_tokens = named.collect();
        let chat_templates = template_field(&config["chat_template"]);
        Ok(TokenizerConfig { special_tokens, chat_templates })
    }

    /// SHA-256 of all files of the folder on which tokens depend.
    pub fn fingerprint(&self) -> Result<[u8; 32], DataError> {
        const FILES: [&str; 9] = [
            TOKENIZER,
            TOKENIZER_CONFIG,
            SPECIAL_TOKENS_MAP,
            ADDED_TOKENS,
            CONFIG,
            GENERATION_CONFIG,
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
        for name in [CONFIG, GENERATION_CONFIG] {
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

    /// The tokens at which `generate()` stops: those of `generation_config.json`, else those of
    /// config.json.
    pub fn stop_tokens(&self) -> Result<Option<StopTokens>, DataError> {
        for name in [GENERATION_CONFIG, CONFIG] {
            let ids = self.json(name)?.map_or_else(Vec::new, |config| eos_token_ids(&config));
            if !ids.is_empty() {
                return Ok(Some(StopTokens { file: name.to_owned(), ids }));
            }
        }
        Ok(None)
    }

    /// How many positions the model was made for.
    pub fn max_position_embeddings(&self) -> Result<Option<usize>, DataError> {
        let config = self.json(CONFIG)?.unwrap_or_default();
        let most = [&config, &config["text_config"]]
            .into_iter()
            .find_map(|config| config["max_position_embeddings"].as_u64());
        Ok(most.map(|most| most as usize))
    }

    /// The chat templates and the file they stand in: `chat_template.jinja` (and, for further
    /// names, `additional_chat_templates/`) takes precedence over `tokenizer_config.json`, as in
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
    eos_token_ids(config).first().copied()
}

/// `eos_token_id` is a number or a list of them.
fn eos_token_ids(config: &Value) -> Vec<u64> {
    match &config["eos_token_id"] {
        Value::Array(ids) => ids.iter().filter_map(Value::as_u64).collect(),
        other => other.as_u64().into_iter().collect(),
    }
}

/// The pre-tokenizer that transformers 5 gives a `LlamaTokenizer` instead of the normalizer of its
/// tokenizer.json (`models/llama/tokenization_llama.py`): blanks as `SentencePiece` has them, but
/// with one in front of the text alone, not of each part between special tokens.
fn legacy_blanks(tokenizer: &Tokenizer, config: &Value, model: &Value) -> Option<Metaspace> {
    let class = config["tokenizer_class"].as_str()?;
    let is_llama = class.trim_end_matches("Fast") == "LlamaTokenizer";
    let is_bpe = matches!(tokenizer.get_model(), ModelWrapper::BPE(_));
    let has_pre_tokenizer = tokenizer.get_pre_tokenizer().is_some();
    // Of another model's type transformers takes tokenizer.json as it is.
    let is_of_llama = model["model_type"].as_str().is_none_or(|kind| kind == "llama");
    if !is_llama || !is_bpe || has_pre_tokenizer || !is_of_llama {
        return None;
    }
    let has_blank = config["add_prefix_space"].as_bool().unwrap_or(true);
    let is_legacy = config["legacy"].as_bool().unwrap_or(false);
    let scheme = match (has_blank, is_legacy) {
        (false, _) => PrependScheme::Never,
        (true, true) => PrependScheme::Always,
        (true, false) => PrependScheme::First,
    };
    Some(Metaspace::new('\u{2581}', scheme, false))
}
