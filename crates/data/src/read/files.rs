//! The files that a setting means: itself, those of a folder, or those that a pattern matches.

use std::path::{Path, PathBuf};

use super::super::error::DataError;
use super::open::is_data_file;

/// The data files that `path` means, in the order of their names: `path` itself where it is a
/// file, else the files below that folder, or those that match it as a pattern (`*`, `?`, `[..]`,
/// `**` for any folders). Hidden files, and files of a folder whose names end in no data format,
/// are passed over.
pub fn data_files(path: &Path) -> Result<Vec<PathBuf>, DataError> {
    let mut files = Vec::new();
    if path.is_dir() {
        list_into(path, &mut files)?;
    } else if path.exists() || !is_pattern(path) {
        return Ok(vec![path.to_owned()]);
    } else {
        matches_into(path, &mut files)?;
    }
    files.sort();
    if files.is_empty() {
        return Err(DataError::NoFiles { path: path.to_owned(), is_folder: path.is_dir() });
    }
    Ok(files)
}

fn is_pattern(path: &Path) -> bool {
    path.to_string_lossy().contains(['*', '?', '['])
}

fn list_into(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), DataError> {
    let failed = DataError::io("list", folder);
    let entries: Vec<_> = match std::fs::read_dir(folder).and_then(Iterator::collect) {
        Ok(entries) => entries,
        Err(error) => return Err(failed(error)),
    };
    for entry in entries {
        let path = std::fs::DirEntry::path(&entry);
        if is_hidden(&path) {
            continue;
        }
        // A link to a folder could lead back here.
        let kind = entry.file_type().map_err(DataError::io("look at", &path))?;
        if kind.is_dir() {
            list_into(&path, files)?;
        } else if is_data_file(&path) {
            files.push(path);
        }
    }
    Ok(())
}

fn matches_into(pattern: &Path, files: &mut Vec<PathBuf>) -> Result<(), DataError> {
    let bad = |message: String| DataError::Pattern { path: pattern.to_owned(), message };
    let found = glob::glob(&pattern.to_string_lossy()).map_err(|error| bad(error.to_string()))?;
    for path in found {
        let path = path.map_err(|error| bad(error.to_string()))?;
        if path.is_file() && !is_hidden(&path) {
            files.push(path);
        }
    }
    Ok(())
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(names: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a temporary folder");
        for name in names {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("making folders");
            std::fs::write(path, "x").expect("writing a file");
        }
        dir
    }

    fn names(dir: &Path, files: &[PathBuf]) -> Vec<String> {
        let name = |file: &PathBuf| file.strip_prefix(dir).map(|name| name.display().to_string());
        files.iter().map(|file| name(file).expect("a file of the folder")).collect()
    }

    #[test]
    fn a_folder_means_its_data_files_in_the_order_of_their_names() {
        let dir = folder(&["b.jsonl", "a/1.csv", "README.md", ".hidden.jsonl", "c.parquet"]);
        let files = data_files(dir.path()).expect("there are files");
        assert_eq!(names(dir.path(), &files), ["a/1.csv", "b.jsonl", "c.parquet"]);
    }

    #[test]
    fn a_pattern_means_what_it_matches_and_a_name_means_itself() {
        let dir = folder(&["train-1.jsonl", "train-0.jsonl", "test-0.jsonl", "odd[1].jsonl"]);
        let files = |name: &str| data_files(&dir.path().join(name)).expect("there are files");
        assert_eq!(names(dir.path(), &files("train-*.jsonl")), ["train-0.jsonl", "train-1.jsonl"]);
        assert_eq!(names(dir.path(), &files("odd[1].jsonl")), ["odd[1].jsonl"]);
        assert_eq!(names(dir.path(), &files("missing.jsonl")), ["missing.jsonl"]);
    }

    #[test]
    fn what_means_no_file_is_an_error_that_names_it() {
        let dir = folder(&["README.md"]);
        let told = |name: &str| data_files(&dir.path().join(name)).expect_err("nothing to read");
        assert!(told("").to_string().contains("holds no data file"));
        assert!(told("*.jsonl").to_string().contains("matches no file"));
        assert!(told("a[.jsonl").to_string().contains("a[.jsonl"));
    }
}
