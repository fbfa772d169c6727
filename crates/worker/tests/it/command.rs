//! Trials that a command trains: real shell scripts through the drive loop.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::common::launcher::FakeLauncher;
use crate::common::{BoundPruner, Fuse, ListPlanner, Witness, config};
use planner::Pruner;
use spec::{ExecutorKind, Outcome, PathKind, Steps, Sweep, SweepState, TrialConfig, TrialId};
use store::{Identity, SweepDir, TrialTables};
use worker::launch::WorkerCommand;
use worker::{CommandTrainer, Drive, Finish, WorkerError};

/// A folder with a script `train.sh` and a sweep that runs it.
struct World {
    dir: tempfile::TempDir,
    sweep: Sweep,
    trials: Vec<TrialConfig>,
    bound: Option<f64>,
    stop_after_events: Option<usize>,
}

impl World {
    fn new(script: &str, trials: Vec<TrialConfig>) -> Self {
        Self::with_executor("command: sh train.sh", script, trials)
    }

    fn with_executor(executor: &str, script: &str, trials: Vec<TrialConfig>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("train.sh"), script).unwrap();
        let text = format!(
            "name: s\nmethod: grid\nmodel: it's a \"model\"\ndata: {{train: some rows}}\n\
             parameters: {{rank: [8, 16]}}\nexecutor: {{type: command, {executor}}}\n"
        );
        let sweep = spec::resolve(&text, &dir.path().join("s.yaml"), &|_| PathKind::Missing)
            .unwrap_or_else(|errors| panic!("{errors}"));
        Self { dir, sweep, trials, bound: None, stop_after_events: None }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.file(name)).unwrap()
    }

    fn run(&self) -> (Result<Finish, WorkerError>, SweepState) {
        let stop = AtomicBool::new(false);
        let identity = Identity::new("s", "print", BTreeMap::new(), serde_json::json!({}));
        let mut opened = SweepDir::open(&self.file("results"), &identity, "name: s\n").unwrap();
        let ExecutorKind::Command(settings) = self.sweep.executor.kind.clone() else {
            panic!("the sweep has another executor");
        };
        let (folder, sweep) = (opened.dir.folder().clone(), self.sweep.clone());
        let own = folder.clone();
        let make = move || CommandTrainer::new(&sweep, settings.clone(), own.clone()).unwrap();
        let mut launcher = FakeLauncher::with(folder, Box::new(make));
        let pruner = self.bound.map(|bound| BoundPruner { bound, promotes: false });
        let mut witness = Witness {
            events: Vec::new(),
            warnings: Vec::new(),
            fuse: Fuse::never(),
            stop_after: self.stop_after_events.map(|count| (count, &stop)),
        };
        let mut settings: worker::Settings = (&self.sweep).into();
        settings.silence = Duration::MAX;
        let finish = Drive {
            settings,
            planner: &ListPlanner(self.trials.clone()),
            pruner: pruner.as_ref().map(|p| p as &dyn Pruner),
            steps: &|_| Steps { total: 0, shared: None, micro_batches: 1 },
            launcher: &mut launcher,
            workers: 1,
            command: &|berth| WorkerCommand {
                name: berth.name.to_owned(),
                program: "fake".into(),
                args: vec![berth.seq.to_string().into()],
                env: BTreeMap::new(),
                log: self.file("log.txt"),
            },
            tested: None,
            sweep: &mut opened,
            observer: &mut witness,
            tables: &|_, _| Ok(TrialTables::default()),
            stop: &stop,
        }
        .run();
        drop(launcher);
        (finish, opened.state)
    }
}

fn outcome(state: &SweepState, trial: u32) -> &Outcome {
    state.trials[&TrialId(trial)].outcome().expect("an end")
}

fn failure(state: &SweepState, trial: u32) -> &str {
    match outcome(state, trial) {
        Outcome::Failed { error } => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn its_lines_become_the_curve_and_the_best_evaluations_adapter_is_kept() {
    let script = r#"
        echo "a line for people"
        i=0
        for loss in 1.5 1.2 1.4; do
            i=$((i + 1))
            adapter=$LORASWEEP_TRIAL_DIR/epoch-$i
            mkdir -p $adapter
            echo "{\"r\": $LORASWEEP_RANK, \"epoch\": $i}" > $adapter/adapter_config.json
            echo "{\"step\": $((10 * i - 5)), \"epoch\": $i, \"loss\": 2.0}"
            echo "{\"step\": $((10 * i)), \"epoch\": $i, \"eval_loss\": $loss, \"adapter\": \"$adapter\"}"
        done
    "#;
    let world = World::new(script, vec![config(0.1, 3)]);
    let (finish, state) = world.run();
    assert_eq!(finish.unwrap(), Finish::Completed);
    let trial = &state.trials[&TrialId(1)];
    assert_eq!(trial.outcome(), Some(&Outcome::Completed));
    let losses: Vec<f64> = trial.evaluations.iter().map(|e| e.eval_loss).collect();
    assert_eq!(losses, [1.5, 1.2, 1.4]);
    assert_eq!(trial.train_points.iter().map(|p| p.step).collect::<Vec<_>>(), [5, 15, 25]);
    assert_eq!(trial.evaluations[0].train_loss, None);
    assert_eq!(state.base, None);
    let kept = world.read("results/s/trials/trial-001/adapter/adapter_config.json");
    assert_eq!(kept.trim(), r#"{"r": 8, "epoch": 2}"#);
    let log = world.read("results/s/trials/trial-001/command/command.log");
    assert!(log.contains("a line for people"), "{log}");
}

#[test]
fn a_failure_has_its_exit_code_and_the_end_of_its_log() {
    let script =
        "echo 'no such file: x.bin' >&2\necho '{\"epoch\": 1, \"eval_loss\": 1}'\nexit 3\n";
    let (_, state) = World::new(script, vec![config(0.1, 1)]).run();
    let error = failure(&state, 1);
    assert!(error.contains("exit status: 3"), "{error}");
    assert!(error.contains("no such file: x.bin"), "{error}");
    assert_eq!(state.trials[&TrialId(1)].evaluations.len(), 1);
}

#[test]
fn a_command_that_never_says_a_loss_has_failed_and_is_told_what_to_print() {
    let (_, state) = World::new("echo \"{'eval_loss': 1.0}\"", vec![config(0.1, 1)]).run();
    let error = failure(&state, 1);
    assert!(error.contains(r#"{"epoch": 1, "eval_loss": 2.1}"#), "{error}");
    assert!(error.contains("json.dumps"), "{error}");
}

#[test]
fn lines_that_cannot_be_used_fail_the_trial_with_the_line() {
    for (line, why) in [
        (r#"{"epoch": 1, "eval_loss": "low"}"#, "a loss must be a number"),
        (r#"{"step": 7, "eval_loss": 1}"#, "needs its `epoch`"),
        (r#"{"epoch": 1, "eval_loss": 1, "adapter": "/nowhere"}"#, "there is no such folder"),
    ] {
        let (_, state) = World::new(&format!("echo '{line}'"), vec![config(0.1, 1)]).run();
        let error = failure(&state, 1);
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn a_loss_that_is_not_a_number_has_diverged_and_its_command_is_ended() {
    let script = "echo '{\"epoch\": 1, \"eval_loss\": NaN}'\nsleep 600\n";
    let (_, state) = World::new(script, vec![config(0.1, 1)]).run();
    assert!(matches!(outcome(&state, 1), Outcome::Diverged { .. }), "{:?}", outcome(&state, 1));
}

#[cfg(unix)]
#[test]
fn a_stopped_trial_is_asked_to_end_and_leaves_no_process() {
    // The first trial ends when it is asked to; the second does not listen.
    let script = r#"
        if [ $LORASWEEP_TRIAL = 1 ]; then trap 'echo asked > asked; exit' TERM; else trap '' TERM; fi
        sleep 600 & echo $! > pid-$LORASWEEP_TRIAL
        echo '{"epoch": 1, "eval_loss": 3}'
        echo '{"epoch": 2, "eval_loss": 3}'
        wait; sleep 600
    "#;
    let executor = "command: sh train.sh, grace_seconds: 1";
    let mut world = World::with_executor(executor, script, vec![config(0.1, 9), config(0.2, 9)]);
    world.bound = Some(2.0);
    let (finish, state) = world.run();
    assert_eq!(finish.unwrap(), Finish::Completed);
    for trial in [1, 2] {
        assert!(matches!(outcome(&state, trial), Outcome::Stopped { .. }));
        let pid = world.read(&format!("pid-{trial}"));
        // What nobody has waited for is still listed, as a zombie.
        let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
        assert!(stat.is_empty() || stat.contains(") Z "), "trial {trial} left {stat}");
    }
    assert_eq!(world.read("asked").trim(), "asked");
}

#[test]
fn the_base_command_gives_the_reference_row() {
    let executor = "command: sh train.sh, base_command: 'echo \"{\\\"eval_loss\\\": 2.5}\"'";
    let script = "echo '{\"eval_loss\": 1}'";
    let world = World::with_executor(executor, script, vec![config(0.1, 1)]);
    let (_, state) = world.run();
    assert_eq!(state.base.unwrap().eval_loss, 2.5);

    let broken = "command: sh train.sh, base_command: 'echo gone; exit 1'";
    let (finish, _) = World::with_executor(broken, script, vec![config(0.1, 1)]).run();
    assert!(finish.is_err(), "{finish:?}");
}

#[test]
fn values_reach_the_command_whatever_is_in_them() {
    let executor = "command: 'printf %s {{model}} > model; printf %s {{rank}} > rank; \
                    echo \"$LORASWEEP_PARAMS\" > params; sh train.sh'";
    let script = "echo '{\"eval_loss\": 1}'";
    let world = World::with_executor(executor, script, vec![config(0.25, 2)]);
    let (finish, _) = world.run();
    assert_eq!(finish.unwrap(), Finish::Completed);
    assert_eq!(world.read("model"), "it's a \"model\"");
    assert_eq!(world.read("rank"), "8");
    let params: serde_json::Value = serde_json::from_str(&world.read("params")).unwrap();
    assert_eq!(params["learning_rate"], 0.25);
    assert_eq!(params["epochs"], 2);
}

#[test]
fn an_interrupted_command_is_ended_and_goes_on_from_what_it_named() {
    let script = r#"
        if [ -n "$LORASWEEP_RESUME" ]; then
            echo "$LORASWEEP_RESUME" > resumed
        else
            echo '{"step": 10, "epoch": 1, "eval_loss": 3, "checkpoint": "state-10"}'
            exec sleep 600
        fi
        echo '{"step": 20, "epoch": 2, "eval_loss": 2}'
    "#;
    let executor = "command: sh train.sh, grace_seconds: 1";
    let mut world = World::with_executor(executor, script, vec![config(0.1, 2)]);
    // Launch, proposal, start, and the first evaluation.
    world.stop_after_events = Some(4);
    assert_eq!(world.run().0.unwrap(), Finish::Interrupted);
    world.stop_after_events = None;
    let (finish, state) = world.run();
    assert_eq!(finish.unwrap(), Finish::Completed);
    assert_eq!(world.read("resumed").trim(), "state-10");
    let losses: Vec<f64> =
        state.trials[&TrialId(1)].evaluations.iter().map(|e| e.eval_loss).collect();
    assert_eq!(losses, [3.0, 2.0]);
}

/// A process that is no command of the sweep, unless its environment says so; the leader of a group.
#[cfg(unix)]
fn sleeper(line: &str, trial_dir: Option<&Path>) -> std::process::Child {
    use std::os::unix::process::CommandExt;
    let mut command = std::process::Command::new("sh");
    command.args(["-c", line]).process_group(0);
    command.envs(trial_dir.map(|dir| ("LORASWEEP_TRIAL_DIR", dir)));
    command.spawn().unwrap()
}

#[cfg(unix)]
#[test]
fn what_a_killed_worker_left_running_is_ended_and_nobody_elses_process() {
    use store::{Place, started_at};

    let trials = (1..=6).map(|n| config(0.1 * f64::from(n), 1)).collect();
    let script = "echo '{\"eval_loss\": 1}'";
    let world = World::with_executor("command: sh train.sh, grace_seconds: 2", script, trials);
    let identity = Identity::new("s", "print", BTreeMap::new(), serde_json::json!({}));
    drop(SweepDir::open(&world.file("results"), &identity, "name: s\n").unwrap());
    let dir_of = |trial: u32| {
        let dir = world.file("results").join(format!("s/trials/trial-{trial:03}/command"));
        fs::create_dir_all(&dir).unwrap();
        dir
    };
    let note = |trial: u32, group: u32, start_ticks: u64, place: Option<Place>| {
        let note = serde_json::json!({"group": group, "start_ticks": start_ticks, "place": place});
        fs::write(dir_of(trial).join("command.process"), note.to_string()).unwrap();
    };
    let here = || Some(Place::this());
    let elsewhere = Some(Place { host: "another-machine".to_owned(), ..Place::this() });
    let before_a_restart = Some(Place { boot: "earlier".to_owned(), ..Place::this() });

    let mut noted = sleeper("exec sleep 600", None);
    note(1, noted.id(), started_at(noted.id()).unwrap(), here());
    // Its leader has ended and left a process behind, as only its environment can tell.
    let left = "(trap 'echo ended > left; exit' TERM; while :; do sleep 0.05; done) & exit";
    let mut leader = sleeper(&format!("cd '{}'; {left}", dir_of(2).display()), Some(&dir_of(2)));
    let group = leader.id();
    leader.wait().unwrap();
    note(2, group, 1, None);
    let mut others = Vec::new();
    let cases = [(3, elsewhere, 0), (4, before_a_restart, 0), (5, here(), 3600), (6, None, 0)];
    for (trial, place, earlier) in cases {
        let other = sleeper("exec sleep 600", None);
        note(trial, other.id(), started_at(other.id()).unwrap() - earlier, place);
        others.push(other);
    }
    // Somebody has to take note of the end of a child, so that it does not count as there.
    let reaped = std::thread::spawn(move || noted.wait().unwrap());
    let (finish, _) = world.run();
    assert_eq!(finish.unwrap(), Finish::Completed);
    assert!(!reaped.join().unwrap().success(), "it ended by itself");
    assert!(dir_of(2).join("left").is_file(), "what was left was not asked to end");
    for other in &mut others {
        assert!(other.try_wait().unwrap().is_none(), "another process was ended");
        other.kill().unwrap();
        other.wait().unwrap();
    }
    assert!(!dir_of(1).join("command.process").exists(), "a note outlives its process");
}

#[test]
fn no_more_commands_run_at_a_time_than_allowed() {
    let script = r#"
        echo begin >> events
        sleep 0.1
        echo end >> events
        echo '{"eval_loss": 1}'
    "#;
    let executor = "command: sh train.sh, max_parallel: 3";
    let trials = (1..=7).map(|n| config(f64::from(n), 1)).collect();
    let world = World::with_executor(executor, script, trials);
    let (finish, state) = world.run();
    assert_eq!(finish.unwrap(), Finish::Completed);
    assert_eq!(state.trials.len(), 7);
    let (mut running, mut most) = (0, 0);
    for event in world.read("events").lines() {
        running += if event == "begin" { 1 } else { -1 };
        most = most.max(running);
    }
    assert!((2..=3).contains(&most), "{most} at a time");
}
