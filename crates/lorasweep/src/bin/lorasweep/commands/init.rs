//! `lorasweep init`: a commented sweep file with its schema, or the quickstart.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
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
    let text = fill_in(&spec::example(), args.model.as_deref(), args.data.as_deref());
    refuse_overwriting(std::slice::from_ref(&path), args.force)?;
    write(&path, text.as_bytes())?;
    // The first line names it, so that editors need no network.
    write(&path.with_file_name(spec::SCHEMA_FILE), spec::schema().as_bytes())?;
    output::result(&format!(
        "Wrote {path}. Next:\n  lorasweep check {path}",
        path = path.display()
    ));
    Ok(Exit::Done)
}

fn write_quickstart(args: &InitArgs) -> Result<Exit, CliError> {
    if !quickstart::is_embedded() {
        return Err(Error::NoQuickstart.into());
    }
    let dir = args.path.clone().unwrap_or_default();
    let paths: Vec<PathBuf> = FILES.iter().map(|(name, _)| dir.join(name)).collect();
    refuse_overwriting(&paths, args.force)?;
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
