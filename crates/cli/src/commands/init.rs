//! `lorasweep init`: a commented sweep file, or the quickstart.

use std::path::{Path, PathBuf};

use crate::args::InitArgs;
use crate::error::CliError;
use crate::exit::Exit;
use crate::output;

/// The quickstart's files: path below the target folder, and content.
const QUICKSTART: &[(&str, &[u8])] = &include!(concat!(env!("OUT_DIR"), "/quickstart.rs"));
/// The quickstart's sweep file among them.
const QUICKSTART_SWEEP: &str = "quickstart.yaml";

pub fn run(args: &InitArgs) -> Result<Exit, CliError> {
    if args.quickstart { quickstart(args) } else { sweep_file(args) }
}

fn sweep_file(args: &InitArgs) -> Result<Exit, CliError> {
    let path = args.path.clone().unwrap_or_else(|| PathBuf::from("sweep.yaml"));
    let text = fill_in(&spec::example(), args.model.as_deref(), args.data.as_deref());
    refuse_overwriting(std::slice::from_ref(&path), args.force)?;
    store::write_file(&path, text.as_bytes())?;
    output::result(&format!(
        "Wrote {path}. Next:\n  lorasweep check {path}",
        path = path.display()
    ));
    Ok(Exit::Done)
}

fn quickstart(args: &InitArgs) -> Result<Exit, CliError> {
    if !QUICKSTART.iter().any(|(name, _)| *name == QUICKSTART_SWEEP) {
        return Err(CliError::NoQuickstart);
    }
    let dir = args.path.clone().unwrap_or_default();
    let paths: Vec<PathBuf> = QUICKSTART.iter().map(|(name, _)| dir.join(name)).collect();
    refuse_overwriting(&paths, args.force)?;
    for (path, (_, contents)) in paths.iter().zip(QUICKSTART) {
        store::write_file(path, contents)?;
    }
    let sweep = dir.join(QUICKSTART_SWEEP);
    output::result(&format!(
        "Wrote {} and {} files beside it. Next:\n  lorasweep run {}",
        sweep.display(),
        paths.len() - 1,
        sweep.display()
    ));
    Ok(Exit::Done)
}

fn refuse_overwriting(paths: &[PathBuf], force: bool) -> Result<(), CliError> {
    match paths.iter().find(|path| path.exists()) {
        Some(path) if !force => Err(CliError::Exists { path: path.clone() }),
        _ => Ok(()),
    }
}

/// Puts the person's model and training file in the place of the example's.
fn fill_in(example: &str, model: Option<&Path>, data: Option<&Path>) -> String {
    let mut section = "";
    let mut text = String::with_capacity(example.len());
    for line in example.lines() {
        let key = line.split(':').next().unwrap_or_default();
        let is_key = !key.trim().is_empty() && !key.trim_start().starts_with('#');
        if is_key && !key.starts_with(' ') {
            section = key;
        }
        let value = match (section, key.trim()) {
            ("model", "model") => model,
            ("data", "train") => data,
            _ => None,
        };
        match value {
            Some(path) => text.extend([key, ": ", &quoted(path), &comment(line)]),
            None => text += line,
        }
        text.push('\n');
    }
    text
}

/// A path as a YAML scalar: a JSON string is one, whatever it holds.
fn quoted(path: &Path) -> String {
    serde_json::Value::from(path.to_string_lossy()).to_string()
}

fn comment(line: &str) -> String {
    line.find(" #").map_or_else(String::new, |at| format!("  {}", line[at..].trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn model_and_data_take_the_place_of_the_examples_and_nothing_else_changes() {
        let example = "# model: no\nmodel: a/b  # the base\ndata:\n  train: x.jsonl\n  \
                       retention: y\ntrain:\n  train: 3\n";
        let filled = fill_in(example, Some(Path::new("my model")), Some(Path::new("d\"q.csv")));
        let expected = "# model: no\nmodel: \"my model\"  # the base\ndata:\n  train: \
                        \"d\\\"q.csv\"\n  retention: y\ntrain:\n  train: 3\n";
        assert_eq!(filled, expected);
        assert_eq!(fill_in(example, None, None), example);
    }
}
