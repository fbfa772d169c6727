//! What leaves the house: which files an export has, what it refuses, and what is left of one that
//! was interrupted.

#![allow(clippy::disallowed_methods, reason = "a test changes its own files")]

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::{Ran, interrupted_sweep, lorasweep};
use serde_json::Value;

fn export(dir: &Path, more: &[&str]) -> Ran {
    lorasweep(dir, &[&["export", "results/small", "--to", "out"], more].concat())
}

/// The folder of the adapter that is exported unasked.
fn best_adapter(sweep: &Path) -> PathBuf {
    sweep.join("trials/trial-002/adapter")
}

fn read(dir: &Path, name: &str) -> String {
    fs::read_to_string(dir.join("out").join(name)).unwrap()
}

fn origin(dir: &Path) -> Value {
    serde_json::from_str(&read(dir, "lorasweep.json")).unwrap()
}

/// A safetensors file without tensors.
fn empty_safetensors() -> Vec<u8> {
    [&2_u64.to_le_bytes()[..], b"{}"].concat()
}

#[test]
fn every_chat_template_of_the_model_is_exported_and_nothing_beside_them() {
    let dir = tempfile::tempdir().unwrap();
    interrupted_sweep(dir.path());
    let model = dir.path().join("model");
    fs::create_dir(model.join("additional_chat_templates")).unwrap();
    let templates = [
        "chat_template.jinja",
        "chat_template.json",
        "tokenizer_config.json",
        "additional_chat_templates/tool_use.jinja",
        "additional_chat_templates/rag.jinja",
    ];
    for name in templates {
        fs::write(model.join(name), format!("{{# {name} #}}")).unwrap();
    }
    for name in ["notes.txt", "additional_chat_templates/notes.txt"] {
        fs::write(model.join(name), "mine").unwrap();
    }
    let ran = export(dir.path(), &[]);
    assert_eq!((ran.code, &*ran.stderr), (0, ""));
    assert!(!read(dir.path(), "SHA256SUMS").contains(".lorasweep"), "a mark is no file of it");
    for name in templates {
        assert_eq!(read(dir.path(), name), format!("{{# {name} #}}"));
        assert!(read(dir.path(), "SHA256SUMS").contains(&format!("  {name}\n")), "{name}");
    }
    assert_eq!(fs::read_dir(dir.path().join("out/additional_chat_templates")).unwrap().count(), 2);
    assert!(!dir.path().join("out/notes.txt").exists());
}

#[test]
fn a_model_without_a_chat_template_leaves_with_the_one_that_was_learnt() {
    let dir = tempfile::tempdir().unwrap();
    let sweep = store::SweepFolder::open(interrupted_sweep(dir.path())).unwrap();
    let learnt = |chat_template: Option<&str>| {
        let (identity, results) = (sweep.identity().unwrap(), dir.path().join("results"));
        let mut opened = store::SweepDir::open(&results, &identity, "name: small\n").unwrap();
        let plain_chat = Some(spec::PlainChat { chat_template: chat_template.map(str::to_owned) });
        let facts = spec::DataFacts { plain_chat, ..spec::DataFacts::default() };
        opened.dir.record(&[spec::Event::DataPrepared { facts }]).unwrap();
    };
    learnt(Some("{{ messages }}"));
    assert_eq!(export(dir.path(), &[]).stderr, "");
    assert_eq!(read(dir.path(), "chat_template.jinja"), "{{ messages }}");
    assert!(read(dir.path(), "SHA256SUMS").contains("  chat_template.jinja\n"));

    fs::write(dir.path().join("model/chat_template.jinja"), "added later").unwrap();
    let ran = export(dir.path(), &["--force"]);
    assert!(ran.stderr.contains("had no chat template when the sweep ran"), "{}", ran.stderr);
    assert_eq!(read(dir.path(), "chat_template.jinja"), "{{ messages }}");

    fs::remove_file(dir.path().join("model/chat_template.jinja")).unwrap();
    learnt(None);
    let ran = export(dir.path(), &["--force"]);
    assert!(ran.stderr.contains("no template can write what was learnt"), "{}", ran.stderr);
    assert!(!dir.path().join("out/chat_template.jinja").exists());
}

#[test]
fn the_card_names_no_path_of_this_machine() {
    let dir = tempfile::tempdir().unwrap();
    interrupted_sweep(dir.path());
    fs::write(dir.path().join("model/config.json"), r#"{"_name_or_path": "org/name"}"#).unwrap();
    assert_eq!(export(dir.path(), &[]).code, 0);
    let card = read(dir.path(), "README.md");
    let path = dir.path().to_str().unwrap();
    assert!(!card.contains(path) && !read(dir.path(), "lorasweep.json").contains(path), "{card}");
    assert!(card.contains("| base model | the local folder `model`, which its config.json says"));
    assert!(card.contains("loaded from `org/name`") && !card.contains("\nbase_model:"), "{card}");
    assert!(card.contains("vllm serve path/to/the/base --enable-lora --lora"), "{card}");
}

#[test]
#[cfg(unix)]
fn no_link_is_followed_and_no_extra_file_leaves() {
    use std::os::unix::fs::symlink;
    let dir = tempfile::tempdir().unwrap();
    let sweep = interrupted_sweep(dir.path());
    let adapter = best_adapter(&sweep);
    let secret = dir.path().join("id_rsa");
    fs::write(&secret, "secret").unwrap();
    symlink(&secret, adapter.join("notes.txt")).unwrap();
    symlink(&secret, adapter.join("vocab.json")).unwrap();
    symlink(&secret, dir.path().join("model/merges.txt")).unwrap();
    fs::write(adapter.join("more.txt"), "mine").unwrap();
    let ran = export(dir.path(), &[]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("merges.txt` is a link to"), "{}", ran.stderr);
    for name in ["notes.txt", "vocab.json", "merges.txt", "more.txt"] {
        assert!(!dir.path().join("out").join(name).exists(), "{name}");
    }
    fs::remove_file(adapter.join("adapter_config.json")).unwrap();
    symlink(&secret, adapter.join("adapter_config.json")).unwrap();
    for command in [&["export", "results/small", "--to", "out2"][..], &["report", "results/small"]]
    {
        let ran = lorasweep(dir.path(), command);
        assert_eq!(ran.code, 1);
        assert!(ran.stderr.contains("it is a symbolic link"), "{}", ran.stderr);
    }
    assert!(!dir.path().join("out2").exists());
    assert!(!sweep.join("best").exists());
}

#[test]
#[cfg(unix)]
fn a_link_in_the_place_of_an_adapters_folder_is_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    let sweep = interrupted_sweep(dir.path());
    let adapter = best_adapter(&sweep);
    let elsewhere = dir.path().join("private");
    fs::rename(&adapter, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &adapter).unwrap();
    let ran = export(dir.path(), &["--trial", "2"]);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("a link is in its place"), "{}", ran.stderr);
    assert!(!dir.path().join("out").exists());
}

#[test]
#[cfg(unix)]
fn a_models_files_in_a_hubs_cache_are_links_to_its_blobs_and_are_copied() {
    let dir = tempfile::tempdir().unwrap();
    interrupted_sweep(dir.path());
    let cache = dir.path().join("models--org--name");
    let snapshot = cache.join("snapshots/abc");
    fs::create_dir_all(&snapshot).unwrap();
    fs::create_dir_all(cache.join("blobs")).unwrap();
    fs::write(cache.join("blobs/1"), "{}").unwrap();
    std::os::unix::fs::symlink("../../blobs/1", snapshot.join("tokenizer.json")).unwrap();
    let resolved = dir.path().join("results/small/resolved.json");
    let text = fs::read_to_string(&resolved).unwrap();
    let model = dir.path().join("model");
    fs::write(&resolved, text.replace(model.to_str().unwrap(), snapshot.to_str().unwrap()))
        .unwrap();
    let ran = export(dir.path(), &[]);
    assert_eq!((ran.code, &*ran.stderr), (0, ""));
    assert_eq!(read(dir.path(), "tokenizer.json"), "{}");
    let card = read(dir.path(), "README.md");
    assert!(card.contains("\nbase_model: \"org/name\"\n"), "{card}");
    assert!(card.contains("| base model | `org/name`, revision `abc` |"), "{card}");
    assert!(card.contains("vllm serve org/name"), "{card}");
}

#[test]
fn a_damaged_adapter_is_neither_exported_nor_put_among_the_best() {
    let dir = tempfile::tempdir().unwrap();
    let sweep = interrupted_sweep(dir.path());
    assert_eq!(lorasweep(dir.path(), &["report", "results/small"]).code, 0);
    let file = best_adapter(&sweep).join("adapter_model.safetensors");
    let whole = fs::read(&file).unwrap();
    let mut flipped = whole.clone();
    flipped[3] ^= 0x40;
    for damaged in [&flipped[..], &whole[..5], b""] {
        fs::write(&file, damaged).unwrap();
        for command in
            [&["export", "results/small", "--to", "out"][..], &["report", "results/small"]]
        {
            let ran = lorasweep(dir.path(), command);
            assert_eq!(ran.code, 1, "{command:?}");
            assert!(ran.stderr.contains("its checksum is wrong"), "{}", ran.stderr);
            assert!(
                ran.stderr.contains("help: take the adapter of another epoch"),
                "{}",
                ran.stderr
            );
        }
        assert!(!dir.path().join("out").exists());
        assert_eq!(fs::read(sweep.join("best/adapter_model.safetensors")).unwrap(), whole);
    }
    let other = lorasweep(dir.path(), &["export", "results/small", "--trial", "1", "--to", "out"]);
    assert_eq!(other.code, 0, "{}", other.stderr);
}

#[test]
fn results_of_an_earlier_version_have_no_checksums_and_are_not_vouched_for() {
    let dir = tempfile::tempdir().unwrap();
    let adapter = best_adapter(&interrupted_sweep(dir.path()));
    fs::remove_file(adapter.join("SHA256SUMS")).unwrap();
    let ran = export(dir.path(), &[]);
    assert_eq!(ran.code, 1, "it is no complete file");
    assert!(ran.stderr.contains("is not a complete safetensors file"), "{}", ran.stderr);
    fs::write(adapter.join("adapter_model.safetensors"), empty_safetensors()).unwrap();
    let ran = export(dir.path(), &[]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("without checksums"), "{}", ran.stderr);
    let sums = read(dir.path(), "SHA256SUMS");
    assert!(sums.contains("# adapter_model.safetensors is not verified"), "{sums}");
    let vouches =
        |line: &str| !line.starts_with('#') && line.ends_with("  adapter_model.safetensors");
    assert!(!sums.lines().any(vouches), "{sums}");
    assert_eq!(origin(dir.path())["adapter_is_verified"], false);
}

#[test]
#[cfg(unix)]
fn permissions_are_those_of_any_new_file() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let adapter = best_adapter(&interrupted_sweep(dir.path()));
    let private = fs::Permissions::from_mode(0o600);
    fs::set_permissions(adapter.join("adapter_model.safetensors"), private.clone()).unwrap();
    fs::set_permissions(dir.path().join("model/tokenizer.json"), private).unwrap();
    fs::write(dir.path().join("new"), "").unwrap();
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode();
    assert_eq!(export(dir.path(), &[]).code, 0);
    for entry in fs::read_dir(dir.path().join("out")).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), mode(&dir.path().join("new")), "{}", path.display());
    }
}

#[test]
fn a_folder_of_peft_training_keeps_its_checkpoints() {
    let dir = tempfile::tempdir().unwrap();
    interrupted_sweep(dir.path());
    let out = dir.path().join("out");
    fs::create_dir_all(out.join("checkpoint-500")).unwrap();
    for name in ["adapter_config.json", "checkpoint-500/optimizer.pt"] {
        fs::write(out.join(name), "theirs").unwrap();
    }
    let ran = export(dir.path(), &["--force"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("it has no lorasweep.json"), "{}", ran.stderr);
    fs::write(out.join("lorasweep.json"), "{}").unwrap();
    let ran = export(dir.path(), &["--force"]);
    assert_eq!(ran.code, 2);
    for name in ["adapter_config.json", "checkpoint-500/optimizer.pt", "lorasweep.json"] {
        let said = format!("`{name}` was not written by lorasweep");
        assert!(ran.stderr.contains(&said), "{}", ran.stderr);
    }
    assert_eq!(read(dir.path(), "checkpoint-500/optimizer.pt"), "theirs");
    assert_eq!(read(dir.path(), "adapter_config.json"), "theirs");
}

#[test]
fn an_export_without_its_model_says_that_it_has_no_tokenizer() {
    let dir = tempfile::tempdir().unwrap();
    interrupted_sweep(dir.path());
    fs::rename(dir.path().join("model"), dir.path().join("moved")).unwrap();
    let ran = export(dir.path(), &[]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("no tokenizer and no chat template"), "{}", ran.stderr);
    assert!(ran.stderr.contains("is not there any more"), "{}", ran.stderr);
    let card = read(dir.path(), "README.md");
    assert!(card.contains("AutoTokenizer.from_pretrained(\"path/to/the/base\")"), "{card}");
}

#[test]
fn what_a_person_put_into_best_stays() {
    let dir = tempfile::tempdir().unwrap();
    let sweep = interrupted_sweep(dir.path());
    assert_eq!(lorasweep(dir.path(), &["report", "results/small"]).code, 0);
    fs::write(sweep.join("best/notes.txt"), "mine").unwrap();
    assert_eq!(lorasweep(dir.path(), &["report", "results/small"]).code, 0);
    assert_eq!(fs::read_to_string(sweep.join("best/notes.txt")).unwrap(), "mine");
    let names = |dir: &Path| -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    assert!(names(&sweep).iter().all(|name| !name.contains(".replaced-")), "{:?}", names(&sweep));
}

/// Kills at any moment leave the former export or the new one, and the next call tidies up.
#[test]
#[cfg(unix)]
fn a_killed_export_leaves_neither_litter_nor_a_gap() {
    use std::process::{Command, Stdio};
    use std::time::Duration;
    let dir = tempfile::tempdir().unwrap();
    interrupted_sweep(dir.path());
    assert_eq!(export(dir.path(), &[]).code, 0);
    for round in 0..30 {
        let mut child = Command::new(env!("CARGO_BIN_EXE_lorasweep"))
            .args(["export", "results/small", "--to", "out", "--force"])
            .current_dir(dir.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(2 + 7 * round));
        // It may have ended by itself.
        let _ = child.kill();
        child.wait().unwrap();
        assert!(dir.path().join("out/README.md").is_file(), "round {round}");
    }
    let ran = export(dir.path(), &["--force"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let entries = fs::read_dir(dir.path()).unwrap();
    let names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
    let of_out = names.iter().filter(|name| name.to_string_lossy().starts_with("out"));
    assert_eq!(of_out.count(), 1, "{names:?}");
}

/// The program as a user who may read but not write: another one, where the tests run as root.
#[cfg(unix)]
fn as_reader(dir: &Path, args: &[&str]) -> Ran {
    use std::os::unix::fs::MetadataExt;
    use std::os::unix::process::CommandExt;
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_lorasweep"));
    command.args(args).current_dir(dir);
    if fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0) {
        command.uid(65534).gid(65534);
    }
    command.output().unwrap().into()
}

#[test]
#[cfg(unix)]
fn a_finished_sweep_that_may_only_be_read_is_reported_and_exported() {
    use std::os::unix::fs::PermissionsExt;
    fn walk(dir: &Path, mode: u32) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, mode);
            }
            let bits = if path.is_dir() { mode | 0o111 } else { mode };
            fs::set_permissions(&path, fs::Permissions::from_mode(bits)).unwrap();
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let sweep = interrupted_sweep(dir.path());
    assert_eq!(lorasweep(dir.path(), &["report", "results/small"]).code, 0);
    let page = fs::read_to_string(sweep.join("report.html")).unwrap();
    walk(dir.path(), 0o444);
    let outside = dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::set_permissions(&outside, fs::Permissions::from_mode(0o777)).unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o555)).unwrap();
    let ran = as_reader(dir.path(), &["export", "results/small", "--to", "outside/adapter"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let ran = as_reader(dir.path(), &["report", "results/small"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("--to DIR` writes them elsewhere"), "{}", ran.stderr);
    assert!(ran.stdout.contains("002"), "{}", ran.stdout);
    assert_eq!(fs::read_to_string(sweep.join("report.html")).unwrap(), page);
    let ran = as_reader(dir.path(), &["report", "results/small", "--to", "outside/report"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    for file in ["report.html", "ranking.csv", "best/adapter_config.json"] {
        assert!(outside.join("report").join(file).is_file(), "{file}");
    }
    let ran = as_reader(dir.path(), &["convert", "results/small", "--csv", "outside/all.csv"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    // So that it can be removed.
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    walk(dir.path(), 0o644);
}

#[test]
fn a_report_elsewhere_takes_the_place_of_a_report_only() {
    let dir = tempfile::tempdir().unwrap();
    interrupted_sweep(dir.path());
    fs::create_dir(dir.path().join("mine")).unwrap();
    fs::write(dir.path().join("mine/report.html"), "mine").unwrap();
    let report = |to: &str| lorasweep(dir.path(), &["report", "results/small", "--to", to]);
    assert_eq!(report("mine").code, 2);
    assert_eq!(fs::read_to_string(dir.path().join("mine/report.html")).unwrap(), "mine");
    assert_eq!(report("new").code, 0);
    assert_eq!(report("new").code, 0);
    // The folder of another sweep has a report of its own.
    fs::create_dir(dir.path().join("results/other")).unwrap();
    let resolved = dir.path().join("results/small/resolved.json");
    fs::copy(resolved, dir.path().join("results/other/resolved.json")).unwrap();
    let refused = report("results/other");
    assert_eq!(refused.code, 2);
    assert!(refused.stderr.contains("results folder of another sweep"), "{}", refused.stderr);
}

#[test]
fn convert_replaces_no_file_and_no_folder_of_somebody_else() {
    let dir = tempfile::tempdir().unwrap();
    interrupted_sweep(dir.path());
    fs::write(dir.path().join("thesis.csv"), "mine,all mine\n").unwrap();
    fs::create_dir_all(dir.path().join("runs/trial-of-mine")).unwrap();
    fs::write(dir.path().join("runs/trial-of-mine/data.csv"), "mine").unwrap();
    for args in [["--csv", "thesis.csv"], ["--optuna", "thesis.csv"], ["--tensorboard", "runs"]] {
        let args = [&["convert", "results/small", "--force"][..], &args].concat();
        let ran = lorasweep(dir.path(), &args);
        assert_eq!(ran.code, 2, "{}", ran.stderr);
        let is_said = |text: &&str| ran.stderr.contains(*text);
        assert!(["is not replaced", "stays as it is"].iter().any(is_said), "{}", ran.stderr);
    }
    assert_eq!(fs::read_to_string(dir.path().join("thesis.csv")).unwrap(), "mine,all mine\n");
    assert!(dir.path().join("runs/trial-of-mine/data.csv").is_file());
}
