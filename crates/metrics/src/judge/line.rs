//! Lines to and from a judge.

use std::io;

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

use super::ToScore;

/// Characters of a line that an error shows.
const SHOWN: usize = 200;

/// A score, with the id of its answer where the judge names it.
#[derive(Debug, Clone, PartialEq)]
pub struct Scored {
    pub id: Option<String>,
    pub score: f64,
}

/// The line that asks for a score, with its line end.
///
/// In ASCII, as Python's `json.dumps` writes it: a judge whose locale is not UTF-8 reads it as it is, and
/// no character of a model's answer ends the line for a program that knows more line ends than one.
pub fn question(asked: &ToScore<'_>) -> Vec<u8> {
    let mut line = Vec::new();
    let written = asked.serialize(&mut Serializer::with_formatter(&mut line, Ascii));
    // Texts become JSON, and a vector takes all of it.
    debug_assert!(written.is_ok());
    line.push(b'\n');
    line
}

struct Ascii;

impl Formatter for Ascii {
    fn write_string_fragment<W>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()>
    where
        W: ?Sized + io::Write,
    {
        for part in fragment.split_inclusive(|c: char| !c.is_ascii() || c == '\u{7f}') {
            let plain = part.trim_end_matches(|c: char| !c.is_ascii() || c == '\u{7f}');
            writer.write_all(plain.as_bytes())?;
            for c in part[plain.len()..].chars() {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(writer, "\\u{unit:04x}")?;
                }
            }
        }
        Ok(())
    }
}

/// Reads what a judge wrote.
pub fn read(line: &[u8]) -> Result<Scored, &'static str> {
    const NO_SCORE: &str = "it is neither a number nor {\"id\": .., \"score\": ..}";
    let text = String::from_utf8_lossy(line);
    let text = text.trim();
    if text.is_empty() {
        return Err("it is empty");
    }
    let (id, score) = if text.starts_with('{') {
        let value: serde_json::Value =
            serde_json::from_str(text).map_err(|_| "it begins with `{` but is not JSON")?;
        let score = value.get("score").ok_or("it has no `score`")?;
        let score = score.as_f64().ok_or("its `score` is not a number")?;
        let id = match value.get("id").ok_or("it has no `id`")? {
            serde_json::Value::String(id) => id.clone(),
            id @ serde_json::Value::Number(_) => id.to_string(),
            _ => return Err("its `id` is not that of an answer"),
        };
        (Some(id), score)
    } else {
        (None, text.parse().map_err(|_| NO_SCORE)?)
    };
    if score.is_finite() { Ok(Scored { id, score }) } else { Err("the score is not finite") }
}

/// A line as an error shows it: quoted, and cut where it is long.
pub fn shown(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let text = text.trim_end_matches(['\n', '\r']);
    let mut cut: String = text.chars().take(SHOWN).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    format!("{cut:?}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn number(line: &str) -> Result<f64, &'static str> {
        read(line.as_bytes()).map(|scored| scored.score)
    }

    #[test]
    fn a_score_is_a_number_alone_or_in_an_object_with_its_id() {
        assert_eq!(number(" 0.5\r\n"), Ok(0.5));
        assert_eq!(number("-1e3"), Ok(-1000.0));
        let with_id = |id: &str, score| Ok(Scored { id: Some(id.to_owned()), score });
        assert_eq!(read(br#"{"id": "a", "score": 1, "reason": "good"}"#), with_id("a", 1.0));
        assert_eq!(read(br#"{"id": 7, "score": 0.25}"#), with_id("7", 0.25));
    }

    #[test]
    fn what_is_no_finite_number_is_no_score() {
        for line in [
            "",
            "  ",
            "nan",
            "NaN",
            "inf",
            "-infinity",
            "1e999",
            "good",
            "1 2",
            "0,5",
            "True",
            "[1]",
            "{}",
            "{",
            r#"{"id": "a"}"#,
            r#"{"score": 1}"#,
            r#"{"id": "a", "score": null}"#,
            r#"{"id": "a", "score": "1"}"#,
            r#"{"id": "a", "score": NaN}"#,
            r#"{"id": "a", "score": true}"#,
            r#"{"id": null, "score": 1}"#,
            "\u{fffd}",
        ] {
            assert!(number(line).is_err(), "{line:?}");
        }
    }

    #[test]
    fn a_line_in_an_error_is_short_and_acts_on_no_terminal() {
        assert_eq!(shown(b"\x1b[2Jhi\n"), "\"\\u{1b}[2Jhi\"");
        assert!(shown("é".repeat(5000).as_bytes()).chars().count() < 2 * SHOWN);
    }

    proptest! {
        #[test]
        fn any_answer_is_one_line_of_ascii_with_the_same_values(
            output in "(\\PC|\\pC){0,30}", reference in proptest::option::of("(\\PC|\\pC){0,9}")
        ) {
            let reference = reference.as_deref();
            let asked = ToScore { id: "r:1", prompt: "é\u{2028}🙂", reference, output: &output };
            let line = question(&asked);
            prop_assert!(line.is_ascii() && !line.contains(&0x7f));
            prop_assert_eq!(line.iter().position(|byte| *byte == b'\n'), Some(line.len() - 1));
            let value: serde_json::Value = serde_json::from_slice(&line).unwrap();
            prop_assert_eq!(value["output"].as_str(), Some(output.as_str()));
            prop_assert_eq!(value["prompt"].as_str(), Some(asked.prompt));
            prop_assert_eq!(value["reference"].as_str(), reference);
        }

        #[test]
        fn no_line_of_any_program_ends_reading(line in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = (read(&line), shown(&line));
        }
    }
}
