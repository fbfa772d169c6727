//! What every launcher keeps to. [`launcher_contract!`] makes a test of each sentence for a type
//! that implements [`World`].

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use worker::launch::{Handle, Hint, Launcher, Submission, WorkerCommand};

/// Something that starts workers, for the length of a test.
pub trait World {
    /// Workers go on when the driver that started them ends.
    const OUTLIVED: bool;
    /// A place of its own.
    fn new() -> Self;
    /// A launcher of one and the same sweep; a second one is a driver that was started again.
    fn launcher(&self) -> Box<dyn Launcher>;
    /// Where workers may write.
    fn folder(&self) -> &Path;
}

/// Longer than anything here takes, also on a busy machine: Slurm lets a job that it queues again wait
/// for two minutes.
const PATIENCE: Duration = Duration::from_secs(300);

/// As workers do: what they say goes to stderr, and where their input is a pipe its end asks them to
/// end. (What a shell runs in the background has no input unless it comes by another number.)
const LIKE_A_WORKER: &str = "exec 1>&2 3<&0; \
    if [ -p /dev/stdin ]; then { cat > /dev/null; kill -TERM $$; } <&3 2>/dev/null & fi; ";

/// A worker that runs this shell script with these arguments.
pub fn worker(world: &impl World, name: &str, script: &str, args: &[&str]) -> WorkerCommand {
    let script = LIKE_A_WORKER.to_owned() + script;
    let shell = ["-c", script.as_str(), "worker"].into_iter().chain(args.iter().copied());
    WorkerCommand {
        name: name.to_owned(),
        program: PathBuf::from("/bin/sh"),
        args: shell.map(Into::into).collect(),
        env: BTreeMap::new(),
        log: world.folder().join(format!("{name}.log")),
    }
}

pub fn start(launcher: &mut dyn Launcher, worker: &WorkerCommand) -> Handle {
    match launcher.submit(worker) {
        Ok(Submission::Known(handle)) => handle,
        other => panic!("{} was not started: {other:?}", worker.name),
    }
}

/// Waits until `look` gives something.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "still waiting: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

pub fn hint(launcher: &mut dyn Launcher, worker: &Handle) -> Hint {
    let hints = launcher.poll(std::slice::from_ref(worker)).expect("polling works");
    hints[worker].clone()
}

/// How a worker ended, once it has.
pub fn end(launcher: &mut dyn Launcher, worker: &Handle) -> String {
    until("the worker's end", || match hint(launcher, worker) {
        Hint::Gone { how } => Some(how),
        _ => None,
    })
}

/// Waits for a file that a worker writes, and gives its lines.
pub fn lines(path: &Path, count: usize) -> Vec<String> {
    until(&format!("{count} lines in {}", path.display()), || {
        let text = fs::read_to_string(path).ok()?;
        (text.lines().count() >= count).then(|| text.lines().map(str::to_owned).collect())
    })
}

pub fn arguments_arrive_as_they_are<W: World>() {
    let world = W::new();
    let args =
        ["", "a b", "$HOME `id` $(id)", "it's \"q\"", "back\\slash", "*", "-n", "ü\n#x", "%j"];
    let mut worker = worker(&world, "worker-001", "printf '[%s]\\n' \"$@\" \"$GIVEN\"", &args);
    worker.env.insert("GIVEN".to_owned(), "a 'b' $c\nd".to_owned());
    let mut launcher = world.launcher();
    let handle = start(&mut *launcher, &worker);
    end(&mut *launcher, &handle);
    let expected: Vec<String> =
        args.iter().chain(&["a 'b' $c\nd"]).map(|arg| format!("[{arg}]")).collect();
    assert_eq!(lines(&worker.log, 12).join("\n"), expected.join("\n"));
}

pub fn a_second_worker_of_a_name_keeps_what_the_first_one_said<W: World>() {
    let world = W::new();
    let mut launcher = world.launcher();
    for word in ["first", "second"] {
        let worker = worker(&world, "worker-001", "echo $1", &[word]);
        let handle = start(&mut *launcher, &worker);
        end(&mut *launcher, &handle);
    }
    let logs = fs::read_dir(world.folder()).expect("the folder is there");
    let said: String = logs
        .map(|entry| entry.expect("it can be read").path())
        .filter(|path| path.is_file() && !path.is_symlink())
        .map(|path| fs::read_to_string(path).expect("logs are text"))
        .collect();
    assert!(said.contains("first") && said.contains("second"), "{said}");
    assert!(lines(&world.folder().join("worker-001.log"), 1).contains(&"second".to_owned()));
}

pub fn an_ended_worker_is_gone_and_its_status_is_told<W: World>() {
    let world = W::new();
    let mut launcher = world.launcher();
    let handle = start(&mut *launcher, &worker(&world, "worker-001", "exit 7", &[]));
    let how = end(&mut *launcher, &handle);
    assert!(how.contains('7'), "{how}");
}

pub fn several_workers_are_told_of_at_once<W: World>() {
    let world = W::new();
    let mut launcher = world.launcher();
    let handles: Vec<Handle> = ["worker-001", "worker-002", "worker-003"]
        .map(|name| start(&mut *launcher, &worker(&world, name, "sleep 300", &[])))
        .into();
    until("three running workers", || {
        let hints = launcher.poll(&handles).expect("polling works");
        assert_eq!(hints.len(), 3);
        hints.values().all(|hint| matches!(hint, Hint::Running { .. })).then_some(())
    });
    for handle in &handles {
        launcher.kill(handle).expect("killing works");
    }
    for handle in &handles {
        end(&mut *launcher, handle);
    }
}

pub fn what_is_not_known_is_no_error<W: World>() {
    let world = W::new();
    let mut launcher = world.launcher();
    for name in ["99999999", "no number", ""] {
        let handle = Handle(name.to_owned());
        let hint = hint(&mut *launcher, &handle);
        assert!(matches!(hint, Hint::Gone { .. } | Hint::Unknown { .. }), "{hint:?}");
        launcher.kill(&handle).expect("there is nothing to end");
    }
    assert_eq!(launcher.poll(&[]).expect("polling nothing works"), BTreeMap::new());
}

pub fn a_later_driver_finds_the_workers_that_run<W: World>() {
    if !W::OUTLIVED {
        return;
    }
    let world = W::new();
    let (ended, runs) = {
        let mut launcher = world.launcher();
        let ended = start(&mut *launcher, &worker(&world, "worker-001", "true", &[]));
        let runs = start(&mut *launcher, &worker(&world, "worker-002", "sleep 300", &[]));
        end(&mut *launcher, &ended);
        (ended, runs)
    };
    let mut launcher = world.launcher();
    let found = launcher.find().expect("finding works");
    assert_eq!(found, BTreeMap::from([("worker-002".to_owned(), runs.clone())]));
    let hints = launcher.poll(&[ended.clone(), runs.clone()]).expect("polling works");
    assert!(matches!(hints[&ended], Hint::Gone { .. }), "{hints:?}");
    launcher.kill(&runs).expect("killing works");
    end(&mut *launcher, &runs);
}

/// Waits in short naps: a shell heeds a signal only between commands.
pub const NAPS: &str = "i=0; while [ $i -lt 3000 ]; do sleep 0.1; i=$((i + 1)); done";

pub fn a_killed_worker_can_save_first<W: World>() {
    let world = W::new();
    let saved = world.folder().join("saved");
    let script = format!("trap 'echo saved > \"$1\"; exit 0' TERM; echo ready; {NAPS}");
    let worker = worker(&world, "worker-001", &script, &[saved.to_str().expect("UTF-8")]);
    let mut launcher = world.launcher();
    let handle = start(&mut *launcher, &worker);
    lines(&worker.log, 1);
    launcher.kill(&handle).expect("killing works");
    end(&mut *launcher, &handle);
    assert_eq!(lines(&saved, 1), ["saved"]);
    launcher.kill(&handle).expect("killing it twice is no error");
}

pub fn a_nudge_harms_nobody<W: World>() {
    let world = W::new();
    let mut launcher = world.launcher();
    let deaf = worker(&world, "worker-001", &format!("echo ready; {NAPS}"), &[]);
    let handle = start(&mut *launcher, &deaf);
    lines(&deaf.log, 1);
    for _ in 0..3 {
        launcher.nudge(&handle).expect("nudging works");
    }
    std::thread::sleep(Duration::from_millis(500));
    let after = hint(&mut *launcher, &handle);
    assert!(matches!(after, Hint::Running { .. }), "{after:?}");
    launcher.kill(&handle).expect("killing works");
    end(&mut *launcher, &handle);
}

pub fn a_program_that_is_missing_is_told<W: World>() {
    let world = W::new();
    let mut launcher = world.launcher();
    let mut missing = worker(&world, "worker-001", "true", &[]);
    missing.program = PathBuf::from("/no/such/program");
    match launcher.submit(&missing) {
        Err(error) => assert!(error.to_string().contains("/no/such/program"), "{error}"),
        Ok(Submission::Known(handle)) => {
            let how = end(&mut *launcher, &handle);
            assert!(how.contains("127"), "{how}");
            assert!(lines(&missing.log, 1).join("\n").contains("/no/such/program"));
        }
        Ok(uncertain) => panic!("{uncertain:?}"),
    }
}

/// Makes a test of every sentence for a [`World`], with these attributes.
#[macro_export]
macro_rules! launcher_contract {
    ($world:ty $(, #[$attribute:meta])*) => {
        launcher_contract!(@ $world, [$(#[$attribute])*],
            arguments_arrive_as_they_are
            a_second_worker_of_a_name_keeps_what_the_first_one_said
            an_ended_worker_is_gone_and_its_status_is_told
            several_workers_are_told_of_at_once
            what_is_not_known_is_no_error
            a_later_driver_finds_the_workers_that_run
            a_killed_worker_can_save_first
            a_nudge_harms_nobody
            a_program_that_is_missing_is_told
        );
    };
    (@ $world:ty, $attributes:tt, $($sentence:ident)*) => {
        $(launcher_contract!(@one $world, $attributes, $sentence);)*
    };
    (@one $world:ty, [$(#[$attribute:meta])*], $sentence:ident) => {
        #[test]
        $(#[$attribute])*
        fn $sentence() {
            $crate::contract::launcher::$sentence::<$world>();
        }
    };
}
