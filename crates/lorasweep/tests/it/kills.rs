//! A sweep whose driver and workers are killed again and again ends like one that was left alone.
//!
//! `LORASWEEP_KILLS=50` makes it long; `LORASWEEP_KILLS_SEED=7` repeats a run.

#![cfg(unix)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::lorasweep;
use spec::{Event, SweepState, TrialConfig, TrialId};
use store::SweepFolder;
use tempfile::TempDir;

/// Kills when nothing else is asked for.
const KILLS: u32 = 6;
/// Kills for each seed (of six trials), so that the sweep is not over before the last one.
const KILLS_PER_SEED: u32 = 10;
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

/// Trials of three lengths, which go on from one another, with so many seeds.
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
         max_retries: 1000}}\n",
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
         max_retries: 1000}}\n"
    )
}

fn start(dir: &Path, results: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_lorasweep"))
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

fn kill(pid: u32) {
    Command::new("kill").args(["-9", &pid.to_string()]).stderr(Stdio::null()).status().unwrap();
}

#[derive(Default)]
struct Kills {
    drivers: u32,
    workers: u32,
}

/// Runs the sweep to its end through so many kills; fewer when it ends before.
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
        if workers.is_empty() || dice.below(3) == 0 {
            driver.kill().unwrap();
            driver.wait().unwrap();
            driver = start(dir, results);
            done.drivers += 1;
        } else {
            kill(workers[dice.below(workers.len() as u64) as usize]);
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
    let (_dir, killed, state) = besiege(|kills| sweep_file(kills.div_ceil(KILLS_PER_SEED) + 1));
    check_epochs_are_kept(&killed, &state);
}

#[test]
fn a_sweep_that_learns_proposes_stops_and_promotes_the_same_whatever_is_killed() {
    besiege(|kills| learning_sweep_file(8 + kills / 3));
}

/// How a trial ended and after how many evaluations; the reason of a stop names losses.
fn end(trial: &spec::TrialState) -> (Option<std::mem::Discriminant<spec::Outcome>>, usize) {
    (trial.outcome().map(std::mem::discriminant), trial.evaluations.len())
}

/// Runs a sweep left alone and through kills, and compares.
fn besiege(file: impl Fn(u32) -> String) -> (TempDir, SweepFolder, SweepState) {
    let kills = number("LORASWEEP_KILLS", KILLS.into()) as u32;
    let seed = number("LORASWEEP_KILLS_SEED", u64::from(std::process::id()));
    let mut dice = Dice(seed);
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(lorasweep(dir.path(), &["init", "--quickstart", "."]).code, 0);
    fs::write(dir.path().join("kills.yaml"), file(kills)).unwrap();

    let left_alone = run_through(dir.path(), "alone", 0, &mut dice);
    assert_eq!(left_alone.drivers + left_alone.workers, 0);
    let done = run_through(dir.path(), "killed", kills, &mut dice);

    let open = |results: &str| SweepFolder::open(dir.path().join(results).join("kills")).unwrap();
    let (alone, killed) = (open("alone"), open("killed"));
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
        "seed {seed}: {} kills ({} of the driver, {} of workers), {} trials, {} lost, \
         {differing} places of the ranking differ",
        done.drivers + done.workers,
        done.drivers,
        done.workers,
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
