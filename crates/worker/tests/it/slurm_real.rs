//! The Slurm launcher against a real Slurm of two nodes: `scripts/slurm/test.sh` brings it up, runs
//! these one after the other, and ends it. They kill daemons and fill nodes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use spec::SlurmSettings;
use tempfile::TempDir;
use worker::launch::{Handle, Hint, Launcher, SlurmLauncher};

use crate::contract::launcher::{NAPS, World, end, hint, lines, start, until, worker};
use crate::launcher_contract;

/// A sweep's folder with a name that needs quotes, in the shell and in `#SBATCH` lines.
struct RealSlurm {
    _temporary: TempDir,
    folder: PathBuf,
}

impl World for RealSlurm {
    const OUTLIVED: bool = true;

    fn new() -> Self {
        let temporary = TempDir::new().expect("there is room for temporary files");
        let folder = temporary.path().join("it's a 100% \"$weet\" sweep");
        fs::create_dir(&folder).expect("folders can be made");
        Self { _temporary: temporary, folder }
    }

    fn launcher(&self) -> Box<dyn Launcher> {
        Box::new(self.slurm(small()))
    }

    fn folder(&self) -> &Path {
        &self.folder
    }
}

impl RealSlurm {
    fn slurm(&self, settings: SlurmSettings) -> SlurmLauncher {
        SlurmLauncher::open(settings, "x", &self.folder.join("slurm"))
            .expect("the folder is writable")
    }
}

fn small() -> SlurmSettings {
    SlurmSettings { cpus_per_task: Some(1), ..SlurmSettings::default() }
}

launcher_contract!(RealSlurm, #[ignore = "needs scripts/slurm/test.sh"]);

/// Runs a command of Slurm's and gives what it says.
fn say(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().expect("Slurm is installed");
    assert!(output.status.success(), "{program} {args:?}: {output:?}");
    String::from_utf8(output.stdout).expect("Slurm speaks UTF-8")
}

/// The folder that `up.sh` made, beside its slurm.conf.
fn cluster() -> PathBuf {
    let conf = std::env::var_os("SLURM_CONF").expect("test.sh sets SLURM_CONF");
    Path::new(&conf).parent().expect("it is a file in a folder").to_path_buf()
}

/// A worker that counts in a file: `run <restarts> <gpus>` when it begins, `saved` when told to end.
fn counting(world: &RealSlurm) -> (worker::launch::WorkerCommand, PathBuf) {
    let counted = world.folder.join("counted");
    let script = format!(
        "echo \"run ${{SLURM_RESTART_COUNT:-0}} ${{CUDA_VISIBLE_DEVICES:--}}\" >> \"$1\"; \
         trap 'echo saved >> \"$1\"; exit 130' TERM; {NAPS}"
    );
    let worker = worker(world, "worker-001", &script, &[counted.to_str().expect("UTF-8")]);
    (worker, counted)
}

/// Lets a job that was queued again start now instead of in two minutes.
fn hurry(handle: &Handle) {
    until("the job to be queued again", || {
        let job = format!("JobId={}", handle.0);
        // On the node that ended it in the same second, Slurm 22.05 takes the new run for the old
        // one and fails it: "Job credential revoked".
        let update = ["update", &job, "StartTime=now+3"];
        let done = Command::new("scontrol").args(update).output().expect("Slurm is installed");
        done.status.success().then_some(())
    });
}

fn finish(launcher: &mut dyn Launcher, handle: &Handle) {
    launcher.kill(handle).expect("killing works");
    end(launcher, handle);
}

#[test]
#[ignore = "needs scripts/slurm/test.sh"]
fn a_job_that_must_wait_is_queued_with_its_reason() {
    let world = RealSlurm::new();
    let begin = ("begin".to_owned(), Some("now+1hour".to_owned()));
    let settings = SlurmSettings { additional_parameters: [begin].into(), ..small() };
    let mut slurm = world.slurm(settings);
    let handle = start(&mut slurm, &worker(&world, "worker-001", "true", &[]));
    until("the reason", || match hint(&mut slurm, &handle) {
        Hint::Queued { reason } if reason.contains("BeginTime") => Some(()),
        _ => None,
    });
    assert_eq!(slurm.find().expect("finding works")["worker-001"], handle);
    finish(&mut slurm, &handle);
    assert!(slurm.find().expect("finding works").is_empty());
}

#[test]
#[ignore = "needs scripts/slurm/test.sh"]
fn each_job_gets_a_gpu_of_its_own_and_they_spread_over_the_nodes() {
    let world = RealSlurm::new();
    let settings = SlurmSettings { gpus_per_node: Some("1".to_owned()), ..small() };
    let mut slurm = world.slurm(settings);
    let handles: Vec<Handle> = (1..=4)
        .map(|number| {
            let script = format!("echo $SLURMD_NODENAME:$CUDA_VISIBLE_DEVICES; {NAPS}");
            start(&mut slurm, &worker(&world, &format!("worker-00{number}"), &script, &[]))
        })
        .collect();
    let mut places: Vec<String> = (1..=4)
        .flat_map(|number| lines(&world.folder.join(format!("worker-00{number}.log")), 1))
        .collect();
    places.sort();
    assert_eq!(places, ["n1:0", "n1:1", "n2:0", "n2:1"]);
    for handle in &handles {
        slurm.kill(handle).expect("killing works");
    }
    for handle in &handles {
        end(&mut slurm, handle);
    }
}

#[test]
#[ignore = "needs scripts/slurm/test.sh"]
fn before_the_time_limit_a_job_saves_and_is_queued_again() {
    let world = RealSlurm::new();
    let settings =
        SlurmSettings { time: Some("1".to_owned()), signal_delay_seconds: 50, ..small() };
    let (worker, counted) = counting(&world);
    let mut slurm = world.slurm(settings);
    let handle = start(&mut slurm, &worker);
    assert_eq!(lines(&counted, 2), ["run 0 -", "saved"]);
    until("the job to wait", || {
        matches!(hint(&mut slurm, &handle), Hint::Queued { .. }).then_some(())
    });
    hurry(&handle);
    assert_eq!(lines(&counted, 3)[2], "run 1 -");
    let log = fs::read_to_string(&worker.log).expect("the log is there");
    assert!(log.contains("is queued again"), "{log}");
    finish(&mut slurm, &handle);
}

#[test]
#[ignore = "needs scripts/slurm/test.sh"]
fn a_preempted_job_saves_and_is_queued_again() {
    let world = RealSlurm::new();
    let (worker, counted) = counting(&world);
    let mut slurm = world.slurm(small());
    let handle = start(&mut slurm, &worker);
    lines(&counted, 1);
    let urgent = ["--parsable", "--partition=urgent", "--exclusive", "--nodes=2"];
    let urgent = submit_beside(&urgent, "sleep 300");
    assert_eq!(lines(&counted, 2)[1], "saved");
    until("the job to wait", || {
        matches!(hint(&mut slurm, &handle), Hint::Queued { .. }).then_some(())
    });
    say("scancel", &[&urgent]);
    hurry(&handle);
    assert_eq!(lines(&counted, 3)[2], "run 1 -");
    finish(&mut slurm, &handle);
}

fn submit_beside(options: &[&str], script: &str) -> String {
    let wrap = format!("--wrap={script}");
    let args: Vec<&str> = options.iter().copied().chain(["--output=/dev/null", &wrap]).collect();
    say("sbatch", &args).trim().to_owned()
}

#[test]
#[ignore = "needs scripts/slurm/test.sh"]
fn a_job_whose_node_dies_runs_again_on_the_other_node() {
    let world = RealSlurm::new();
    let place = world.folder.join("place");
    let script = format!("echo $SLURMD_NODENAME >> \"$1\"; {NAPS}");
    let worker = worker(&world, "worker-001", &script, &[place.to_str().expect("UTF-8")]);
    let mut slurm = world.slurm(small());
    let handle = start(&mut slurm, &worker);
    let dead = lines(&place, 1)[0].clone();
    let pid = fs::read_to_string(cluster().join("pid").join(&dead)).expect("it runs");
    let killed = Command::new("/bin/kill").args(["-KILL", pid.trim()]).status();
    assert!(killed.expect("kill is installed").success());
    until("the job to leave its node", || match hint(&mut slurm, &handle) {
        Hint::Queued { .. } => Some(()),
        _ => None,
    });
    hurry(&handle);
    let places = lines(&place, 2);
    assert_ne!(places[1], dead);
    assert_eq!(slurm.find().expect("finding works")["worker-001"], handle);
    finish(&mut slurm, &handle);
    // The node comes back, and ends what it finds of the job.
    say("slurmd", &["-N", &dead]);
    until("the node to be idle", || {
        let idle = say("sinfo", &["-h", "-n", &dead, "-p", "main", "-o", "%t"]);
        (idle.trim() == "idle").then_some(())
    });
}

#[test]
#[ignore = "needs scripts/slurm/test.sh"]
fn what_the_cluster_does_not_have_is_refused_with_help() {
    let world = RealSlurm::new();
    let text = |text: &str| Some(text.to_owned());
    let cases = [
        (SlurmSettings { partition: text("gpuu"), ..small() }, "sinfo --summarize"),
        (SlurmSettings { gpus_per_node: text("9"), ..small() }, "no node has all of it"),
        (SlurmSettings { gres: text("fpga:1"), ..small() }, "executor.gres"),
        (SlurmSettings { constraint: text("moon"), ..small() }, "executor.constraint"),
        (SlurmSettings { exclude: text("mars"), ..small() }, "executor.exclude"),
        (
            SlurmSettings {
                additional_parameters: [("no-such-thing".to_owned(), None)].into(),
                ..small()
            },
            "additional_parameters",
        ),
    ];
    for (settings, words) in cases {
        let refused = world.slurm(settings).submit(&worker(&world, "worker-001", "true", &[]));
        let error = refused.expect_err("the cluster has no such thing");
        let help = error.help.clone().unwrap_or_default();
        assert!(help.contains(words), "{error}\nhelp: {help}");
    }
}

#[test]
#[ignore = "needs scripts/slurm/test.sh"]
fn a_job_that_can_never_start_says_so() {
    let world = RealSlurm::new();
    let mut slurm = world.slurm(SlurmSettings { cpus_per_task: Some(500), ..small() });
    let handle = start(&mut slurm, &worker(&world, "worker-001", "true", &[]));
    until("the reason", || match hint(&mut slurm, &handle) {
        Hint::Queued { reason } if reason.contains("will not start") => Some(()),
        _ => None,
    });
    finish(&mut slurm, &handle);
}

/// `ACCOUNTING=1 scripts/slurm/test.sh` brings one up.
fn has_accounting() -> bool {
    say("scontrol", &["show", "config"]).contains("accounting_storage/slurmdbd")
}

#[test]
#[ignore = "needs scripts/slurm/test.sh"]
fn a_job_that_the_controller_forgot_is_gone_and_the_accounting_still_knows_how() {
    let world = RealSlurm::new();
    let mut slurm = world.slurm(small());
    let handle = start(&mut slurm, &worker(&world, "worker-001", "exit 4", &[]));
    assert!(end(&mut slurm, &handle).contains("exit status 4"));
    // test.sh lets the controller forget after two seconds.
    until("the controller to forget", || {
        let show = ["show", "job", handle.0.as_str()];
        let shown = Command::new("scontrol").args(show).output().expect("Slurm is installed");
        (!shown.status.success()).then_some(())
    });
    let known = if has_accounting() { "FAILED, exit status 4" } else { "no longer knows" };
    match hint(&mut slurm, &handle) {
        Hint::Gone { how } => assert!(how.contains(known), "{how}"),
        other => panic!("{other:?}"),
    }
}

/// The accounting lists a job once for each time that it was queued; the controller goes first.
#[test]
#[ignore = "needs scripts/slurm/test.sh"]
fn a_job_that_was_queued_again_is_not_taken_for_ended() {
    let world = RealSlurm::new();
    let mut slurm = world.slurm(small());
    let (counting, counted) = counting(&world);
    let handle = start(&mut slurm, &counting);
    assert_eq!(lines(&counted, 1), ["run 0 -"]);
    say("scontrol", &["requeue", &handle.0]);
    hurry(&handle);
    until("the job to run again", || {
        let found = hint(&mut slurm, &handle);
        assert!(!matches!(found, Hint::Gone { .. }), "{found:?}");
        let text = fs::read_to_string(&counted).unwrap_or_default();
        text.contains("run 1").then_some(())
    });
    finish(&mut slurm, &handle);
}
