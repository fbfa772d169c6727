//! Text of others (names of files and columns, logs, templates, errors of commands) in what every
//! command prints and writes; and a system that gives no threads.

#![cfg(unix)]
#![allow(clippy::disallowed_methods, reason = "a test moves its own model")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::{Ran, interrupted_sweep, lorasweep};

/// Sets the terminal's title, colours, clears the screen, reverses the direction of text; with
/// quotes, backquotes and a substitution.
const HOSTILE: &str = "a\x1b]0;T\x07\x1b[2J\u{9b}31m\u{202e}b\u{7f}`|$(touch INJECTED)";

fn is_plain(c: char) -> bool {
    let is_direction =
        matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    !is_direction && (!c.is_control() || matches!(c, '\n' | '\t'))
}

fn assert_plain(what: &str, text: &str) {
    assert!(text.chars().all(is_plain), "{what}: {text:?}");
}

/// Runs a command, all of whose words must be plain; returns both outputs.
fn plain(dir: &Path, args: &[&str]) -> Ran {
    let ran = lorasweep(dir, args);
    assert_plain(&format!("{args:?} stdout"), &ran.stdout);
    assert_plain(&format!("{args:?} stderr"), &ran.stderr);
    ran
}

fn hostile_folder() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join(HOSTILE);
    fs::create_dir(&folder).unwrap();
    (dir, folder)
}

fn shown(ran: &Ran) {
    let all = format!("{}{}", ran.stdout, ran.stderr);
    assert!(all.contains("\\u{1b}"), "the text is not shown at all: {all}");
}

#[test]
fn what_a_failed_command_said_does_nothing_to_a_terminal() {
    let (_dir, folder) = hostile_folder();
    let quoted = HOSTILE.replace('\x1b', r"\033").replace('\x07', r"\007");
    fs::write(folder.join("fail.sh"), format!("printf '{quoted}' >&2; exit 1\n")).unwrap();
    let sweep = "name: e\nmethod: grid\nparameters: {rank: [2]}\nmodel: x\ndata: {train: x}\n\
                 executor: {type: command, command: 'sh fail.sh {{trial_dir}} \"{{trial_dir}}\"'}\n";
    fs::write(folder.join("e.yaml"), sweep).unwrap();
    shown(&plain(&folder, &["check", "e.yaml"]));
    shown(&plain(&folder, &["run", "e.yaml"]));
    for args in [
        &["status", "results/e"][..],
        &["report", "results/e"],
        &["run", "e.yaml"],
        &["explain", "results/e"],
        &["export", "results/e", "--best", "--to", "out"],
        &["compare", "results/e", "results/e"],
        &["cancel", "results/e"],
        &["convert", "results/e", "--format", "mlflow", "--to", "out"],
    ] {
        plain(&folder, args);
    }
    shown(&plain(&folder, &["status", "results/e"]));
    for args in [&["status", "--json", "results/e"][..], &["report", "--json", "results/e"]] {
        let ran = plain(&folder, args);
        let value: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
        assert!(value.to_string().contains("\\u001b"), "{value}");
    }
    for file in ["report.txt", "ranking.csv"] {
        assert_plain(file, &fs::read_to_string(folder.join("results/e").join(file)).unwrap());
    }
    assert!(!folder.join("INJECTED").exists(), "a path was run");
}

#[test]
fn names_of_files_and_columns_do_nothing_to_a_terminal() {
    let (_dir, folder) = hostile_folder();
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("sweeps/quickstart/base");
    fs::create_dir(folder.join("base")).unwrap();
    for entry in fs::read_dir(base).unwrap().flatten() {
        fs::copy(entry.path(), folder.join("base").join(entry.file_name())).unwrap();
    }
    let json = |text: &str| serde_json::to_string(text).unwrap();
    let rows = format!("{{{}: 1}}\n{{\"text\": 3}}\nno JSON \x1b[2J\n", json(HOSTILE));
    fs::write(folder.join("rows.jsonl"), rows).unwrap();
    let row = json(&format!("say {HOSTILE}"));
    let good = format!("{{\"text\": {row}}}\n{{\"text\": {}}}\n", json(HOSTILE));
    fs::write(folder.join("good.jsonl"), good).unwrap();
    let chat = |n: u32| {
        let message = |role: &str, text: String| serde_json::json!({"role": role, "content": text});
        let messages = [message("user", format!("ask {n}")), message("assistant", "say".into())];
        format!("{}\n", serde_json::json!({ "messages": messages }))
    };
    fs::write(folder.join("chat.jsonl"), (0..4).map(chat).collect::<String>()).unwrap();
    let template = format!("{{{{ raise_exception({}) }}}}", json(HOSTILE));
    let sweep = |name: &str, model: &str, train: &str| {
        let text = format!(
            "method: grid\nparameters: {{rank: 8}}\nmodel: {model}\n\
             data: {{train: {train}, validation_fraction: 0.5}}\n"
        );
        fs::write(folder.join(name), text).unwrap();
    };
    let name = json(HOSTILE);
    sweep("rows.yaml", "base", "rows.jsonl");
    sweep("good.yaml", "base", "good.jsonl");
    sweep("chat.yaml", "base", "chat.jsonl");
    sweep("train.yaml", "base", &name);
    sweep("model.yaml", &name, "good.jsonl");
    fs::write(folder.join("key.yaml"), format!("method: grid\n{name}: 3\n")).unwrap();
    fs::write(folder.join("name.yaml"), format!("method: grid\nname: {name}\n")).unwrap();
    fs::write(folder.join(format!("{HOSTILE}.yaml")), "method: grid\n").unwrap();
    for file in ["rows", "train", "model", "key", "name", HOSTILE, "missing\x1b[2J"] {
        for command in ["check", "data", "run"] {
            let ran = plain(&folder, &[command, &format!("{file}.yaml")]);
            assert_ne!(ran.code, 0, "{file}: {}", ran.stdout);
        }
    }
    let data = plain(&folder, &["data", "good.yaml"]);
    assert_eq!(data.code, 0, "{}", data.stderr);
    shown(&data);
    assert_eq!(plain(&folder, &["check", "good.yaml"]).code, 0);
    fs::write(folder.join("base/chat_template.jinja"), template).unwrap();
    shown(&plain(&folder, &["data", "chat.yaml"]));

    for args in
        [&["status", HOSTILE][..], &["init", HOSTILE], &[HOSTILE], &["report", "--x\x1b[2J"]]
    {
        plain(&folder, args);
    }
}

#[test]
fn the_model_card_of_a_base_with_a_hostile_name_is_still_a_card() {
    let (_dir, folder) = hostile_folder();
    interrupted_sweep(&folder);
    // A card names the base's folder alone and not the way to it.
    let hostile = "mo`d|el";
    fs::rename(folder.join("model"), folder.join(hostile)).unwrap();
    let resolved = folder.join("results/small/resolved.json");
    let text = fs::read_to_string(&resolved).unwrap();
    fs::write(&resolved, text.replace("/model\"", &format!("/{hostile}\""))).unwrap();
    let to = folder.join("out").display().to_string();
    let ran = plain(&folder, &["export", "results/small", "--best", "--to", &to]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let card = fs::read_to_string(folder.join("out/README.md")).unwrap();
    assert_plain("README.md", &card);
    let row = card.lines().find(|line| line.starts_with("| base model |")).expect("a row");
    let bars = row.replace("\\|", "").matches('|').count();
    assert_eq!(bars, 3, "{row}");
    assert!(row.contains("``"), "the path's backquote does not end its code: {row}");
}

#[test]
fn a_system_that_gives_no_threads_is_an_error_and_no_panic() {
    let dir = tempfile::tempdir().unwrap();
    interrupted_sweep(dir.path());
    fs::write(dir.path().join("s.yaml"), "method: grid\n").unwrap();
    for args in [&["report", "results/small"][..], &["serve", "results/small"], &["run", "s.yaml"]]
    {
        let output = Command::new(env!("CARGO_BIN_EXE_lorasweep"))
            .args(args)
            .current_dir(dir.path())
            // No machine has room for such a stack.
            .env("RUST_MIN_STACK", (1_u64 << 50).to_string())
            .output();
        let ran = Ran::from(output.unwrap());
        assert_eq!(ran.code, 1, "{args:?}: {}", ran.stderr);
        assert!(ran.stderr.contains("failed to start a thread"), "{}", ran.stderr);
        assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
    }
}

#[test]
fn a_name_with_a_line_end_adds_no_line_to_what_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let sweep = interrupted_sweep(dir.path());
    let forged = "a\nsmall: finished";
    for file in ["resolved.json", "journal/driver-1.jsonl"] {
        let text = fs::read_to_string(sweep.join(file)).unwrap();
        // Records of versions without checksums are read.
        let lines = text.lines().map(|line| match line.find(",\"crc\":") {
            Some(end) => format!("{}}}\n", &line[..end]),
            None => format!("{line}\n"),
        });
        let text = lines.collect::<String>().replace("\"small\"", "\"a\\nsmall: finished\"");
        fs::write(sweep.join(file), text).unwrap();
    }
    let name = "a\\nsmall: finished";
    for args in [&["status", "results/small"][..], &["compare", "results/small:1", ":2"]] {
        let ran = plain(dir.path(), args);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert!(ran.stdout.contains(name) && !ran.stdout.contains(forged), "{}", ran.stdout);
    }
    let forged = dir.path().join("x\nerror: forged");
    fs::create_dir(&forged).unwrap();
    let model = forged.to_str().unwrap().replace('\n', "\\n");
    let text = format!(
        "name: s\nmethod: grid\nparameters: {{rank: 8}}\nmodel: \"{model}\"\n\
         data: {{train: t.jsonl, validation_fraction: 0.5}}\n"
    );
    fs::write(dir.path().join("t.jsonl"), "{\"text\": \"a\"}\n{\"text\": \"b\"}\n").unwrap();
    fs::write(dir.path().join("s.yaml"), text).unwrap();
    for args in [
        &["check", "s.yaml"][..],
        &["run", "s.yaml"],
        &["status", "x\nerror: forged"],
        &["export", "x\nerror: forged", "--to", "out"],
    ] {
        let ran = plain(dir.path(), args);
        assert_ne!(ran.code, 0);
        let is_forged = |line: &str| line.starts_with("error: forged");
        assert!(!ran.stderr.lines().any(is_forged), "{args:?}: {}", ran.stderr);
        assert!(ran.stderr.contains("\\nerror: forged"), "{args:?}: {}", ran.stderr);
    }
}
