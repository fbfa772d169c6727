//! Embeds the quickstart (`sweeps/quickstart.yaml`, its schema and `sweeps/quickstart/`), so that one binary
//! is enough to try it anywhere.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let sweeps = Path::new(&variable("CARGO_MANIFEST_DIR")?).join("../../sweeps");
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
    fs::write(Path::new(&variable("OUT_DIR")?).join("quickstart.rs"), code)?;
    println!("cargo:rustc-env=LORASWEEP_TARGET={}", variable("TARGET")?);
    Ok(())
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
