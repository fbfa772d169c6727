//! The Slurm launcher against a few lines of shell that play Slurm.

#![allow(clippy::disallowed_methods, reason = "a test changes its own files")]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use spec::SlurmSettings;
use tempfile::TempDir;
use worker::launch::{Handle, Hint, LaunchError, Launcher, SlurmLauncher, Submission};

use crate::contract::launcher::{World, end, hint, lines, start, worker};
use crate::launcher_contract;

/// A machine on which Slurm is played, and a sweep's folder with a name that needs quotes.
struct FakeSlurm {
    _temporary: TempDir,
    programs: PathBuf,
    folder: PathBuf,
}

impl World for FakeSlurm {
    const OUTLIVED: bool = true;

    fn new() -> Self {
        let temporary = TempDir::new().expect("there is room for temporary files");
        let programs = temporary.path().join("bin");
        let folder = temporary.path().join("it's a 100% $weet sweep");
        for path in [&programs, &folder] {
            fs::create_dir(path).expect("folders can be made");
        }
        let script = programs.join("fake_slurm.sh");
        fs::write(&script, include_str!("fake_slurm.sh")).expect("files can be written");
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("it is ours");
        for name in ["sbatch", "squeue", "scancel", "scontrol", "sacct"] {
            symlink(&script, programs.join(name)).expect("links can be made");
        }
        fs::create_dir(programs.join("state")).expect("folders can be made");
        Self { _temporary: temporary, programs, folder }
    }

    fn launcher(&self) -> Box<dyn Launcher> {
        Box::new(self.slurm(SlurmSettings::default()))
    }

    fn folder(&self) -> &Path {
        &self.folder
    }
}

impl FakeSlurm {
    fn slurm(&self, settings: SlurmSettings) -> SlurmLauncher {
        let path = format!("{}:/usr/bin:/bin", self.programs.display());
        SlurmLauncher::open(settings, "x", &self.folder.join("slurm"))
            .expect("the folder is writable")
            .with_path(path)
    }

    /// Changes what the played Slurm does from now on.
    fn mood(&self, name: &str, words: &str) {
        fs::write(self.programs.join("state").join(name), words).expect("files can be written");
    }

    fn calm(&self, name: &str) {
        fs::remove_file(self.programs.join("state").join(name)).expect("it was there");
    }

    fn job(&self, handle: &Handle, file: &str, words: &str) {
        self.mood(&format!("jobs/{}/{file}", handle.0), words);
    }
}

launcher_contract!(FakeSlurm);

#[test]
fn a_submission_without_an_answer_is_uncertain_and_its_job_is_found_later() {
    let world = FakeSlurm::new();
    let mut slurm = world.slurm(SlurmSettings::default()).with_limit(Duration::from_millis(700));
    world.mood("hangs", "");
    let said = match slurm.submit(&worker(&world, "worker-007", "sleep 300", &[])) {
        Ok(Submission::Uncertain { said }) => said,
        other => panic!("{other:?}"),
    };
    assert!(said.contains("no answer in 0.7 s"), "{said}");
    world.calm("hangs");
    let handle = slurm.find().expect("finding works")["worker-007"].clone();
    slurm.kill(&handle).expect("killing works");
    end(&mut slurm, &handle);
}

#[test]
fn an_answer_that_makes_no_sense_is_uncertain() {
    let world = FakeSlurm::new();
    world.mood("garbles", "Welcome to the cluster!\n");
    let submitted = world.launcher().submit(&worker(&world, "worker-001", "true", &[]));
    assert!(matches!(submitted, Ok(Submission::Uncertain { .. })), "{submitted:?}");
}

#[test]
fn the_number_is_found_beside_a_clusters_name_and_other_words() {
    let world = FakeSlurm::new();
    world.mood("garbles", "sbatch: budget: 12 h left\n4711;alps\n");
    let submitted = world.launcher().submit(&worker(&world, "worker-001", "true", &[]));
    assert_eq!(submitted.expect("it is submitted"), Submission::Known(Handle("4711".to_owned())));
}

fn refusal(words: &str) -> Result<Submission, LaunchError> {
    let world = FakeSlurm::new();
    world.mood("refuses", words);
    world.launcher().submit(&worker(&world, "worker-001", "true", &[]))
}

#[test]
fn a_refused_submission_says_what_slurm_said_and_what_to_do() {
    let error = refusal(
        "sbatch: error: invalid partition specified: gpuu\n\
         sbatch: error: Batch job submission failed: Invalid partition name specified\n",
    )
    .expect_err("it is refused");
    assert!(error.what.starts_with("`sbatch --parsable"), "{}", error.what);
    assert!(error.said.contains("Invalid partition name"), "{}", error.said);
    assert!(error.help.expect("there is help").contains("executor.partition"));
}

#[test]
fn a_refusal_after_which_the_job_may_exist_is_uncertain() {
    let words = "sbatch: error: Batch job submission failed: Socket timed out on send/recv \
                 operation\n";
    assert!(matches!(refusal(words), Ok(Submission::Uncertain { .. })));
}

#[test]
fn a_machine_without_slurm_says_where_to_start_from() {
    let world = FakeSlurm::new();
    let mut slurm = world.slurm(SlurmSettings::default()).with_path("/nowhere");
    let error =
        slurm.submit(&worker(&world, "worker-001", "true", &[])).expect_err("there is no sbatch");
    assert!(error.help.expect("there is help").contains("login node"));
    assert!(slurm.poll(&[Handle("1".to_owned())]).is_err());
}

#[test]
fn a_controller_that_does_not_answer_leaves_workers_unknown() {
    let world = FakeSlurm::new();
    let mut launcher = world.launcher();
    let handle = start(&mut *launcher, &worker(&world, "worker-001", "sleep 300", &[]));
    world.mood("refuses", "slurm_load_jobs error: Unable to contact slurm controller\n");
    let unknown = hint(&mut *launcher, &handle);
    assert!(matches!(&unknown, Hint::Unknown { said } if said.contains("contact")), "{unknown:?}");
    world.calm("refuses");
    launcher.kill(&handle).expect("killing works");
    end(&mut *launcher, &handle);
}

#[test]
fn a_state_that_nobody_knows_is_unknown_and_not_an_error() {
    let world = FakeSlurm::new();
    let mut launcher = world.launcher();
    let handle = start(&mut *launcher, &worker(&world, "worker-001", "true", &[]));
    world.job(&handle, "state", "HIBERNATING");
    let unknown = hint(&mut *launcher, &handle);
    assert!(
        matches!(&unknown, Hint::Unknown { said } if said.contains("HIBERNATING")),
        "{unknown:?}"
    );
}

#[test]
fn a_job_that_the_controller_has_forgotten_is_gone() {
    let world = FakeSlurm::new();
    let mut launcher = world.launcher();
    let handle = start(&mut *launcher, &worker(&world, "worker-001", "exit 3", &[]));
    end(&mut *launcher, &handle);
    world.job(&handle, "forgotten", "");
    assert!(matches!(hint(&mut *launcher, &handle), Hint::Gone { .. }));
}

#[test]
fn a_job_near_its_time_limit_saves_and_is_queued_again() {
    let world = FakeSlurm::new();
    let counted = world.folder.join("counted");
    let script = format!(
        "echo run >> \"$1\"; trap 'echo saved >> \"$1\"; exit 130' TERM; {}",
        crate::contract::launcher::NAPS
    );
    let worker = worker(&world, "worker-001", &script, &[counted.to_str().expect("UTF-8")]);
    let mut launcher = world.launcher();
    let handle = start(&mut *launcher, &worker);
    lines(&counted, 1);
    // As Slurm does `signal_delay_seconds` before the limit.
    let pid = fs::read_to_string(world.programs.join(format!("state/jobs/{}/pid", handle.0)))
        .expect("it runs");
    let sent = std::process::Command::new("/bin/kill").args(["-USR1", pid.trim()]).status();
    assert!(sent.expect("kill is installed").success());
    assert_eq!(lines(&counted, 3), ["run", "saved", "run"]);
    launcher.kill(&handle).expect("killing works");
    end(&mut *launcher, &handle);
    assert_eq!(lines(&counted, 4).last().map(String::as_str), Some("saved"));
}

#[test]
fn setup_lines_run_before_the_worker_and_can_set_its_variables() {
    let world = FakeSlurm::new();
    let setup = ["export GREETING=\"hello world\"".to_owned(), "threads=3".to_owned()];
    let settings =
        SlurmSettings { setup: setup.to_vec(), cpus_per_task: Some(3), ..SlurmSettings::default() };
    let worker = worker(&world, "worker-001", "echo $GREETING $RAYON_NUM_THREADS", &[]);
    let mut slurm = world.slurm(settings);
    let handle = start(&mut slurm, &worker);
    end(&mut slurm, &handle);
    assert_eq!(lines(&worker.log, 1), ["hello world 3"]);
}

#[test]
fn a_job_whose_folder_belongs_to_another_sweep_by_now_does_nothing() {
    let world = FakeSlurm::new();
    let mut slurm = world.slurm(SlurmSettings::default());
    fs::write(world.folder.join("slurm/id"), "another").expect("files can be written");
    let worker = worker(&world, "worker-001", "echo started", &[]);
    let handle = start(&mut slurm, &worker);
    let how = end(&mut slurm, &handle);
    assert!(how.starts_with("FAILED, exit status 1"), "{how}");
    let logs = fs::read_dir(&world.folder).expect("the folder is there");
    let said: String = logs
        .filter_map(|entry| fs::read_to_string(entry.expect("it can be read").path()).ok())
        .collect();
    assert!(said.contains("another sweep") && !said.contains("started\n"), "{said}");
}

#[test]
fn the_jobs_of_a_sweep_of_the_same_name_are_not_taken_for_its_own() {
    let world = FakeSlurm::new();
    let mut launcher = world.launcher();
    let handle = start(&mut *launcher, &worker(&world, "worker-001", "sleep 300", &[]));
    let path = format!("{}:/usr/bin:/bin", world.programs.display());
    let elsewhere = world.folder.join("other/slurm");
    let mut other = SlurmLauncher::open(SlurmSettings::default(), "x", &elsewhere)
        .expect("the folder is writable")
        .with_path(path);
    assert!(other.find().expect("finding works").is_empty());
    assert_eq!(launcher.find().expect("finding works").len(), 1);
    launcher.kill(&handle).expect("killing works");
    end(&mut *launcher, &handle);
}
