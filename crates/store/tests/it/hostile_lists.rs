//! Lists of what lorasweep wrote (checksums, manifests of reports and plots) that were damaged or
//! written by somebody else: nothing outside the folder is touched, and no file goes that the list
//! does not name with its content.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use sha2::{Digest, Sha256};
use store::{
    AdapterCheck, CHECKSUMS, Ours, PlotFile, ReportFile, SweepFolder, replace_dir, verify_adapter,
};
use tempfile::TempDir;

const PLOTS: &str = "plots/.lorasweep-plots.json";
const REPORT: &str = ".lorasweep-report.json";

/// A name that a list may give: of a file of ours, of a person's, of one elsewhere, of none.
fn name() -> impl Strategy<Value = String> {
    const NAMES: &[&str] = &[
        "adapter_config.json",
        "adapter_model.safetensors",
        "notes.txt",
        "gap.svg",
        "report.html",
        "../home/precious",
        "../../home/precious",
        "../../../home/precious",
        "/etc/hostname",
        "",
        ".",
        "..",
        "a/../b",
        "a\u{0}b",
        "runs/",
    ];
    prop_oneof![
        6 => prop::sample::select(NAMES).prop_map(str::to_owned),
        1 => "[ -~]{0,12}",
    ]
}

/// A hash that is that of some file's content, or of nothing.
fn hash() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => prop::sample::select(&["mine", "precious", "weights", "{}"][..])
            .prop_map(|text| format!("{:x}", Sha256::digest(text.as_bytes()))),
        1 => "[0-9a-fA-F]{62,66}",
        1 => Just(String::new()),
    ]
}

/// Lines of a file of checksums, and what is none.
fn checksums() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        5 => (hash(), name()).prop_map(|(hash, name)| format!("{hash}  {name}").into_bytes()),
        2 => (hash(), name()).prop_map(|(hash, name)| format!("# written as {hash}  {name}").into_bytes()),
        1 => (hash(), name()).prop_map(|(hash, name)| format!("{hash} *{name}").into_bytes()),
        1 => prop::collection::vec(any::<u8>(), 0..90),
    ];
    prop::collection::vec(line, 0..8).prop_map(|lines| lines.join(&b"\n"[..]))
}

/// A manifest, and what is none.
fn manifest() -> impl Strategy<Value = Vec<u8>> {
    let files = prop::collection::btree_map(name(), prop::collection::vec(hash(), 0..3), 0..8);
    prop_oneof![
        6 => (prop::sample::select(&[0_u64, 1, 1, 1, 2, u64::MAX][..]), files)
            .prop_map(|(v, files)| serde_json::json!({"v": v, "files": files}).to_string().into_bytes()),
        1 => prop::collection::vec(any::<u8>(), 0..90),
        1 => (1..3000_usize).prop_map(|depth| "[".repeat(depth).into_bytes()),
    ]
}

/// A folder `sweep` with files of ours and a person's, and `home` beside it.
fn world() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let sweep = dir.path().join("sweep");
    for folder in ["home", "sweep/plots/runs", "sweep/adapter"] {
        fs::create_dir_all(dir.path().join(folder)).unwrap();
    }
    fs::write(dir.path().join("home/precious"), "precious").unwrap();
    for mine in ["plots/notes.txt", "adapter/notes.txt", "notes.txt"] {
        fs::write(sweep.join(mine), "changed since").unwrap();
    }
    (dir, sweep)
}

fn is_untouched(dir: &Path, sweep: &Path) -> Result<(), TestCaseError> {
    prop_assert_eq!(fs::read_to_string(dir.join("home/precious")).unwrap(), "precious");
    for mine in ["plots/notes.txt", "adapter/notes.txt", "notes.txt"] {
        prop_assert_eq!(fs::read_to_string(sweep.join(mine)).unwrap(), "changed since");
    }
    Ok(())
}

fn is_of_export(name: &Path) -> bool {
    let names = ["adapter_config.json", "adapter_model.safetensors", "notes.txt", CHECKSUMS];
    names.iter().any(|known| name == Path::new(known))
}

/// As many as `PROPTEST_CASES` says, else few: every case syncs to the disk.
fn few_cases() -> ProptestConfig {
    let is_asked_for = std::env::var_os("PROPTEST_CASES").is_some();
    if is_asked_for { ProptestConfig::default() } else { ProptestConfig::with_cases(64) }
}

proptest! {
    #![proptest_config(few_cases())]

    #[test]
    fn checksums_of_anything_vouch_only_for_what_they_name_with_its_content(text in checksums()) {
        let (dir, sweep) = world();
        let adapter = sweep.join("adapter");
        fs::write(adapter.join("adapter_config.json"), "{}").unwrap();
        fs::write(adapter.join("adapter_model.safetensors"), "weights").unwrap();
        fs::write(adapter.join(CHECKSUMS), &text).unwrap();
        if let Ok(check) = verify_adapter(&adapter) {
            prop_assert_eq!(check, AdapterCheck::Verified);
            let text = String::from_utf8(text).unwrap();
            for (name, content) in [("adapter_config.json", "{}"), ("adapter_model.safetensors", "weights")] {
                let line = format!("{:x}  {name}", Sha256::digest(content));
                prop_assert!(text.lines().any(|it| it == line), "{text:?}");
            }
        }
        let ours = Ours::by_checksums(is_of_export, CHECKSUMS);
        let _ = replace_dir(&adapter, ours, |new| {
            fs::write(new.join("adapter_config.json"), "new")?;
            Ok(ours.write_checksums(new)?)
        });
        is_untouched(dir.path(), &sweep)?;
    }

    #[test]
    fn lists_of_anything_make_no_file_elsewhere_or_changed_since_ours(
        plots in manifest(),
        report in manifest(),
    ) {
        let (dir, sweep) = world();
        fs::write(sweep.join("report.html"), "changed since").unwrap();
        fs::write(sweep.join("plots/gap.svg"), "changed since").unwrap();
        fs::write(sweep.join(PLOTS), plots).unwrap();
        fs::write(sweep.join(REPORT), report).unwrap();
        let folder = SweepFolder::at(&sweep);
        let plot = PlotFile { name: "gap.svg".to_owned(), bytes: b"new".to_vec() };
        let kept = folder.write_plots(&[plot]).unwrap();
        prop_assert_eq!(kept.len(), 1);
        let kept = folder.write_report(&ReportFile::ReportHtml, b"new").unwrap();
        prop_assert!(kept.is_some());
        let _ = folder.has_report();
        for mine in ["report.html", "plots/gap.svg"] {
            prop_assert_eq!(fs::read_to_string(sweep.join(mine)).unwrap(), "changed since");
        }
        is_untouched(dir.path(), &sweep)?;
    }
}
