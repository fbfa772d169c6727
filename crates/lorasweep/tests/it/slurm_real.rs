//! Sweeps on a real Slurm of two nodes: `scripts/slurm/test.sh` brings it up, runs these one after
//! the other, and ends it. Whatever happens to jobs, nodes and drivers, the ranking is that of the
//! same sweep on one machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::common::lorasweep;

const LOCAL: &str = "{type: local, device: cpu, max_packed: 2}";
const SLURM: &str = "{type: slurm, device: cpu, max_packed: 2, max_jobs: 2, cpus_per_task: 1, \
                     mem: 1500M, gpus_per_node: 1, time: \"10:00\", checkpoint_seconds: 1}";
/// Longer than anything here takes, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(500);

/// A folder with a small sweep in it: six trials of the quickstart's model, packed by two. None has a
/// rate so high that what other company rounds differently grows into another loss.
fn sweep(executor: &str) -> TempDir {
    let dir = TempDir::new().expect("there is room for temporary files");
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("sweeps/quickstart");
    let example = example.canonicalize().expect("the quickstart is there");
    let example = example.display();
    let text = format!(
        "name: small\nmethod: grid\nmodel: {example}/base\n\
         data: {{train: {example}/train.jsonl, validation: {example}/validation.jsonl}}\n\
         parameters: {{rank: {{values: [2, 8]}}, learning_rate: {{values: [0.0002, 0.0005, 0.002]}}}}\n\
         train: {{epochs: 3, batch_size: 16, lora_alpha: 32, lr_scheduler: constant, max_seq_len: 64}}\n\
         executor: {executor}\n"
    );
    fs::write(dir.path().join("small.yaml"), text).expect("files can be written");
    dir
}

/// Trials in the order of the ranking, with their losses.
fn ranking(dir: &TempDir) -> Vec<(String, String)> {
    let text = fs::read_to_string(dir.path().join("results/small/ranking.csv"))
        .expect("the ranking is there");
    let rows = text.lines().skip(1).map(|line| line.split(',').collect::<Vec<_>>());
    // The last digit may differ: sums over examples are taken in another order.
    rows.map(|row| (row[1].to_owned(), row[3][..row[3].len().min(7)].to_owned())).collect()
}

fn local_ranking() -> Vec<(String, String)> {
    let dir = sweep(LOCAL);
    let ran = lorasweep(dir.path(), &["run", "small.yaml", "--quiet"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    ranking(&dir)
}

/// A driver in the background.
fn start(dir: &TempDir) -> Child {
    Command::new(env!("CARGO_BIN_EXE_lorasweep"))
        .args(["run", "small.yaml", "--quiet"])
        .current_dir(dir.path())
        .stdout(Stdio::null())
        .spawn()
        .expect("it starts")
}

fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "still waiting: {what}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn status(dir: &TempDir) -> Option<Value> {
    let ran = lorasweep(dir.path(), &["status", "results/small", "--json"]);
    let sweeps: Value = serde_json::from_str(&ran.stdout).ok()?;
    Some(sweeps[0].clone())
}

/// Waits until a trial has taken this many steps, and gives the place of a worker that trains.
fn until_it_trains(dir: &TempDir, steps: u64) -> String {
    until("training", || {
        let status = status(dir)?;
        let trials = status["trials"].as_array()?;
        let taken: u64 = trials.iter().filter_map(|trial| trial["step"].as_u64()).sum();
        let jobs = status["jobs"].as_array()?;
        let state = jobs.iter().find_map(|job| job["state"].as_str()?.strip_prefix("running on "));
        (taken >= steps).then(|| state.map(str::to_owned))?
    })
}

fn ended(mut driver: Child) {
    let status = until("the driver's end", || driver.try_wait().expect("it can be waited for"));
    assert!(status.success(), "{status}");
}

fn say(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().expect("Slurm is installed");
    assert!(output.status.success(), "{program} {args:?}: {output:?}");
    String::from_utf8(output.stdout).expect("Slurm speaks UTF-8")
}

/// No job of ours is left.
fn assert_no_jobs() {
    until("the last job to end", || say("squeue", &["-h", "--me"]).trim().is_empty().then_some(()));
}

fn kill(signal: &str, pid: &str) {
    let sent = Command::new("/bin/kill").args([signal, pid.trim()]).status();
    assert!(sent.expect("kill is installed").success());
}

#[test]
#[ignore = "needs scripts/slurm/test.sh"]
fn jobs_on_two_nodes_come_to_the_ranking_of_one_machine() {
    let dir = sweep(SLURM);
    let driver = start(&dir);
    until_it_trains(&dir, 10);
    let text = lorasweep(dir.path(), &["status", "results/small"]).stdout;
    assert!(text.contains("(worker-001): running on n"), "{text}");
    ended(driver);
    assert_no_jobs();
    assert_eq!(ranking(&dir), local_ranking());
}

#[test]
#[ignore = "needs scripts/slurm/test.sh"]
fn a_node_that_dies_costs_at_most_the_steps_since_a_checkpoint() {
    let dir = sweep(SLURM);
    let driver = start(&dir);
    let node = until_it_trains(&dir, 40);
    let conf = std::env::var_os("SLURM_CONF").expect("test.sh sets SLURM_CONF");
    let pid: PathBuf = Path::new(&conf).parent().expect("a folder").join("pid").join(&node);
    kill("-KILL", &fs::read_to_string(pid).expect("the node runs"));
    ended(driver);
    say("slurmd", &["-N", &node]);
    until("the node to be back", || {
        say("sinfo", &["-h", "-n", &node, "-p", "main", "-o", "%t"]).contains("idle").then_some(())
    });
    assert_no_jobs();
    assert_eq!(ranking(&dir), local_ranking());
}

#[test]
#[ignore = "needs scripts/slurm/test.sh"]
fn a_driver_that_dies_and_comes_back_takes_its_jobs_over() {
    let dir = sweep(SLURM);
    let mut driver = start(&dir);
    until_it_trains(&dir, 20);
    driver.kill().expect("it is ours");
    driver.wait().expect("it is dead");
    let jobs = say("squeue", &["-h", "--me", "-o", "%A"]);
    let driver = start(&dir);
    until_it_trains(&dir, 60);
    let later = say("squeue", &["-h", "--me", "-o", "%A"]);
    assert_eq!(jobs, later, "no job was submitted anew");
    ended(driver);
    assert_no_jobs();
    assert_eq!(ranking(&dir), local_ranking());
}

#[test]
#[ignore = "needs scripts/slurm/test.sh"]
fn cancel_ends_jobs_with_and_without_a_driver_and_nothing_is_lost() {
    let dir = sweep(SLURM);
    let mut driver = start(&dir);
    until_it_trains(&dir, 20);
    let ran = lorasweep(dir.path(), &["cancel", "results/small"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let status = until("the driver's end", || driver.try_wait().expect("it can be waited for"));
    assert_eq!(status.code(), Some(130));
    assert_no_jobs();

    let mut driver = start(&dir);
    until_it_trains(&dir, 40);
    driver.kill().expect("it is ours");
    driver.wait().expect("it is dead");
    let ran = lorasweep(dir.path(), &["cancel", "results/small"]);
    assert!(ran.stdout.contains("Cancelled job"), "{}", ran.stdout);
    assert_no_jobs();

    ended(start(&dir));
    assert_no_jobs();
    assert_eq!(ranking(&dir), local_ranking());
}

#[test]
#[ignore = "needs scripts/slurm/test.sh"]
fn a_sweep_longer_than_its_jobs_time_limit_goes_on_in_the_same_jobs() {
    let dir = sweep(SLURM);
    let driver = start(&dir);
    until_it_trains(&dir, 20);
    // As Slurm does `signal_delay_seconds` before the limit.
    let jobs = say("squeue", &["-h", "--me", "--states=RUNNING", "-o", "%A"]);
    for job in jobs.lines() {
        say("scancel", &["--signal=USR1", "--batch", job]);
    }
    // A job that was queued again would wait for two minutes.
    let job = jobs.lines().next().expect("a job runs").to_owned();
    until("the job to be queued again", || {
        let update = ["update", &format!("JobId={job}"), "StartTime=now+3"];
        Command::new("scontrol").args(update).output().ok()?.status.success().then_some(())
    });
    until("the job to run again", || {
        let log = fs::read_to_string(dir.path().join("results/small/workers/worker-001/log.txt"));
        log.ok()?.contains("is queued again").then_some(())
    });
    ended(driver);
    assert_no_jobs();
    assert_eq!(ranking(&dir), local_ranking());
}
