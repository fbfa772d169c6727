//! Sweeps on two CUDA devices of software: see `crates/trainer/tests/fake_cuda`.

#![cfg(unix)]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use spec::{Event, SweepState};
use store::SweepFolder;

use crate::common::lorasweep;

/// Long after which a sweep of seconds has not ended.
const LONGEST: Duration = Duration::from_secs(600);

/// The folder of the libraries; `None` where there is no C++ compiler, which is said.
fn device() -> Option<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../trainer/tests/fake_cuda/build.sh");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fake_cuda");
    fs::create_dir_all(&folder).unwrap();
    let lock = File::create(folder.join("lock")).unwrap();
    lock.lock().unwrap();
    let built = Command::new("sh").arg(script).arg(&folder).status().unwrap();
    match built.code() {
        Some(0) => Some(folder),
        Some(3) => None,
        _ => panic!("the device of software is not built"),
    }
}

/// A small sweep on two GPUs in a folder of its own.
fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(lorasweep(dir.path(), &["init", "--quickstart", "."]).code, 0);
    let rows = |name: &str, rows: usize| {
        let path = dir.path().join("quickstart").join(name);
        let text = fs::read_to_string(&path).unwrap();
        let kept: Vec<&str> = text.lines().take(rows).collect();
        fs::write(path, kept.join("\n") + "\n").unwrap();
    };
    rows("train.jsonl", 16);
    rows("validation.jsonl", 4);
    let sweep = "name: gpus\nmethod: grid\nmetric: {name: eval_loss, goal: minimize}\n\
                 parameters:\n  seed: {values: [1, 2, 3]}\n  rank: {values: [2, 4]}\n\
                 model: quickstart/base\ndata:\n  train: quickstart/train.jsonl\n  \
                 validation: quickstart/validation.jsonl\n\
                 train: {epochs: 1, batch_size: 8, max_seq_len: 32, save_strategy: epoch}\n\
                 executor: {devices: ['cuda:0', 'cuda:1'], max_packed: 2, checkpoint_seconds: 1}\n";
    fs::write(dir.path().join("gpus.yaml"), sweep).unwrap();
    dir
}

fn start(dir: &Path, device: &Path, settings: &[(&str, &str)]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_lorasweep"))
        .args(["run", "gpus.yaml", "--quiet"])
        .current_dir(dir)
        .env("LORASWEEP_CUDA_LIBS", device)
        .envs(settings.iter().copied())
        .stdout(Stdio::null())
        .stderr(File::create(dir.join("log")).unwrap())
        .spawn()
        .unwrap()
}

fn finish(dir: &Path, mut sweep: Child) {
    let status = sweep.wait().unwrap();
    assert!(status.success(), "{}", fs::read_to_string(dir.join("log")).unwrap());
}

/// The sweep's folder, once there is one.
fn results(dir: &Path) -> Option<SweepFolder> {
    SweepFolder::open(dir.join("results/gpus")).ok()
}

fn state(dir: &Path) -> SweepState {
    results(dir).unwrap().state().unwrap()
}

/// Trials, in their order, with the losses of their best evaluations.
fn losses(state: &SweepState) -> Vec<f64> {
    let loss = |trial: &spec::TrialState| trial.best().unwrap().eval_loss;
    state.trials.values().map(loss).collect()
}

/// The devices that workers have taken trials on.
fn devices(dir: &Path) -> BTreeSet<String> {
    let device = |event| match event {
        Event::WorkerStarted { device, .. } => Some(device),
        _ => None,
    };
    results(dir).unwrap().events().unwrap().into_iter().filter_map(device).collect()
}

fn assert_close(ours: &[f64], theirs: &[f64]) {
    assert_eq!(ours.len(), 6);
    for (ours, theirs) in ours.iter().zip(theirs) {
        // cuBLAS adds up in another order beside other trials.
        assert!((ours / theirs - 1.0).abs() < 1e-3, "{ours} against {theirs}");
    }
}

#[test]
fn a_sweep_on_two_gpus_goes_on_where_a_worker_is_killed_or_a_gpu_is_lost() {
    let Some(device) = device() else { return };
    let whole = folder();
    finish(whole.path(), start(whole.path(), &device, &[]));
    let expected = losses(&state(whole.path()));
    assert_eq!(devices(whole.path()), ["cuda:0", "cuda:1"].map(str::to_owned).into());

    let killed = folder();
    let mut sweep = start(killed.path(), &device, &[]);
    kill_a_worker(killed.path(), &mut sweep);
    finish(killed.path(), sweep);
    assert_close(&losses(&state(killed.path())), &expected);

    let lost = folder();
    let mark = lost.path().join("lost");
    let settings = [
        ("FAKE_CUDA_LOST", "60"),
        ("FAKE_CUDA_LOST_DEVICE", "1"),
        ("FAKE_CUDA_LOST_FILE", mark.to_str().unwrap()),
    ];
    finish(lost.path(), start(lost.path(), &device, &settings));
    assert!(mark.exists(), "the device was not lost");
    assert_close(&losses(&state(lost.path())), &expected);
    let log = fs::read_to_string(lost.path().join("log")).unwrap();
    assert!(log.contains("the GPU cuda:1"), "{log}");
    let report = lorasweep(lost.path(), &["report", "results/gpus"]);
    assert!(report.stdout.contains("cuda:1"), "{}", report.stdout);
}

/// Kills the first worker that lives with SIGKILL.
fn kill_a_worker(dir: &Path, sweep: &mut Child) {
    let began = Instant::now();
    loop {
        assert!(began.elapsed() < LONGEST, "no worker has begun");
        assert!(sweep.try_wait().unwrap().is_none(), "the sweep ended before a worker was killed");
        let workers = results(dir).map(|folder| folder.workers().unwrap()).unwrap_or_default();
        let holder = workers.iter().find_map(|worker| worker.holder().unwrap());
        if let Some(holder) = holder {
            Command::new("kill").args(["-9", &holder.pid.to_string()]).status().unwrap();
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
