//! The guides and the pages beside the code: what they tell a reader to type works, and what they name exists.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use lorasweep::Guide;
use spec::PathKind;

use crate::common::{lorasweep, options};

/// Longest line, so that the text reads well in a terminal and in a difference.
const WIDEST: usize = 112;

/// What a block of commands may need that a test does not have; anything else runs here.
const NEEDS: &[&str] = &["cargo", "gpu", "hub", "python", "slurm", "your-files"];

/// A fenced block: what stands behind the fence, its first line's number, its text.
struct Block {
    info: String,
    line: usize,
    text: String,
}

/// The repository, by the path from it, as links lead through it.
fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// The pages beside the code and every guide, by their paths in the repository.
fn pages() -> BTreeMap<PathBuf, String> {
    let beside = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"];
    let mut paths: Vec<PathBuf> = beside.iter().map(PathBuf::from).collect();
    let crates = repository().join("crates");
    for entry in fs::read_dir(&crates).unwrap() {
        let name = entry.unwrap().file_name();
        let Ok(guides) = fs::read_dir(crates.join(&name).join("guides")) else { continue };
        let files = guides.map(|entry| PathBuf::from(entry.unwrap().file_name()));
        let below = Path::new("crates").join(&name).join("guides");
        paths.extend(
            files.filter(|file| file.extension().is_some_and(|e| e == "md")).map(|f| below.join(f)),
        );
    }
    let read = |path: PathBuf| {
        let text = fs::read_to_string(repository().join(&path)).unwrap();
        (path, text)
    };
    paths.into_iter().map(read).collect()
}

fn blocks(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (number, line) in text.lines().enumerate() {
        match (line.trim_start().strip_prefix("```"), open.take()) {
            (Some(info), None) => {
                open = Some(Block { info: info.into(), line: number + 1, text: String::new() });
            }
            (Some(_), Some(block)) => blocks.push(block),
            (None, Some(mut block)) => {
                block.text += line;
                block.text.push('\n');
                open = Some(block);
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block is not closed");
    blocks
}

#[test]
fn the_program_lists_every_guide_and_prints_it_as_it_is_in_the_repository() {
    let dir = tempfile::tempdir().unwrap();
    let list = lorasweep(dir.path(), &["guide"]);
    assert_eq!(list.code, 0);
    let mut pages = pages();
    pages.retain(|path, _| path.starts_with("crates"));
    assert_eq!(pages.len(), Guide::all().len());
    for (path, text) in &pages {
        let name = path.file_stem().unwrap().to_str().unwrap();
        let title = text.lines().next().unwrap().strip_prefix("# ").unwrap();
        assert!(list.stdout.contains(&format!("  {name} ")), "{name}: {}", list.stdout);
        assert!(list.stdout.contains(title), "{title}: {}", list.stdout);
        let shown = lorasweep(dir.path(), &["guide", name]);
        assert_eq!((shown.code, shown.stdout.trim_end()), (0, text.trim_end()), "{name}");
    }
}

#[test]
fn a_guide_that_does_not_exist_is_refused_with_those_that_do() {
    let dir = tempfile::tempdir().unwrap();
    let ran = lorasweep(dir.path(), &["guide", "slurn"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("'slurm'"), "{}", ran.stderr);
}

/// In the order of a page its blocks run in one folder, which has the quickstart's sweep in it with its
/// results. Only the quickstart is smaller than the one that is shipped.
#[test]
fn every_command_of_the_guides_runs_or_says_what_it_needs() {
    let finished = tempfile::tempdir().unwrap();
    assert_eq!(lorasweep(finished.path(), &["init", "--quickstart", "."]).code, 0);
    shrink(finished.path());
    assert_eq!(lorasweep(finished.path(), &["run", "quickstart.yaml", "--quiet"]).code, 0);
    let mut ran = 0;
    for (path, text) in pages() {
        let dir = tempfile::tempdir().unwrap();
        copy(finished.path(), dir.path());
        for block in blocks(&text) {
            let place = format!("{}:{}", path.display(), block.line);
            let words: Vec<&str> = block.info.split_whitespace().collect();
            match words[..] {
                ["sh", "run"] => run(dir.path(), &block.text, &place),
                ["sh", "needs", what] => assert!(NEEDS.contains(&what), "{place}: {what}"),
                ["sh", ..] => panic!("{place}: say `sh run`, or `sh needs` and what"),
                _ => continue,
            }
            ran += usize::from(words[1] == "run");
        }
    }
    assert!(ran > 20, "{ran} blocks");
}

fn run(dir: &Path, commands: &str, place: &str) {
    let program = Path::new(env!("CARGO_BIN_EXE_lorasweep")).parent().unwrap();
    let path = std::env::join_paths(
        std::iter::once(program.to_path_buf())
            .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
    );
    let output = Command::new("sh")
        .args(["-euc", commands])
        .current_dir(dir)
        .env("PATH", path.unwrap())
        .env("LORASWEEP_CACHE", dir.join("cache"))
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{place}: {}\n{commands}\n{out}\n{err}", output.status);
    shrink(dir);
}

/// Makes the quickstart's sweep one of seconds, wherever a block has unpacked it.
fn shrink(dir: &Path) {
    let below = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    for folder in below.filter(|path| path.is_dir()).chain([dir.to_path_buf()]) {
        let file = folder.join("quickstart.yaml");
        let Ok(text) = fs::read_to_string(&file) else { continue };
        let small = text
            .replace("epochs: 12", "epochs: 3")
            .replace("[2, 8, 32]", "[8]")
            .replace("[0.0001, 0.0005, 0.002, 0.01]", "[0.0005, 0.001, 0.002]")
            .replace("[4, 16]", "[16]");
        fs::write(file, small).unwrap();
    }
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name())).unwrap();
        if path.is_dir() {
            fs::create_dir(to.join(&name)).unwrap();
            copy(&path, &to.join(&name));
        } else {
            fs::copy(&path, to.join(&name)).unwrap();
        }
    }
}

#[test]
fn every_command_and_option_that_is_named_exists() {
    let mut found = 0;
    for (path, text) in pages() {
        for (line, code) in code(&text) {
            for named in code.split("lorasweep ").skip(1) {
                check_command(named, &format!("{}:{line}: {code}", path.display()));
                found += 1;
            }
        }
    }
    assert!(found > 50, "{found} commands");
}

/// What a page shows as code, with its line: lines of commands, and words in backquotes.
fn code(text: &str) -> Vec<(usize, &str)> {
    let mut code = Vec::new();
    let mut block = None;
    for (number, line) in text.lines().enumerate() {
        if let Some(info) = line.trim_start().strip_prefix("```") {
            block = if block.is_some() { None } else { Some(info) };
            continue;
        }
        match block {
            // A remark behind a command is prose.
            Some(info) if info.starts_with("sh") => {
                code.push((number + 1, line.split(" # ").next().unwrap()));
            }
            Some(_) => {}
            None => {
                let spans = line.split('`').skip(1).step_by(2);
                code.extend(spans.map(|span| (number + 1, span)));
            }
        }
    }
    code
}

/// What follows `lorasweep ` must be a command with options that it has.
fn check_command(named: &str, place: &str) {
    let command = named.split(['|', ';', '>', '&', ')', '"']).next().unwrap();
    let words: Vec<&str> = command.split_whitespace().collect();
    let Some(name) = words.first().filter(|word| !word.starts_with("--")) else { return };
    let known = options(name);
    assert!(!known.is_empty(), "there is no command `{name}`: {place}");
    for word in words.iter().filter(|word| word.starts_with("--")) {
        let option = word.split('=').next().unwrap();
        assert!(known.contains(option), "`lorasweep {name}` has no {option}: {place}");
    }
}

#[test]
fn every_relative_link_leads_to_a_file() {
    let mut found = 0;
    for (path, text) in pages() {
        let folder = repository().join(path.parent().unwrap());
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.contains("://") || link.starts_with('#') {
                continue;
            }
            found += 1;
            let file = link.split('#').next().unwrap();
            assert!(folder.join(file).exists(), "{}: {link}", path.display());
        }
    }
    assert!(found > 40, "{found} links");
}

/// A block may be a part of a sweep file; the rest is the quickstart's.
#[test]
fn every_piece_of_a_sweep_file_is_one_that_lorasweep_reads() {
    let quickstart = fs::read_to_string(repository().join("sweeps/quickstart.yaml")).unwrap();
    let look = |path: &Path| match path.extension().and_then(|end| end.to_str()) {
        Some("jsonl" | "zst" | "gguf") => PathKind::File,
        _ => PathKind::Folder,
    };
    let mut found = 0;
    for (path, text) in pages() {
        for block in blocks(&text).iter().filter(|block| block.info.starts_with("yaml")) {
            let place = format!("{}:{}", path.display(), block.line);
            let file = completed(&block.text, &quickstart);
            if let Err(mistakes) = spec::resolve(&file, Path::new(&place), &look) {
                panic!("{mistakes}\n{file}");
            }
            found += 1;
        }
    }
    assert!(found > 10, "{found} blocks");
}

/// The piece, and the sections of the whole that it does not have.
fn completed(piece: &str, whole: &str) -> String {
    let key = |line: &str| {
        let begins = line.starts_with(|c: char| c.is_ascii_lowercase());
        begins.then(|| line.split(':').next().unwrap_or_default().to_owned())
    };
    let given: Vec<String> = piece.lines().filter_map(key).collect();
    let mut text = piece.to_owned();
    let mut keeps = false;
    for line in whole.lines() {
        if let Some(key) = key(line) {
            keeps = !given.contains(&key);
        }
        if keeps && !line.starts_with('#') {
            text += line;
            text.push('\n');
        }
    }
    text
}

#[test]
fn no_line_is_wider_than_a_terminal_shows() {
    for (path, text) in pages() {
        for (number, line) in text.lines().enumerate() {
            let width = line.chars().count();
            // A table's row cannot be broken.
            let is_row = line.starts_with('|') && path.starts_with("crates");
            assert!(is_row || width <= WIDEST, "{}:{}: {width}", path.display(), number + 1);
        }
    }
}
