//! The names under a sweep's folder, in one place.

use std::path::{Path, PathBuf};

use spec::TrialId;

/// What a checkpoint is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Its own trial goes on from it.
    Resume,
    /// Trials that share its steps go on from it.
    Fork,
}

pub(crate) fn sweep_yaml(root: &Path) -> PathBuf {
    root.join("sweep.yaml")
}

pub(crate) fn resolved_json(root: &Path) -> PathBuf {
    root.join("resolved.json")
}

/// Says which of the report's files are lorasweep's.
pub(crate) fn report_manifest(root: &Path) -> PathBuf {
    root.join(REPORT_MANIFEST)
}

pub(crate) fn lock(root: &Path) -> PathBuf {
    root.join("lock")
}

pub(crate) fn journal(root: &Path) -> PathBuf {
    root.join("journal")
}

pub(crate) fn trials(root: &Path) -> PathBuf {
    root.join("trials")
}

pub(crate) fn trial(root: &Path, id: TrialId) -> PathBuf {
    trials(root).join(format!("trial-{id}"))
}

pub(crate) fn trial_json(root: &Path, id: TrialId) -> PathBuf {
    trial(root, id).join("trial.json")
}

pub(crate) fn metrics_csv(root: &Path, id: TrialId) -> PathBuf {
    trial(root, id).join("metrics.csv")
}

pub(crate) fn steps_csv(root: &Path, id: TrialId) -> PathBuf {
    trial(root, id).join("steps.csv")
}

pub(crate) fn checkpoint(root: &Path, id: TrialId, purpose: Purpose) -> PathBuf {
    checkpoint_in(&trial(root, id), purpose)
}

pub(crate) fn checkpoint_in(trial: &Path, purpose: Purpose) -> PathBuf {
    trial.join(match purpose {
        Purpose::Resume => "checkpoint",
        Purpose::Fork => "fork",
    })
}

pub(crate) fn adapter(root: &Path, id: TrialId) -> PathBuf {
    trial(root, id).join("adapter")
}

/// The adapters of its epochs, where they are kept.
pub(crate) fn epochs(trial: &Path) -> PathBuf {
    trial.join("epochs")
}

pub(crate) fn epoch_adapter(root: &Path, id: TrialId, epoch: u32) -> PathBuf {
    epochs(&trial(root, id)).join(format!("epoch-{epoch:03}"))
}

/// What belongs to the trial's command: its log and whatever it writes there itself.
pub(crate) fn command(root: &Path, id: TrialId) -> PathBuf {
    let own = if id == TrialId::BASE { root.join("base") } else { trial(root, id) };
    own.join("command")
}

/// What lies in a sweep's own folder, beside `resolved.json`, which makes it one, and the lock, which
/// is there before.
pub(crate) const NAMES: [&str; 14] = [
    "sweep.yaml",
    "cancel",
    "requests",
    "journal",
    "workers",
    "trials",
    "base",
    "slurm",
    "plots",
    "best",
    "ranking.csv",
    "ranking.json",
    "report.txt",
    "report.html",
];

/// The name of [`report_manifest`].
pub(crate) const REPORT_MANIFEST: &str = ".lorasweep-report.json";

/// Whether a file or folder of this name is written, as a whole, in a sweep's own folder.
pub(crate) fn is_sweep_file(name: &str) -> bool {
    ["resolved.json", REPORT_MANIFEST].contains(&name) || NAMES.contains(&name)
}

/// The same in the folder of a trial.
pub(crate) fn is_trial_file(name: &str) -> bool {
    ["trial.json", "metrics.csv", "steps.csv", "adapter"].contains(&name)
}

/// What lorasweep puts into the folder of a trial that was proposed. A trial's command writes only
/// after the attempt was claimed.
pub(crate) const TRIAL_NAMES: [&str; 8] =
    ["claims", "trial.json", "metrics.csv", "steps.csv", "adapter", "epochs", "checkpoint", "fork"];

/// The trial whose folder has this name.
pub(crate) fn id_of_trial(name: &str) -> Option<TrialId> {
    let id = TrialId(name.strip_prefix("trial-")?.parse().ok()?);
    (format!("trial-{id}") == name).then_some(id)
}

/// The same in the folder of a trial's epochs.
pub(crate) fn is_epoch(name: &str) -> bool {
    let number = name.strip_prefix("epoch-");
    number.is_some_and(|n| n.len() >= 3 && n.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Is there while the sweep's processes are to save and end.
pub(crate) fn cancel(root: &Path) -> PathBuf {
    root.join("cancel")
}

/// What people ask of the sweep.
pub(crate) fn requests(root: &Path) -> PathBuf {
    root.join("requests")
}

/// Where attempts at a trial are claimed.
pub(crate) fn claims(root: &Path, id: TrialId) -> PathBuf {
    trial(root, id).join("claims")
}

pub(crate) fn workers(root: &Path) -> PathBuf {
    root.join("workers")
}

pub(crate) fn worker(root: &Path, name: &str) -> PathBuf {
    workers(root).join(name)
}

pub(crate) fn base_json(root: &Path) -> PathBuf {
    root.join("base").join("base.json")
}

pub(crate) fn plots(root: &Path) -> PathBuf {
    root.join("plots")
}

pub(crate) fn best(root: &Path) -> PathBuf {
    root.join("best")
}

/// A file that is derived from the state and can be made again at any time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReportFile {
    /// The ranking as a table.
    RankingCsv,
    /// The ranking for programs.
    RankingJson,
    /// What the terminal showed at the end.
    ReportText,
    /// Everything on one page.
    ReportHtml,
    /// A plot, by its file name with extension, below the plots' folder (`runs/trial-003.svg`).
    Plot(String),
}

impl ReportFile {
    pub(crate) fn path(&self, root: &Path) -> PathBuf {
        match self {
            Self::RankingCsv => root.join("ranking.csv"),
            Self::RankingJson => root.join("ranking.json"),
            Self::ReportText => root.join("report.txt"),
            Self::ReportHtml => root.join("report.html"),
            Self::Plot(name) => plots(root).join(name),
        }
    }
}
