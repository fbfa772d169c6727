//! Writes conversations with chat templates, for `scripts/check_chat_templates.py`.
//!
//! Each line of the input is an object with a `template` (a file), `special_tokens` and a `row`; each
//! line of the output has the row's `text` and its `targets`, in characters, or an `error`.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{BufRead, Write};
use std::ops::Range;

use data::{ChatText, ChatWriter};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Job {
    template: String,
    special_tokens: BTreeMap<String, String>,
    /// As JSON text, whose numbers are to be kept.
    row: String,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut writers: BTreeMap<String, Result<ChatWriter, String>> = BTreeMap::new();
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let job: Job = serde_json::from_str(&line?)?;
        if !writers.contains_key(&job.template) {
            let source = std::fs::read_to_string(&job.template)?;
            let writer = ChatWriter::new((&job.template).into(), source, job.special_tokens);
            writers.insert(job.template.clone(), writer.map_err(|error| error.to_string()));
        }
        let result = match &writers[&job.template] {
            Ok(writer) => writer.write(&job.row),
            Err(error) => Err(error.clone()),
        };
        writeln!(out, "{}", result.map_or_else(|error| json!({ "error": error }), shown))?;
    }
    Ok(())
}

fn shown(written: ChatText) -> Value {
    let ChatText { text, targets, unwritten } = written;
    let place = |byte: usize| text[..byte].chars().count();
    let chars = |range: Range<usize>| [place(range.start), place(range.end)];
    let targets: Vec<_> = targets.into_iter().map(chars).collect();
    let unwritten: Vec<_> = unwritten.keys().map(ToString::to_string).collect();
    json!({ "text": text, "targets": targets, "unwritten": unwritten })
}
