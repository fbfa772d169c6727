//! Settings of `executor: {type: slurm}`: what is asked of a cluster for each worker.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What each worker's job asks for, named as in submitit and `sbatch`. Texts hold no control
/// characters; whether a cluster has such a partition or account only Slurm knows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SlurmSettings {
    /// Partition, or several apart by commas; `None`: the cluster's default.
    pub partition: Option<String>,
    /// Account to charge.
    pub account: Option<String>,
    /// Quality of service.
    pub qos: Option<String>,
    /// Time limit of one job, as `sbatch --time` takes it; `None`: the partition's default.
    pub time: Option<String>,
    /// GPUs, as a number or `type:number`.
    pub gpus_per_node: Option<String>,
    /// Generic resources, as `sbatch --gres` takes them.
    pub gres: Option<String>,
    /// CPU cores.
    pub cpus_per_task: Option<u32>,
    /// Memory, as `sbatch --mem` takes it: `32G`.
    pub mem: Option<String>,
    /// Features a node must have.
    pub constraint: Option<String>,
    /// Nodes not to use, apart by commas.
    pub exclude: Option<String>,
    /// Lines of shell that run before the worker, as they stand.
    pub setup: Vec<String>,
    /// Seconds before the time limit at which a worker saves and its job is queued again.
    pub signal_delay_seconds: u32,
    /// Further options of `sbatch`, without their dashes; `None` for one that takes no value.
    pub additional_parameters: BTreeMap<String, Option<String>>,
    /// Jobs, and with them workers, at the same time.
    pub max_jobs: u32,
}

impl Default for SlurmSettings {
    fn default() -> Self {
        Self {
            partition: None,
            account: None,
            qos: None,
            time: None,
            gpus_per_node: None,
            gres: None,
            cpus_per_task: None,
            mem: None,
            constraint: None,
            exclude: None,
            setup: Vec::new(),
            signal_delay_seconds: 120,
            additional_parameters: BTreeMap::new(),
            max_jobs: 1,
        }
    }
}
