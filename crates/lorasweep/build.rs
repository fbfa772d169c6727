//! Embeds the quickstart (`sweeps/quickstart.yaml`, its schema and `sweeps/quickstart/`), so that one binary
//! is enough to try it anywhere.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let sweeps = Path::new(&variable("CARGO_MANIFEST_DIR")?).join("sweeps");
    let mut files = Vec::new();
    for root in ["lorasweep.schema.json", "quickstart.yaml", "quickstart"] {
        println!("cargo:rerun-if-changed={}", sweeps.join(root).display());
        collect(&sweeps.join(root), &mut files)?;
    }
    let mut code = String::from("[\n");
    for path in &files {
        let name = path.strip_prefix(&sweeps).unwrap_or(path).display().to_string();
        let place = path.canonicalize()?.display().to_string();
        let _ = writeln!(code, "    ({name:?}, include_bytes!({place:?}) as &[u8]),");
    }
    code.push_str("]\n");
    if !files.contains(&sweeps.join("quickstart.yaml")) {
        return Err(io::Error::other(format!("{} has no quickstart.yaml", sweeps.display())));
    }
    fs::write(Path::new(&variable("OUT_DIR")?).join("quickstart.rs"), code)?;
    println!("cargo:rustc-env=LORASWEEP_BUILT={}{}", commit()?, variable("TARGET")?);
    println!("cargo:rustc-env=LORASWEEP_FEATURES={}", features());
    Ok(())
}

/// `commit 0123456789ab, ` of the package, or else of the working tree, where either has one.
fn commit() -> io::Result<String> {
    // `cargo package` notes the commit beside the manifest. A package may lie in a working tree of
    // something else, which git would answer for.
    let noted = Path::new(&variable("CARGO_MANIFEST_DIR")?).join(".cargo_vcs_info.json");
    if noted.exists() {
        let text = fs::read_to_string(noted)?;
        let hash = text.split_once("\"sha1\": \"").and_then(|(_, rest)| rest.get(..12));
        return Ok(hash.map_or_else(String::new, named));
    }
    let git = |args: &[&str]| {
        let output = Command::new("git").args(args).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        Some(text.trim().to_owned()).filter(|text| output.status.success() && !text.is_empty())
    };
    // A commit moves the branch, and the log of HEAD grows with each.
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]) {
        println!("cargo:rerun-if-changed={log}");
    }
    let hash = git(&["rev-parse", "--short=12", "HEAD"]);
    Ok(hash.as_deref().map_or_else(String::new, named))
}

fn named(hash: &str) -> String {
    format!("commit {hash}, ")
}

/// The package's features, sorted.
fn features() -> String {
    const PREFIX: &str = "CARGO_FEATURE_";
    let names = env::vars().filter_map(|(name, _)| Some(name.strip_prefix(PREFIX)?.to_lowercase()));
    let mut names: Vec<String> = names.filter(|name| name != "default").collect();
    names.sort();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

fn variable(name: &str) -> io::Result<String> {
    env::var(name).map_err(|error| io::Error::other(format!("{name}: {error}")))
}

/// Adds the file `path`, or every file below the folder `path`, in the order of their names.
fn collect(path: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    if path.is_file() {
        files.push(path.to_path_buf());
    } else if path.is_dir() {
        let mut entries = fs::read_dir(path)?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<io::Result<Vec<_>>>()?;
        entries.sort();
        for entry in entries {
            collect(&entry, files)?;
        }
    }
    Ok(())
}
