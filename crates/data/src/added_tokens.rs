//! Tokens that the other files of a model add to those of tokenizer.json, as transformers adds
//! them (`PreTrainedTokenizerBase.from_pretrained`, `TokenizersBackend.__init__`; 5.23).

use serde_json::Value;
use tokenizers::{AddedToken, Tokenizer};

/// The tokens that the files beside tokenizer.json name.
#[derive(Debug, Default)]
pub(super) struct AddedTokens {
    /// Those of `added_tokens_decoder`, or of `added_tokens.json` in older folders, by their ids.
    listed: Vec<(u64, AddedToken)>,
    /// `bos_token`, `eos_token` and the like, and further special tokens.
    special: Vec<AddedToken>,
    eos: Option<String>,
}

/// A token whose id in `tokenizer_config.json` is not the one that it gets.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct OtherId {
    pub token: String,
    pub listed: u64,
    pub given: Option<u32>,
}

impl AddedTokens {
    /// Reads `tokenizer_config.json`, and `added_tokens.json` where that lists no tokens.
    pub fn of(config: &Value, older: &Value) -> Self {
        let mut listed: Vec<(u64, AddedToken)> = match config["added_tokens_decoder"].as_object() {
            Some(tokens) => tokens
                .iter()
                .filter_map(|(id, token)| Some((id.parse().ok()?, added_token(token)?)))
                .collect(),
            None => older
                .as_object()
                .into_iter()
                .flatten()
                .filter_map(|(token, id)| {
                    Some((id.as_u64()?, AddedToken::from(token.clone(), false)))
                })
                .collect(),
        };
        listed.sort_by_key(|(id, _)| *id);
        let fields = config.as_object().into_iter().flatten();
        let named = fields.filter(|(name, _)| name.ends_with("_token")).map(|(_, token)| token);
        let further = ["extra_special_tokens", "additional_special_tokens"];
        let further = further.iter().flat_map(|field| tokens_of(&config[*field]));
        let special =
            named.chain(further).filter_map(added_token).map(|token| token.special(true)).collect();
        let eos = added_token(&config["eos_token"]).map(|token| token.content);
        Self { listed, special, eos }
    }

    /// Adds what the tokenizer lacks: first the listed tokens in the order of their ids, then the
    /// special ones. Each gets the next free id, which must be the one that is listed for it. An
    /// end-of-sequence token that nothing else names is none of the model's, and is not added.
    pub fn add_to(&self, tokenizer: &mut Tokenizer) -> tokenizers::Result<Option<OtherId>> {
        let is_special = |token: &AddedToken| {
            token.special || self.special.iter().any(|other| other.content == token.content)
        };
        let listed: Vec<AddedToken> =
            self.listed.iter().map(|(_, token)| token.clone().special(is_special(token))).collect();
        tokenizer.add_tokens(listed)?;
        let is_known = |token: &&AddedToken| {
            self.eos.as_ref() != Some(&token.content)
                || tokenizer.token_to_id(&token.content).is_some()
        };
        let special: Vec<AddedToken> = self.special.iter().filter(is_known).cloned().collect();
        tokenizer.add_special_tokens(special)?;
        for (id, token) in &self.listed {
            let given = tokenizer.token_to_id(&token.content);
            if given.map(u64::from) != Some(*id) {
                return Ok(Some(OtherId { token: token.content.clone(), listed: *id, given }));
            }
        }
        Ok(None)
    }
}

/// Further special tokens: a list, or an object by name.
fn tokens_of(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(tokens) => tokens.iter().collect(),
        Value::Object(tokens) => tokens.values().collect(),
        _ => Vec::new(),
    }
}

/// A token is a text, or an object with its flags; `null` is none.
fn added_token(value: &Value) -> Option<AddedToken> {
    if let Some(content) = value.as_str() {
        return (!content.is_empty()).then(|| AddedToken::from(content, true));
    }
    let content = value["content"].as_str().filter(|content| !content.is_empty())?;
    let flag = |name: &str| value[name].as_bool();
    let special = flag("special").unwrap_or(false);
    Some(
        AddedToken::from(content, special)
            .lstrip(flag("lstrip").unwrap_or(false))
            .rstrip(flag("rstrip").unwrap_or(false))
            .single_word(flag("single_word").unwrap_or(false))
            .normalized(flag("normalized").unwrap_or(!special)),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tokenizer() -> Tokenizer {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/bad_data/model/tokenizer.json");
        Tokenizer::from_file(path).expect("the tests' tokenizer")
    }

    fn ids(tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
        tokenizer.encode(text, false).expect("byte-level").get_ids().to_vec()
    }

    fn added(tokenizer: &mut Tokenizer, config: &Value, older: &Value) -> Option<OtherId> {
        AddedTokens::of(config, older).add_to(tokenizer).expect("tokens that can be added")
    }

    #[test]
    fn listed_tokens_get_their_ids_and_special_ones_the_next() {
        let mut tokenizer = tokenizer();
        let size = tokenizer.get_vocab_size(true) as u32;
        let config = json!({
            "added_tokens_decoder": {size.to_string(): {"content": "<|user|>", "special": true}},
            "eos_token": "</s>",
            "additional_special_tokens": ["<|end|>"],
            "add_bos_token": true,
        });
        assert_eq!(added(&mut tokenizer, &config, &Value::Null), None);
        assert_eq!(ids(&tokenizer, "<|user|><|end|></s>"), [size, size + 1, 1]);
    }

    #[test]
    fn older_folders_list_them_in_a_file_of_its_own() {
        let mut tokenizer = tokenizer();
        let size = tokenizer.get_vocab_size(true) as u32;
        let older = json!({"<|user|>": size});
        assert_eq!(added(&mut tokenizer, &json!({}), &older), None);
        assert_eq!(ids(&tokenizer, "<|user|>"), [size]);
    }

    #[test]
    fn an_id_that_a_token_does_not_get_is_an_error() {
        let mut tokenizer = tokenizer();
        let size = tokenizer.get_vocab_size(true) as u32;
        let listed = u64::from(size) + 7;
        let config = json!({"added_tokens_decoder": {listed.to_string(): {"content": "<|user|>"}}});
        let token = "<|user|>".to_owned();
        assert_eq!(
            added(&mut tokenizer, &config, &Value::Null),
            Some(OtherId { token, listed, given: Some(size) })
        );
    }

    #[test]
    fn a_token_that_is_there_already_is_left_as_it_is() {
        let mut tokenizer = tokenizer();
        let size = tokenizer.get_vocab_size(true);
        let config = json!({"added_tokens_decoder": {"1": {"content": "</s>", "lstrip": true}},
            "eos_token": {"content": "</s>", "lstrip": true}, "pad_token": null});
        assert_eq!(added(&mut tokenizer, &config, &Value::Null), None);
        assert_eq!(tokenizer.get_vocab_size(true), size);
    }
}
