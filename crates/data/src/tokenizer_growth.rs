//! How much longer a `tokenizer.json` makes a text: a few replacements in a row can turn a letter
//! into gigabytes, so that is known before the file is used.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde_json::Value;
use tokenizers::{NormalizedString, Normalizer, Tokenizer};

/// The steps of a known model make a text at most a few times as long, for instance `<n>` of a line
/// end. Replacements by patterns count as if everything matched, so that this is far above it.
const MOST_GROWTH: f64 = 4096.0;
/// The same for ordinary text, measured.
const MOST_GROWTH_OF_ASCII: usize = 64;

/// The parts of a `tokenizer.json` that can make a text longer.
#[derive(Deserialize)]
struct Parts {
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pre_tokenizer: Value,
    #[serde(default)]
    post_processor: Value,
    #[serde(default)]
    decoder: Value,
}

/// Reads a `tokenizer.json` and tries it; refuses one that makes texts much longer.
pub(super) fn load(bytes: &[u8]) -> tokenizers::Result<Tokenizer> {
    let parts: Parts = serde_json::from_slice(bytes)?;
    let Parts { normalizer, pre_tokenizer, post_processor, decoder } = &parts;
    let tokens = growth(normalizer) * growth(pre_tokenizer) * growth(post_processor);
    for (what, growth) in [("tokens of it", tokens), ("the text of tokens", growth(decoder))] {
        if growth > MOST_GROWTH {
            return Err(format!(
                "its replacements may make a text {growth:.0} times as long ({MOST_GROWTH} is \
                 allowed) when {what} are made; get the tokenizer from a source that you trust"
            )
            .into());
        }
    }
    let tokenizer = Tokenizer::from_bytes(bytes)?;
    if let Some(normalizer) = tokenizer.get_normalizer() {
        let ascii: String = (' '..='~').cycle().take(1000).collect();
        let mut text = NormalizedString::from(ascii.as_str());
        normalizer.normalize(&mut text)?;
        let times = text.get().len() / ascii.len();
        if times > MOST_GROWTH_OF_ASCII {
            return Err(format!(
                "its normalizer makes ordinary text {times} times as long \
                 ({MOST_GROWTH_OF_ASCII} is allowed); get the tokenizer from a source that you trust"
            )
            .into());
        }
    }
    // The library gives up on some files only when they are used.
    tokenizer.encode("a", true)?;
    Ok(tokenizer)
}

/// By how much a step, or a sequence of steps, makes a text longer at most.
fn growth(step: &Value) -> f64 {
    let all = |name: &str| step[name].as_array().into_iter().flatten();
    let length = |text: &Value| text.as_str().unwrap_or_default().chars().count() as f64;
    match step["type"].as_str() {
        Some("Sequence") => ["normalizers", "pretokenizers", "processors", "decoders"]
            .into_iter()
            .flat_map(all)
            .map(growth)
            .product(),
        Some("Replace") => {
            let content = length(&step["content"]);
            let replaced = length(&step["pattern"]["String"]);
            if replaced > 0.0 {
                (content / replaced).max(1.0)
            } else {
                // A pattern may match between any two characters.
                content + 1.0
            }
        }
        Some("Precompiled") => longest_replacement(&step["precompiled_charsmap"]),
        Some("Prepend") => length(&step["prepend"]).max(1.0),
        Some("TemplateProcessing") => {
            let texts = all("single").filter(|piece| piece.get("Sequence").is_some()).count();
            (texts as f64).max(1.0)
        }
        _ => 1.0,
    }
}

/// The longest text by which `SentencePiece`'s table replaces a character. The table is the length
/// of a trie in four bytes, the trie, and the texts, each ended by a zero byte.
fn longest_replacement(table: &Value) -> f64 {
    let bytes = BASE64_STANDARD.decode(table.as_str().unwrap_or_default()).unwrap_or_default();
    let texts = bytes
        .split_first_chunk::<4>()
        .and_then(|(length, rest)| rest.get(usize::try_from(u32::from_le_bytes(*length)).ok()?..));
    // The library says what is wrong with a table that cannot be read.
    let lengths = texts.unwrap_or_default().split(|byte| *byte == 0).map(<[u8]>::len);
    (lengths.max().unwrap_or(0) as f64).max(1.0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn replace(pattern: &Value, content: &str) -> Value {
        json!({ "type": "Replace", "pattern": pattern, "content": content })
    }

    fn in_a_row(step: &Value, count: usize) -> Value {
        json!({ "type": "Sequence", "normalizers": vec![step.clone(); count] })
    }

    #[test]
    fn replacements_in_a_row_multiply() {
        let twenty = replace(&json!({ "String": "a" }), &"a".repeat(20));
        assert_eq!(growth(&in_a_row(&twenty, 3)), 8000.0);
        let nested = in_a_row(&in_a_row(&twenty, 2), 2);
        assert_eq!(growth(&nested), 160_000.0);
        assert!(growth(&in_a_row(&replace(&json!({ "Regex": "" }), "a"), 40)) > MOST_GROWTH);
    }

    #[test]
    fn a_table_of_replacements_counts_by_its_longest_text() {
        let table = |text: &str| {
            let bytes =
                [&4_u32.to_le_bytes()[..], &[9; 4], b"fi\0", text.as_bytes(), b"\0"].concat();
            json!({ "type": "Precompiled", "precompiled_charsmap": BASE64_STANDARD.encode(bytes) })
        };
        assert_eq!(growth(&table("ffi")), 3.0);
        assert_eq!(growth(&table(&"x".repeat(9000))), 9000.0);
    }

    #[test]
    fn what_known_models_do_is_no_growth() {
        let space = replace(&json!({ "String": " " }), "▁");
        assert_eq!(growth(&in_a_row(&space, 5)), 1.0);
        assert_eq!(growth(&replace(&json!({ "String": "``" }), "\"")), 1.0);
        let spaces = replace(&json!({ "Regex": " {2,}" }), " ");
        assert!(growth(&in_a_row(&spaces, 4)) <= MOST_GROWTH);
        assert_eq!(growth(&Value::Null), 1.0);
    }

    #[test]
    fn a_file_that_multiplies_text_is_refused_before_it_is_used() {
        let model = json!({ "type": "WordLevel", "vocab": { "a": 0 }, "unk_token": "a" });
        let with = |step: &Value, count| {
            let file = json!({
                "version": "1.0", "added_tokens": [], "model": model,
                "normalizer": in_a_row(step, count),
            });
            load(&serde_json::to_vec(&file).expect("JSON")).map_err(|error| error.to_string())
        };
        let twenty = replace(&json!({ "String": "a" }), &"a".repeat(20));
        let error = with(&twenty, 8).expect_err("it multiplies");
        assert!(error.contains("times as long"), "{error}");
        let blank = replace(&json!({ "Regex": "." }), &"b".repeat(100));
        let error = with(&blank, 1).expect_err("it multiplies");
        assert!(error.contains("ordinary text 100 times"), "{error}");
        assert!(with(&twenty, 1).is_ok());
    }
}
