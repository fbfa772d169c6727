//! Each crate as it is published: with all that it embeds, and with its licence.

use std::fs;
use std::path::{Component, Path, PathBuf};

fn crates() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut found: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| path.join("Cargo.toml").exists());
    found.sort();
    assert!(found.len() >= 10, "{found:?}");
    found
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
}

/// The paths in quotes behind `include_str!(` and `include_bytes!(`.
fn embedded(text: &str) -> Vec<&str> {
    ["include_str!(\"", "include_bytes!(\""]
        .into_iter()
        .flat_map(|call| text.split(call).skip(1))
        .filter_map(|rest| rest.split('"').next())
        .collect()
}

/// How deep below the crate's folder a path ends that begins in the source file's folder; `None`: outside.
fn depth(folders: usize, path: &str) -> Option<usize> {
    Path::new(path).components().try_fold(folders, |depth, part| match part {
        Component::ParentDir => depth.checked_sub(1),
        Component::Normal(_) => Some(depth + 1),
        _ => Some(depth),
    })
}

#[test]
fn a_crate_embeds_only_files_of_its_own_folder() {
    let mut count = 0;
    for crate_dir in crates() {
        let mut files = vec![crate_dir.join("build.rs")];
        files.retain(|path| path.exists());
        for folder in ["src", "tests", "benches", "examples"] {
            let folder = crate_dir.join(folder);
            if folder.is_dir() {
                sources(&folder, &mut files);
            }
        }
        for file in files {
            let text = fs::read_to_string(&file).unwrap();
            let below = file.parent().unwrap().strip_prefix(&crate_dir).unwrap();
            for path in embedded(&text) {
                let depth = depth(below.components().count(), path);
                assert!(depth.is_some(), "{}: {path} is outside its crate", file.display());
                count += 1;
            }
        }
    }
    assert!(count > 20, "{count} embedded files");
    assert_eq!(depth(2, "../../guides/x.md"), Some(2));
    assert_eq!(depth(2, "../../../x.md"), None);
}

#[test]
fn the_quickstart_lies_in_the_crate_that_embeds_it() {
    let build = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("build.rs")).unwrap();
    assert!(!build.contains("../"), "the build script reads outside its crate");
    assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join("sweeps/quickstart.yaml").is_file());
}

#[test]
fn a_crate_has_its_licence_beside_it_and_names_its_siblings_with_their_version() {
    for crate_dir in crates() {
        for licence in ["LICENSE-MIT", "LICENSE-APACHE"] {
            let text = fs::read_to_string(crate_dir.join(licence)).unwrap();
            assert!(text.len() > 500, "{}: {licence} is no licence", crate_dir.display());
        }
    }
    let workspace =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.toml")).unwrap();
    let siblings = workspace.lines().filter(|line| line.contains("{ path = \"crates/"));
    let version = format!("version = \"{}\"", env!("CARGO_PKG_VERSION"));
    let mut count = 0;
    for line in siblings {
        assert!(line.contains(&version), "{line}");
        count += 1;
    }
    assert_eq!(count, crates().len() - 1);
}
