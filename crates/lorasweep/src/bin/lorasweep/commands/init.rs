//! `lorasweep init`: a short sweep file or the complete commented one, with the schema, or the
//! quickstart.

use std::fs::File;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::path::{Path, PathBuf};

use lorasweep::quickstart::{self, FILES};
use lorasweep::{Error, spec, store};

use crate::args::InitArgs;
use crate::error::CliError;
use crate::exit::Exit;
use crate::output;

pub fn run(args: &InitArgs) -> Result<Exit, CliError> {
    if args.quickstart { write_quickstart(args) } else { sweep_file(args) }
}

fn sweep_file(args: &InitArgs) -> Result<Exit, CliError> {
    let path = args.path.clone().unwrap_or_else(|| PathBuf::from("sweep.yaml"));
    refuse_overwriting(std::slice::from_ref(&path), args.force)?;
    let is_asked = !args.full && io::stdin().is_terminal() && io::stderr().is_terminal();
    let given = |given: &Option<PathBuf>, question: &str| match given {
        None if is_asked => ask(question).map_err(CliError::io("read a line of", "stdin")),
        given => Ok(given.clone()),
    };
    let model = given(&args.model, "Base model (a folder, or organisation/name on the hub)")?;
    let data = given(&args.data, "Training rows (a file, a folder or a pattern)")?;
    let [model, data] = [model, data].map(|it| it.map(|it| from_file(&it, &path)));
    let text = if args.full {
        fill_in(&spec::example(), model.as_deref(), data.as_deref())
    } else {
        brief(model.as_deref(), data.as_deref())
    };
    write(&path, text.as_bytes())?;
    // The first line names it, so that editors need no network.
    write(&path.with_file_name(spec::SCHEMA_FILE), spec::schema().as_bytes())?;
    output::result(&format!(
        "Wrote {path}. Next:\n  lorasweep check {path}",
        path = path.display()
    ));
    Ok(Exit::Done)
}

/// Asks a person for a path; `None` for an empty answer.
fn ask(question: &str) -> io::Result<Option<PathBuf>> {
    let mut stderr = io::stderr();
    write!(stderr, "{question}: ")?;
    stderr.flush()?;
    let mut line = String::new();
    io::stdin().read_line(&mut line)?;
    Ok(Some(line.trim()).filter(|line| !line.is_empty()).map(PathBuf::from))
}

/// A path that was given from the current folder, as the sweep file names it: from its own folder.
fn from_file(path: &Path, file: &Path) -> PathBuf {
    let is_beside = file.parent().is_none_or(|folder| folder == Path::new(""));
    // What is not there may be a name on the hub.
    if is_beside || path.is_absolute() || !path.exists() {
        return path.to_path_buf();
    }
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}

/// The short file: nothing in it needs to be changed, and each line is one that people change.
fn brief(model: Option<&Path>, data: Option<&Path>) -> String {
    let model = quoted(model.unwrap_or(Path::new("models/base")));
    let data = quoted(data.unwrap_or(Path::new("data/train.jsonl")));
    let schema = spec::SCHEMA_FILE;
    format!(
        "\
# yaml-language-server: $schema={schema}
# `lorasweep init --full` writes all keys with their explanations.
model: {model}
data:
  train: {data}
  # This share of the rows is set aside to validate on; or `validation: FILE` with rows of their own.
  validation_fraction: 0.1

# Each trial is proposed by what the earlier ones showed; others are grid, random and sobol.
method: bayes
# The most trials. It can be raised later: the sweep continues.
run_cap: 16

parameters:
  rank: [4, 8, 16, 32]
  # This many times the rank.
  lora_alpha: 2r
  learning_rate: {{distribution: log_uniform_values, min: 5e-5, max: 2e-3}}
  batch_size: [8, 16, 32]

train:
  epochs: 3
  # Longer rows are cut.
  max_seq_len: 1024
  lr_scheduler: cosine
  warmup_ratio: 0.03
"
    )
}

fn write_quickstart(args: &InitArgs) -> Result<Exit, CliError> {
    let dir = args.path.clone().unwrap_or_default();
    let paths: Vec<PathBuf> = FILES.iter().map(|(name, _)| dir.join(name)).collect();
    // A schema may be there from another `init`; what differs of it is kept.
    let own = |path: &&PathBuf| !path.ends_with(spec::SCHEMA_FILE);
    let own: Vec<PathBuf> = paths.iter().filter(own).cloned().collect();
    refuse_overwriting(&own, args.force)?;
    for (path, (_, contents)) in paths.iter().zip(FILES) {
        write(path, contents)?;
    }
    let sweep = dir.join(quickstart::SWEEP);
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
        Some(path) if !force => Err(Error::Exists { path: path.clone() }.into()),
        _ => Ok(()),
    }
}

/// Writes a file. What was in its place and is something else may be a person's work: that is kept.
fn write(path: &Path, contents: &[u8]) -> Result<(), CliError> {
    match store::read_own_file(path) {
        Ok(there) if there == contents => return Ok(()),
        Ok(there) => {
            let kept = keep(path, &there).map_err(CliError::io("keep a copy of", path))?;
            output::note(&format!("What was in {} is now in {}", path.display(), kept.display()));
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(CliError::io("replace", path)(error)),
    }
    Ok(store::write_file(path, contents).map_err(Error::from)?)
}

/// Copies what is in `path` into the first free `<path>.old-<n>`.
fn keep(path: &Path, there: &[u8]) -> io::Result<PathBuf> {
    let mut number = 1;
    loop {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".old-{number}"));
        let kept = PathBuf::from(name);
        match File::create_new(&kept) {
            Ok(mut file) => {
                file.write_all(there)?;
                return file.sync_all().map(|()| kept);
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(error),
        }
    }
}

/// Puts the person's model and training file in the place of the example's; with rows of their own a
/// share of these is validated on.
fn fill_in(example: &str, model: Option<&Path>, data: Option<&Path>) -> String {
    let mut section = "";
    let mut text = String::with_capacity(example.len());
    for line in example.lines() {
        let key = line.split(':').next().unwrap_or_default();
        let is_key = !key.trim().is_empty() && !key.trim_start().starts_with('#');
        if is_key && !key.starts_with(' ') {
            section = key;
        }
        match (section, key.trim()) {
            ("model", "model") if model.is_some() => put(&mut text, key, model, line),
            ("data", "train") if data.is_some() => put(&mut text, key, data, line),
            // Nobody knows whether there are such files beside the person's own.
            ("data", "validation" | "retention") if data.is_some() => {
                text.extend(["  # ", line.trim_start()]);
            }
            ("data", "# validation_fraction") if data.is_some() => {
                text.extend(["  ", line.trim_start_matches([' ', '#'])]);
            }
            _ => text += line,
        }
        text.push('\n');
    }
    text
}

fn put(text: &mut String, key: &str, path: Option<&Path>, line: &str) {
    text.extend([key, ": ", &quoted(path.unwrap_or(Path::new(""))), &comment(line)]);
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
    fn model_and_data_take_the_place_of_the_examples_which_name_no_other_files_then() {
        let example = "# model: no\nmodel: a/b  # the base\ndata:\n  train: x.jsonl\n  \
                       validation: v\n  # validation_fraction: 0.1\n  retention: y\ntrain:\n  train: 3\n";
        let filled = fill_in(example, Some(Path::new("my model")), Some(Path::new("d\"q.csv")));
        let expected = "# model: no\nmodel: \"my model\"  # the base\ndata:\n  train: \
                        \"d\\\"q.csv\"\n  # validation: v\n  validation_fraction: 0.1\n  \
                        # retention: y\ntrain:\n  train: 3\n";
        assert_eq!(filled, expected);
        assert_eq!(fill_in(example, None, None), example);
    }
}
