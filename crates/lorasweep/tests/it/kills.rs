//! A sweep whose processes are killed and held (SIGSTOP) again and again ends like one that was left
//! alone.
//!
//! `LORASWEEP_KILLS=50` makes it long; `LORASWEEP_KILLS_SEED=7` repeats a run. `LORASWEEP_BINARY` names
//! another binary than the one that was just built.

#![cfg(unix)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use spec::{Event, SweepState, TrialConfig, TrialId};
use store::SweepFolder;
use tempfile::TempDir;

/// Kills when nothing else is asked for.
const KILLS: u32 = 6;
/// Kills for each seed (of six trials), so that the sweep is not over before the last one.
const KILLS_PER_SEED: u32 = 10;
/// One in this many interruptions holds a process instead of ending it.
const HOLD_ONE_IN: u64 = 4;
/// With more kills than this, some processes are held for longer than a worker may be silent.
const MANY_KILLS: u32 = 20;
/// Seconds that a worker may be silent.
const HEARTBEAT_SECONDS: u64 = 10;
/// A driver that has not ended by itself long after the last kill never will.
const LONGEST: Duration = Duration::from_secs(3600);

/// `splitmix64`: what is needed here is only that a run can be repeated.
struct Dice(u64);

impl Dice {
    fn throw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.throw() % limit
    }
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Trials of three lengths, which continue one another, with this many seeds.
fn sweep_file(seeds: u32) -> String {
    let seeds: Vec<String> = (1..=seeds).map(|seed| seed.to_string()).collect();
    format!(
        "name: kills\nmethod: grid\nmetric: {{name: eval_loss, goal: minimize}}\n\
         parameters:\n  seed: {{values: [{}]}}\n  learning_rate: {{values: [0.0005, 0.002]}}\n  \
         epochs: {{values: [1, 2, 3]}}\n\
         model: quickstart/base\ndata:\n  train: quickstart/train.jsonl\n  \
         validation: quickstart/validation.jsonl\n\
         train: {{rank: 8, batch_size: 16, lora_alpha: 16, lr_scheduler: constant, \
         warmup_ratio: 0, max_seq_len: 64, save_strategy: epoch}}\n\
         executor: {{device: cpu, devices: 2, max_packed: 2, checkpoint_seconds: 1, \
         heartbeat_seconds: {HEARTBEAT_SECONDS}, max_retries: 1000}}\n",
        seeds.join(", ")
    )
}

/// Decisions that depend on other trials, each kind of them: proposals of a method that learns, early
/// stops, promotions, and replicates of the best. The values are lists, so that the rounding of a loss
/// (which depends on the trials beside it) does not show in a proposal.
fn learning_sweep_file(run_cap: u32) -> String {
    format!(
        "name: kills\nmethod: bayes\nrun_cap: {run_cap}\n\
         metric: {{name: eval_loss, goal: minimize}}\n\
         early_terminate: {{type: asha, min_iter: 1, eta: 2, promote: true}}\n\
         replicates: {{top: 2, seeds: 1}}\n\
         parameters:\n  rank: [2, 4, 8, 16]\n  \
         learning_rate: [3.0e-4, 1.0e-3, 2.0e-3, 4.0e-3]\n  batch_size: [8, 16, 32]\n\
         model: quickstart/base\ndata:\n  train: quickstart/train.jsonl\n  \
         validation: quickstart/validation.jsonl\n\
         train: {{epochs: 3, lora_alpha: 16, lr_scheduler: cosine, max_seq_len: 64}}\n\
         executor: {{device: cpu, devices: 1, max_packed: 2, checkpoint_seconds: 1, \
         heartbeat_seconds: {HEARTBEAT_SECONDS}, max_retries: 1000}}\n"
    )
}

/// Trials of a command that takes a third of a second an epoch.
fn command_sweep_file(seeds: u32) -> String {
    let seeds: Vec<String> = (1..=seeds).map(|seed| seed.to_string()).collect();
    format!(
        "name: kills\nmethod: grid\nmetric: {{name: eval_loss, goal: minimize}}\n\
         parameters:\n  seed: {{values: [{}]}}\n  rank: [2, 4]\n  learning_rate: [0.001, 0.002, 0.003]\n\
         model: some/model\ndata: {{train: some-rows}}\ntrain: {{epochs: 3}}\n\
         executor: {{type: command, max_parallel: 2, grace_seconds: 1, max_retries: 1000, \
         command: 'sh train.sh {{{{rank}}}} {{{{learning_rate}}}} {{{{seed}}}}'}}\n",
        seeds.join(", ")
    )
}

/// Prints losses that depend on the parameters alone; says so where the same trial is trained by two
/// processes at a time.
const TRAIN_BY_COMMAND: &str = r#"
    before=$(cat $LORASWEEP_TRIAL_DIR/pid 2> /dev/null)
    # One that has ended keeps its number until its parent has looked.
    state=$(sed -n 's/^State:[[:space:]]*//p' "/proc/$before/status" 2> /dev/null)
    case "$state" in '' | Z* | X*) ;; *) echo "$LORASWEEP_TRIAL_DIR $before $state" >> twice ;; esac
    echo $$ > $LORASWEEP_TRIAL_DIR/pid
    for epoch in 1 2 3; do
        sleep 0.3
        echo "{\"step\": ${epoch}0, \"epoch\": $epoch, \"eval_loss\": 1.$((5 - epoch))$1${2#0.}$3}"
    done
"#;

/// A method that learns, whose trials are trained by ask and tell.
fn external_sweep_file(run_cap: u32) -> String {
    format!(
        "name: kills\nmethod: bayes\nrun_cap: {run_cap}\n\
         metric: {{name: eval_loss, goal: minimize}}\n\
         parameters:\n  rank: [2, 4, 8, 16, 32]\n  learning_rate: [0.001, 0.002, 0.003, 0.004]\n\
         model: some/model\ndata: {{train: some-rows}}\ntrain: {{epochs: 3}}\n\
         executor: {{type: external}}\n"
    )
}

fn binary() -> PathBuf {
    let built = || env!("CARGO_BIN_EXE_lorasweep").into();
    std::env::var_os("LORASWEEP_BINARY").map_or_else(built, PathBuf::from)
}

fn start(dir: &Path, results: &str) -> Child {
    Command::new(binary())
        .args(["run", "kills.yaml", "--quiet", "--results", results])
        .current_dir(dir)
        .stdout(Stdio::null())
        .stderr(fs::File::options().append(true).create(true).open(dir.join("log")).unwrap())
        .spawn()
        .unwrap()
}

/// The processes of the workers that live.
fn workers(folder: &Path) -> Vec<u32> {
    let Ok(folder) = SweepFolder::open(folder) else { return Vec::new() };
    let all = folder.workers().unwrap();
    all.iter().filter_map(|worker| worker.holder().unwrap()).map(|holder| holder.pid).collect()
}

fn signal(name: &str, pid: u32) {
    Command::new("kill").args([name, &pid.to_string()]).stderr(Stdio::null()).status().unwrap();
}

/// Holds a process for a while, in long sieges now and then for longer than a worker may be silent.
fn hold(pid: u32, is_long: bool, dice: &mut Dice) {
    signal("-STOP", pid);
    let longer = if is_long && dice.below(8) == 0 { HEARTBEAT_SECONDS * 1000 } else { 0 };
    std::thread::sleep(Duration::from_millis(200 + dice.below(2000) + longer));
    signal("-CONT", pid);
}

#[derive(Default)]
struct Kills {
    drivers: u32,
    workers: u32,
    held: u32,
}

/// Runs the sweep to its end through this many kills; fewer when it ends before.
fn run_through(dir: &Path, results: &str, kills: u32, dice: &mut Dice) -> Kills {
    let folder = dir.join(results).join("kills");
    let mut done = Kills::default();
    let mut driver = start(dir, results);
    let began = Instant::now();
    while done.drivers + done.workers < kills {
        assert!(began.elapsed() < LONGEST, "{}", fs::read_to_string(dir.join("log")).unwrap());
        std::thread::sleep(Duration::from_millis(100 + dice.below(1200)));
        if driver.try_wait().unwrap().is_some() {
            break;
        }
        let workers = workers(&folder);
        if dice.below(HOLD_ONE_IN) == 0 {
            let all: Vec<u32> = workers.iter().copied().chain([driver.id()]).collect();
            hold(all[dice.below(all.len() as u64) as usize], kills > MANY_KILLS, dice);
            done.held += 1;
            continue;
        }
        if workers.is_empty() || dice.below(3) == 0 {
            driver.kill().unwrap();
            driver.wait().unwrap();
            driver = start(dir, results);
            done.drivers += 1;
        } else {
            signal("-9", workers[dice.below(workers.len() as u64) as usize]);
            done.workers += 1;
        }
    }
    assert!(driver.wait().unwrap().success(), "{}", fs::read_to_string(dir.join("log")).unwrap());
    done
}

fn configs(state: &SweepState) -> BTreeMap<TrialId, TrialConfig> {
    state.trials.values().map(|trial| (trial.trial.id, trial.trial.config.clone())).collect()
}

/// Trials, the best first, with their losses.
fn ranking(state: &SweepState) -> Vec<(TrialId, f64)> {
    let best = |t: &spec::TrialState| Some((t.trial.id, t.best()?.eval_loss));
    let mut ranked: Vec<_> = state.trials.values().filter_map(best).collect();
    ranked.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
    ranked
}

/// No trial begins after its end unless it was promoted, and none from before what was saved.
fn check_nothing_is_done_twice(events: &[Event]) {
    let (mut ended, mut saved) = (BTreeSet::new(), BTreeMap::new());
    for event in events {
        match event {
            Event::TrialStarted { trial, from_step, .. } => {
                assert!(!ended.contains(trial), "trial {trial} began after its end");
                let saved = saved.get(trial).copied().unwrap_or(0);
                assert!(*from_step >= saved, "trial {trial} began at {from_step}, not {saved}");
            }
            Event::Checkpointed { trial, step } => {
                saved.insert(*trial, *step);
            }
            Event::TrialFinished { trial, .. } => {
                assert!(ended.insert(*trial), "trial {trial} ended twice");
            }
            Event::TrialPromoted { trial, .. } => {
                assert!(ended.remove(trial), "trial {trial} was promoted before its end");
            }
            _ => {}
        }
    }
}

/// Every epoch of every trial has its adapter, by whichever trial it was kept.
fn check_epochs_are_kept(folder: &SweepFolder, state: &SweepState) {
    for trial in state.trials.values() {
        for evaluation in &trial.evaluations {
            let adapter = folder.adapter_at(state, trial.trial.id, evaluation.step);
            let weights = adapter.map(|path| path.join("adapter_model.safetensors"));
            let is_kept = weights.is_some_and(|path| path.is_file());
            assert!(is_kept, "trial {}, epoch {}", trial.trial.id, evaluation.epoch);
        }
    }
}

#[test]
fn a_sweep_whose_processes_are_killed_at_any_moment_ends_like_one_left_alone() {
    let (_dir, killed, state) =
        besiege("grid", |kills| sweep_file(kills.div_ceil(KILLS_PER_SEED) + 1));
    check_epochs_are_kept(&killed, &state);
}

#[test]
fn a_sweep_that_learns_proposes_stops_and_promotes_the_same_whatever_is_killed() {
    besiege("bayes + asha + promote + replicates", |kills| learning_sweep_file(8 + kills / 3));
}

#[test]
fn a_sweep_by_command_whose_driver_is_killed_ends_the_same_and_trains_no_trial_twice_at_a_time() {
    let (dir, ..) = besiege("command", |kills| command_sweep_file(kills.div_ceil(3)));
    let twice = fs::read_to_string(dir.path().join("twice")).unwrap_or_default();
    assert_eq!(twice, "", "trained by two processes at a time");
}

/// Runs `ask` or `tell`; while `kills` are left, one in two is killed at some moment: `None`.
fn call(
    dir: &Path,
    results: &str,
    args: &[&str],
    kills: &mut u32,
    dice: &mut Dice,
) -> Option<String> {
    let mut child = Command::new(binary())
        .args(args)
        .args(["--results", results])
        .current_dir(dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    if *kills > 0 && dice.below(2) == 0 {
        std::thread::sleep(Duration::from_millis(dice.below(80)));
        if child.try_wait().unwrap().is_none() {
            child.kill().unwrap();
            child.wait().unwrap();
            *kills -= 1;
            return None;
        }
    }
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{args:?}: {said}");
    Some(String::from_utf8(output.stdout).unwrap())
}

/// Asks and tells until the sweep is over. What was asked for by a process that was killed is found
/// again among the unfinished trials; who asks for another one instead gets the next one before the
/// lost one is told of, which is another sweep.
fn ask_and_tell(dir: &Path, results: &str, mut kills: u32, dice: &mut Dice) -> u32 {
    let all = kills;
    loop {
        let parse = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        let mut call = |args: &[&str]| call(dir, results, args, &mut kills, dice);
        let Some(unfinished) = call(&["ask", "kills.yaml", "--unfinished"]) else { continue };
        let asked = if unfinished.trim().is_empty() {
            let Some(asked) = call(&["ask", "kills.yaml"]) else { continue };
            asked
        } else {
            unfinished
        };
        let asked = parse(asked.lines().next().unwrap());
        if asked["answer"] != "trial" {
            return all - kills;
        }
        let trial = &asked["trial"];
        let number = |name: &str| asked["params"][name].as_f64().unwrap();
        let loss = (number("rank").log2() - 3.0).abs() / 10.0
            + (number("learning_rate") - 0.002).abs() * 50.0;
        for epoch in 1..=3 {
            let loss = 1.0 + loss / f64::from(epoch);
            let line = format!("{{\"trial\": {trial}, \"epoch\": {epoch}, \"eval_loss\": {loss}}}");
            while call(&["tell", "kills.yaml", &line]).is_none() {}
        }
        let line = format!("{{\"trial\": {trial}, \"outcome\": \"completed\"}}");
        while call(&["tell", "kills.yaml", &line]).is_none() {}
    }
}

#[test]
fn a_sweep_that_is_asked_and_told_by_processes_that_are_killed_ends_like_one_left_alone() {
    let (kills, seed, mut dice) = siege();
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("kills.yaml"), external_sweep_file((4 + kills / 4).min(20))).unwrap();
    ask_and_tell(dir.path(), "alone", 0, &mut dice);
    let done = ask_and_tell(dir.path(), "killed", kills, &mut dice);
    let (alone, killed) = (open(dir.path(), "alone"), open(dir.path(), "killed"));
    let (expected, state) = (alone.state().unwrap(), killed.state().unwrap());
    println!("ask/tell, seed {seed}: {done} kills, {} trials", expected.trials.len());
    assert_eq!(configs(&state), configs(&expected));
    assert_eq!(ranking(&state), ranking(&expected));
    check_nothing_is_done_twice(&killed.events().unwrap());
}

/// How a trial ended and after how many evaluations; the reason of a stop names losses.
fn end(trial: &spec::TrialState) -> (Option<std::mem::Discriminant<spec::Outcome>>, usize) {
    (trial.outcome().map(std::mem::discriminant), trial.evaluations.len())
}

/// How many kills, and chance with its seed.
fn siege() -> (u32, u64, Dice) {
    let seed = number("LORASWEEP_KILLS_SEED", u64::from(std::process::id()));
    (number("LORASWEEP_KILLS", KILLS.into()) as u32, seed, Dice(seed))
}

fn open(dir: &Path, results: &str) -> SweepFolder {
    SweepFolder::open(dir.join(results).join("kills")).unwrap()
}

/// Runs a sweep undisturbed and through kills, and compares.
fn besiege(what: &str, file: impl Fn(u32) -> String) -> (TempDir, SweepFolder, SweepState) {
    let (kills, seed, mut dice) = siege();
    let dir = tempfile::tempdir().unwrap();
    let init = ["init", "--quickstart", "."];
    assert!(Command::new(binary()).args(init).current_dir(&dir).output().unwrap().status.success());
    fs::write(dir.path().join("train.sh"), TRAIN_BY_COMMAND).unwrap();
    fs::write(dir.path().join("kills.yaml"), file(kills)).unwrap();

    let left_alone = run_through(dir.path(), "alone", 0, &mut dice);
    assert_eq!(left_alone.drivers + left_alone.workers, 0);
    let done = run_through(dir.path(), "killed", kills, &mut dice);

    let (alone, killed) = (open(dir.path(), "alone"), open(dir.path(), "killed"));
    let (expected, state) = (alone.state().unwrap(), killed.state().unwrap());
    let is_lost = |id: &&TrialId| {
        let trial = state.trials.get(id);
        trial.is_none_or(|t| end(t) != end(&expected.trials[id]))
            || killed.adapter(**id).is_some() != alone.adapter(**id).is_some()
    };
    let lost: Vec<_> = expected.trials.keys().filter(is_lost).collect();
    let (ours, theirs) = (ranking(&state), ranking(&expected));
    let is_different = |(a, b): &(&(TrialId, f64), &(TrialId, f64))| {
        a.0 != b.0 || (a.1 - b.1).abs() > 1e-4 * b.1.abs()
    };
    let differing = ours.iter().zip(&theirs).filter(is_different).count();
    println!(
        "{what}, seed {seed}: {} kills ({} of the driver, {} of workers), {} held, {} trials, \
         {} lost, {differing} places of the ranking differ",
        done.drivers + done.workers,
        done.drivers,
        done.workers,
        done.held,
        expected.trials.len(),
        lost.len()
    );
    assert!(done.drivers + done.workers > 0, "the sweep was over before the first kill");
    assert!(state.finished);
    assert_eq!(configs(&state), configs(&expected));
    assert_eq!(lost, Vec::<&TrialId>::new());
    assert_eq!((ours.len(), differing), (theirs.len(), 0), "{ours:?}\n{theirs:?}");
    check_nothing_is_done_twice(&killed.events().unwrap());
    (dir, killed, state)
}
