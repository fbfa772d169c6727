//! The script of a worker's job.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use spec::SlurmSettings;

use super::super::{LaunchError, WorkerCommand};

/// What makes a sweep's jobs its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    /// The sweep's name.
    pub sweep: String,
    /// Told apart from other sweeps of the same name.
    pub id: String,
    /// The file that holds `id` as long as the results folder is this sweep's.
    pub file: PathBuf,
}

impl Mark {
    /// What the comments of the sweep's jobs begin with.
    pub fn prefix(&self) -> String {
        format!("lorasweep:{}@{}:", self.sweep, self.id)
    }
}

/// The script that runs `worker` as a job of the sweep.
///
/// The shell stays beside the worker to turn signals into what the worker knows:
///
/// - USR1, sent before the time limit: save and end (TERM), then queue this job again unless the
///   worker says, by a status of 0, that it has nothing left to do.
/// - TERM, sent when the job is cancelled or preempted: save and end; Slurm queues the job again
///   where that is its way.
pub(super) fn render(
    settings: &SlurmSettings,
    mark: &Mark,
    worker: &WorkerCommand,
) -> Result<String, LaunchError> {
    let what = || format!("failed to write the job script of {}", worker.name);
    let log = text(worker.log.as_os_str(), &what)?;
    let (before, after) = around_the_number(log);
    let mut out = String::from("#!/bin/bash\n");
    let _ = writeln!(out, "# {} of the sweep {}, written by lorasweep.", worker.name, mark.sweep);
    for (name, value) in options(settings, mark, worker, log) {
        out += "#SBATCH --";
        out += &name;
        if let Some(value) = value {
            let _ = write!(out, "={}", quote_option(&value));
        }
        out.push('\n');
    }
    let quote = |text: &str| quote(text, &what);
    out += SIGNALS;
    if !is_slurms(log) {
        let _ = writeln!(
            out,
            "# Slurm itself cannot open a log in a folder of this name.\n\
             exec >>{}\"$SLURM_JOB_ID\"{} 2>&1\n",
            quote(&before)?,
            quote(&after)?
        );
    }
    let _ = write!(
        out,
        "\
         # Another sweep may have taken the folder while this job waited.\n\
         if [ \"$(cat {file})\" != {id} ]; then\n\
         \x20 echo \"not started: {name}'s results folder is not on $(hostname), or is another \
         sweep's by now\" >&2\n\
         \x20 exit 1\n\
         fi\n\
         # The log is found under its plain name too.\n\
         if [ -L {log} ] || [ ! -e {log} ]; then\n\
         \x20 ln -sfn {before}\"$SLURM_JOB_ID\"{after} {log}\n\
         fi\n",
        file = quote(text(mark.file.as_os_str(), &what)?)?,
        id = quote(&mark.id)?,
        name = worker.name,
        log = quote(log)?,
        before = quote(&file_name(&before))?,
        after = quote(&after)?,
    );
    if !settings.setup.is_empty() {
        let _ = write!(out, "\n# executor.setup\n{}\n", settings.setup.join("\n"));
    }
    out += "\n# The worker\n";
    for (name, value) in &worker.env {
        let _ = writeln!(out, "export {name}={}", quote(value)?);
    }
    if let (Some(cpus), None) = (settings.cpus_per_task, worker.env.get(THREADS)) {
        let _ = writeln!(out, "export {THREADS}=${{{THREADS}:-{cpus}}}");
    }
    out += "if [ -z \"$ending\" ]; then\n ";
    for part in std::iter::once(worker.program.as_os_str())
        .chain(worker.args.iter().map(std::ffi::OsString::as_os_str))
    {
        let _ = write!(out, " {}", quote(text(part, &what)?)?);
    }
    out += " &\n";
    out += WAIT;
    Ok(out)
}

/// Says to rayon how many threads to use.
const THREADS: &str = "RAYON_NUM_THREADS";

/// Before everything else, so that no signal ends the job unsaved.
const SIGNALS: &str = r#"
worker= ending= again=
end_worker() { ending=1; if [ -n "$worker" ]; then kill -TERM "$worker" 2>/dev/null; fi; }
trap 'again=1; end_worker' USR1
trap end_worker TERM

"#;

/// A signal ends a `wait`, not the worker.
const WAIT: &str = r#"  worker=$!
  if [ -n "$ending" ]; then end_worker; fi
  while kill -0 "$worker" 2>/dev/null; do wait "$worker"; done
  wait "$worker"
  status=$?
fi
if [ -n "$again" ] && [ "$status" != 0 ]; then
  echo "the time limit is near: job $SLURM_JOB_ID is queued again"
  exec scontrol requeue "$SLURM_JOB_ID"
fi
exit "${status:-0}"
"#;

/// The options that the environment may not change, without their dashes: those that a script has
/// and those that contradict them.
pub(super) fn fixed_options(settings: &SlurmSettings) -> Vec<String> {
    const OURS: [&str; 9] = [
        "array-inx",
        "job-name",
        "no-requeue",
        "nodes",
        "ntasks",
        "open-mode",
        "requeue",
        "signal",
        "wait",
    ];
    OURS.map(str::to_owned).into_iter().chain(asked(settings).map(|(name, _)| name)).collect()
}

/// What the sweep file asks for.
fn asked(settings: &SlurmSettings) -> impl Iterator<Item = (String, Option<String>)> {
    let cpus = settings.cpus_per_task.map(|cpus| cpus.to_string());
    let keys = [
        ("partition", settings.partition.clone()),
        ("account", settings.account.clone()),
        ("qos", settings.qos.clone()),
        ("time", settings.time.clone()),
        ("gpus-per-node", settings.gpus_per_node.clone()),
        ("gres", settings.gres.clone()),
        ("cpus-per-task", cpus),
        ("mem", settings.mem.clone()),
        ("constraint", settings.constraint.clone()),
        ("exclude", settings.exclude.clone()),
    ];
    let given = keys.into_iter().filter(|(_, value)| value.is_some());
    given
        .map(|(name, value)| (name.to_owned(), value))
        .chain(settings.additional_parameters.clone())
}

/// The options of `sbatch`, without their dashes.
fn options(
    settings: &SlurmSettings,
    mark: &Mark,
    worker: &WorkerCommand,
    log: &str,
) -> Vec<(String, Option<String>)> {
    let output = if is_slurms(log) {
        let (before, after) = around_the_number(log);
        let [before, after] = [before, after].map(|part| part.replace('%', "%%"));
        format!("{before}%j{after}")
    } else {
        "/dev/null".to_owned()
    };
    let text = |value: &str| Some(value.to_owned());
    let ours = [
        ("job-name", text(&format!("lorasweep-{}-{}", mark.sweep, worker.name))),
        ("comment", text(&format!("{}{}", mark.prefix(), worker.name))),
        ("output", Some(output)),
        ("open-mode", text("append")),
        ("requeue", None),
        ("signal", Some(format!("B:USR1@{}", settings.signal_delay_seconds))),
        ("nodes", text("1")),
        ("ntasks", text("1")),
    ];
    let ours = ours.into_iter().map(|(name, value)| (name.to_owned(), value));
    ours.chain(asked(settings)).collect()
}

/// Whether Slurm can open a log: in a path with a backslash it replaces no `%j` and takes the
/// backslash away, and a line end ends its option.
fn is_slurms(log: &str) -> bool {
    !log.contains(['\\', '\n', '\r'])
}

/// `worker.log` as `worker.` and `.log`, between which the job's number stands.
fn around_the_number(log: &str) -> (String, String) {
    let extension = Path::new(log).extension().and_then(|extension| extension.to_str());
    match extension {
        Some(extension) => (log[..log.len() - extension.len()].to_owned(), format!(".{extension}")),
        None => (format!("{log}."), String::new()),
    }
}

fn file_name(path: &str) -> String {
    Path::new(path).file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// A value in an `#SBATCH` line, whose quotes and backslashes `sbatch` itself reads.
fn quote_option(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:,=@%+".contains(c);
    if !value.is_empty() && value.chars().all(plain) {
        return value.to_owned();
    }
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
}

/// A word of the shell.
fn quote(word: &str, what: &dyn Fn() -> String) -> Result<String, LaunchError> {
    let quoted = shlex::try_quote(word).map_err(|error| LaunchError {
        what: what(),
        said: format!("{word:?} cannot be quoted for the shell: {error}"),
        help: None,
    })?;
    Ok(quoted.into_owned())
}

fn text<'a>(value: &'a std::ffi::OsStr, what: &dyn Fn() -> String) -> Result<&'a str, LaunchError> {
    let lines = |text: &&str| !text.contains('\0');
    value.to_str().filter(lines).ok_or_else(|| LaunchError {
        what: what(),
        said: format!("`{}` is not UTF-8 text", value.display()),
        help: Some("rename the folder".to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn worker(folder: &str) -> WorkerCommand {
        WorkerCommand {
            name: "worker-003".to_owned(),
            program: "/opt/lora sweep/lorasweep".into(),
            args: ["worker", "--sweep", folder, "--name", "worker-003"].map(Into::into).into(),
            env: BTreeMap::from([("GREETING".to_owned(), "it's $5".to_owned())]),
            log: format!("{folder}/workers/worker-003.log").into(),
        }
    }

    fn script(settings: &SlurmSettings, folder: &str) -> String {
        let mark = Mark {
            sweep: "x".to_owned(),
            id: "0badcafe".to_owned(),
            file: format!("{folder}/slurm/id").into(),
        };
        render(settings, &mark, &worker(folder)).expect("it is all text")
    }

    #[test]
    fn a_script_holds_everything_that_was_asked_for() {
        let text = |text: &str| Some(text.to_owned());
        let settings = SlurmSettings {
            partition: text("gpu"),
            account: text("lab"),
            qos: text("high"),
            time: text("4:00:00"),
            gpus_per_node: text("a100:1"),
            gres: text("shard:2"),
            cpus_per_task: Some(8),
            mem: text("32G"),
            constraint: text("a100&ib"),
            exclude: text("n[7-8]"),
            setup: vec!["module load cuda".to_owned(), "source ~/env.sh".to_owned()],
            signal_delay_seconds: 90,
            additional_parameters: BTreeMap::from([
                ("exclusive".to_owned(), None),
                ("reservation".to_owned(), text("a \"b\" \\c")),
            ]),
            max_jobs: 4,
        };
        insta::assert_snapshot!(script(&settings, "/data/x"));
    }

    #[test]
    fn a_bare_script_in_a_folder_with_an_awkward_name_is_quoted() {
        insta::assert_snapshot!(script(&SlurmSettings::default(), "/data/it's 100% \"$mine\""));
    }

    #[test]
    fn a_job_in_a_folder_with_a_backslash_opens_its_log_itself() {
        let script = script(&SlurmSettings::default(), r"/data/a\b %j");
        assert!(script.contains("#SBATCH --output=/dev/null\n"), "{script}");
        let own = r#"exec >>"/data/a\\b %j/workers/worker-003.""$SLURM_JOB_ID".log 2>&1"#;
        assert!(script.contains(own), "{script}");
    }

    #[test]
    fn a_log_without_an_extension_gets_the_number_at_its_end() {
        assert_eq!(around_the_number("/a.b/log"), ("/a.b/log.".to_owned(), String::new()));
        assert_eq!(around_the_number("/a/w.log"), ("/a/w.".to_owned(), ".log".to_owned()));
    }

    #[test]
    fn a_path_that_is_not_text_is_refused() {
        use std::os::unix::ffi::OsStringExt;
        let mut worker = worker("/data");
        worker.args.push(std::ffi::OsString::from_vec(vec![0xff]));
        let mark = Mark { sweep: String::new(), id: String::new(), file: "/id".into() };
        let error = render(&SlurmSettings::default(), &mark, &worker).expect_err("not UTF-8");
        assert!(error.to_string().contains("not UTF-8"), "{error}");
    }
}
