//! What `sbatch` says when it submits nothing, and what a person can do about it.

/// Words of errors after which a job may have been submitted all the same: the answer was lost.
const LOST: [&str; 5] = [
    "timed out",
    "Zero Bytes were transmitted or received",
    "Unexpected message received",
    "Message receive failure",
    "Message send failure",
];

/// Whether a job may have been submitted although `sbatch` failed with these words.
pub(super) fn may_have_submitted(said: &str) -> bool {
    LOST.iter().any(|words| said.contains(words))
}

/// Words of errors and what to do.
const HELP: [(&str, &str); 14] = [
    (
        "nvalid account or account/partition combination",
        "`sacctmgr show associations user=$USER` lists your accounts: set `executor.account`",
    ),
    ("nvalid partition", "`sinfo --summarize` lists the partitions: correct `executor.partition`"),
    ("o partition specified", "this cluster has no default: set `executor.partition`"),
    ("nvalid qos", "`sacctmgr show associations user=$USER` lists them: correct `executor.qos`"),
    ("nvalid account", "set `executor.account` to one of yours"),
    (
        "nvalid generic resource",
        "`sinfo --format='%P %G'` lists what partitions have: correct `executor.gpus_per_node` or \
         `executor.gres`",
    ),
    (
        "nvalid feature",
        "`sinfo --format='%N %f'` lists the nodes' features: correct `executor.constraint`",
    ),
    ("nvalid node name", "`sinfo --Node` lists the nodes: correct `executor.exclude`"),
    (
        "time limit is invalid",
        "`sinfo --format='%P %l'` lists the partitions' limits: lower `executor.time`",
    ),
    (
        "node configuration is not available",
        "no node has all of it: lower `executor.gpus_per_node`, `cpus_per_task` or `mem`, or name \
         another `partition`",
    ),
    (
        "emory specification can not be satisfied",
        "`sinfo --format='%P %m'` lists the nodes' memory in MB: lower `executor.mem`",
    ),
    (
        "violates accounting/QOS policy",
        "ask for less time, fewer GPUs or fewer jobs (`executor.max_jobs`), or name another `qos`",
    ),
    ("unrecognized option", "correct `executor.additional_parameters`"),
    (
        "nable to contact slurm controller",
        "the cluster does not answer: try again, or ask its administrators",
    ),
];

/// What to do about an error of `sbatch`, where that is known.
pub(super) fn help(said: &str) -> Option<String> {
    HELP.iter().find(|(words, _)| said.contains(words)).map(|(_, help)| (*help).to_owned())
}
