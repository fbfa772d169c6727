//! Every file in `tests/bad` is a sweep with mistakes; its whole message is a snapshot beside it.

use std::fs;
use std::path::{Path, PathBuf};

use spec::{PathKind, resolve};

/// A world in which a folder `model` and a file `train.jsonl` lie beside every sweep.
fn look(path: &Path) -> PathKind {
    match path.to_str() {
        Some("sweeps/model") => PathKind::Folder,
        Some("sweeps/train.jsonl") => PathKind::File,
        _ => PathKind::Missing,
    }
}

fn bad_files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad");
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .expect("the folder of bad files is there")
        .map(|entry| entry.expect("its entries can be read").path())
        .filter(|path| path.extension().is_some_and(|e| e == "yaml"))
        .collect();
    files.sort();
    files
}

#[test]
fn every_bad_file_is_refused_with_all_its_mistakes() {
    let files = bad_files();
    assert!(files.len() >= 20);
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../bad");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    for path in files {
        let text = fs::read_to_string(&path).expect("bad files are text");
        let name = path.file_name().expect("files have names");
        let errors = resolve(&text, &Path::new("sweeps").join(name), &look)
            .expect_err("a bad file is not a sweep");
        let stem = path.file_stem().expect("files have names").to_string_lossy().into_owned();
        settings.bind(|| insta::assert_snapshot!(stem, errors));
    }
}
