//! The keys of a sweep file, those that other tools use, and what to say about the rest.

use super::sections::{self, names};
use crate::mistake::{Mistake, most_similar};
use crate::parameter::{Parameter, TABLE};

// The keys of every section, named as in messages. Trial parameters are also keys of `train`.
pub(crate) const TOP: &[&str] = &names::<{ sections::TOP.len() }>(sections::TOP);
pub(crate) const BAYES: &[&str] = &names::<{ sections::BAYES.len() }>(sections::BAYES);
pub(crate) const RANK_LADDER: &[&str] =
    &names::<{ sections::RANK_LADDER.len() }>(sections::RANK_LADDER);
pub(crate) const REPLICATES: &[&str] =
    &names::<{ sections::REPLICATES.len() }>(sections::REPLICATES);
pub(crate) const METRIC: &[&str] = &[
    "name",
    "goal",
    "target",
    "measure",
    "examples",
    "every",
    "max_new_tokens",
    "stop",
    "normalise",
    "pattern",
    "tolerance",
    "fields",
    "command",
];
pub(crate) const MEASURE: &[&str] = &names::<{ sections::SCORE.len() }>(sections::SCORE);
pub(crate) const DATA: &[&str] = &names::<{ sections::DATA.len() }>(sections::DATA);
pub(crate) const VALIDATION: &[&str] =
    &names::<{ sections::VALIDATION.len() }>(sections::VALIDATION);
pub(crate) const TRAIN: &[&str] = &names::<{ sections::TRAIN.len() }>(sections::TRAIN);
pub(crate) const EXECUTOR: &[&str] = &names::<{ sections::EXECUTOR.len() }>(sections::EXECUTOR);
/// The keys of `executor` that only `type: slurm` has.
pub(crate) const SLURM: &[&str] = &names::<{ sections::SLURM.len() }>(sections::SLURM);
pub(crate) const REPORT: &[&str] = &names::<{ sections::REPORT.len() }>(sections::REPORT);
pub(crate) const EARLY_TERMINATE: &[&str] =
    &names::<{ sections::EARLY_TERMINATE.len() }>(sections::EARLY_TERMINATE);
pub(crate) const PARAMETER: &[&str] =
    &["value", "values", "probabilities", "distribution", "min", "max", "mu", "sigma", "q"];

/// The keys of `parameters`.
pub(crate) fn parameters() -> Vec<&'static str> {
    Parameter::ALL.iter().map(|p| p.name()).collect()
}

/// The keys of `train`: its own and the trial parameters.
pub(crate) fn train() -> Vec<&'static str> {
    let fixed = Parameter::ALL.iter().filter_map(|p| fixed_in_train(p.name()));
    TRAIN.iter().copied().chain(fixed.map(Parameter::name)).collect()
}

/// The trial parameter that a key of `train` fixes. What all trials' base is stands at the top
/// level.
pub(crate) fn fixed_in_train(key: &str) -> Option<Parameter> {
    Parameter::from_name(key).filter(|parameter| parameter.row().has_default())
}

/// The keys of `executor`, of all its types.
pub(crate) fn executor() -> Vec<&'static str> {
    [EXECUTOR, SLURM].concat()
}

/// Names that other programs have for our keys and words, in lower case and with `_`; those of
/// parameters stand in their table.
const ALIASES: &[(&str, &str)] = &[
    ("max_seq_length", "max_seq_len"),
    ("max_length", "max_seq_len"),
    ("sequence_len", "max_seq_len"),
    ("cutoff_len", "max_seq_len"),
    ("bf16", "dtype"),
    ("gradient_clipping", "max_grad_norm"),
    ("clip_grad_norm", "max_grad_norm"),
    ("lora_layers_to_transform", "layers_to_transform"),
    ("lora_modules_to_save", "modules_to_save"),
    ("model_name_or_path", "model"),
    ("base_model_name_or_path", "model"),
    ("base_model", "model"),
    ("gguf", "base_weights"),
    ("gguf_file", "base_weights"),
    ("dataset", "data"),
    ("datasets", "data"),
    ("column_mapping", "columns"),
    ("pack", "packing"),
    ("sample_packing", "packing"),
    ("dataset_path", "data"),
    ("dataset_name", "data"),
    ("dataset_dir", "data"),
    ("pretrained_model_name_or_path", "model"),
    ("quantization_bit", "quantization"),
    ("micro_batch", "micro_batch_size"),
    ("output_dir", "name"),
    ("run_name", "name"),
    ("loss", "eval_loss"),
    ("val_loss", "eval_loss"),
    ("validation_loss", "eval_loss"),
    ("eval/loss", "eval_loss"),
    ("em", "exact_match"),
    ("accuracy", "exact_match"),
    ("f1", "token_f1"),
    ("rouge", "rouge_l"),
    ("rougel", "rouge_l"),
    ("gsm8k", "number_match"),
    ("metric_name", "name"),
    ("direction", "goal"),
    ("mode", "goal"),
    ("normalize", "normalise"),
    ("regex", "pattern"),
    ("stop_strings", "stop"),
    ("generation_max_length", "max_new_tokens"),
    ("max_tokens", "max_new_tokens"),
    ("max_trials", "run_cap"),
    ("n_trials", "run_cap"),
    ("num_trials", "run_cap"),
    ("num_samples", "run_cap"),
    ("eval_dataset", "validation"),
    ("eval_file", "validation"),
    ("validation_file", "validation"),
    ("train_file", "train"),
    ("test_file", "test"),
    ("val", "validation"),
    ("val_fraction", "validation_fraction"),
    ("val_set_size", "validation_fraction"),
    ("val_size", "validation_fraction"),
    ("early_stopping", "early_terminate"),
    ("distributions", "distribution"),
    ("signal_delay_s", "signal_delay_seconds"),
    ("array_parallelism", "max_jobs"),
    ("timeout_min", "time"),
    ("mem_gb", "mem"),
    ("slurm_setup", "setup"),
    ("bayesian", "bayes"),
    ("bayesian_optimization", "bayes"),
    ("bayesopt", "bayes"),
    ("gp", "bayes"),
    ("optuna", "bayes"),
    ("tpe", "bayes"),
    ("random_search", "random"),
    ("grid_search", "grid"),
    ("qmc", "sobol"),
    ("constant_with_warmup", "constant"),
    ("wsd", "warmup_stable_decay"),
];

/// A key of another tool: why lorasweep has no use for it, and what to write.
type Foreign = (&'static str, &'static str, &'static str);

const FOREIGN_TOP: &[Foreign] = &[
    (
        "program",
        "lorasweep trains the model itself, there is no script to start",
        "remove it; `model:`, `data:` and `train:` say what is trained",
    ),
    (
        "command",
        "lorasweep trains the model itself unless `executor:` says otherwise",
        "for a script of your own write `executor: {type: command, command: \"...\"}`",
    ),
    (
        "project",
        "results are files on this machine, not pages of a project",
        "remove it; `name:` is the folder under results/",
    ),
    (
        "entity",
        "results are files on this machine and belong to no account",
        "remove it; `name:` is the folder under results/",
    ),
    (
        "controller",
        "the sweep is planned by lorasweep itself",
        "remove it; `method:` says how trials are chosen",
    ),
    (
        "job",
        "lorasweep trains the model itself, there is no job to launch",
        "remove it; `executor:` says where trials run",
    ),
    ("image_uri", "trials run without containers", "remove it; `executor:` says where trials run"),
];

const YAML_1_1: &[Foreign] = &[(
    "<<",
    "YAML 1.2 has no merge keys, and here `<<` is a key like any other",
    "write the keys out; an anchor `&name` and its alias `*name` can stand for a whole value",
)];

const FOREIGN_PARAMETER: &[Foreign] = &[
    (
        "parameters",
        "parameters are not nested here, every one stands directly under `parameters:`",
        "move the inner parameters up by one level",
    ),
    ("a", "the beta distribution is not available in this version", "use `uniform` or `normal`"),
    ("b", "the beta distribution is not available in this version", "use `uniform` or `normal`"),
];

/// Keys of transformers' `TrainingArguments` that have no counterpart, wherever they stand.
const FOREIGN_ARGUMENTS: &[Foreign] = &[
    (
        "gradient_accumulation_steps",
        "`batch_size` counts the sequences of a whole optimizer step, accumulated or not",
        "write `batch_size: ` with the product of per_device_train_batch_size and \
         gradient_accumulation_steps; `train.micro_batch_size` limits one forward pass",
    ),
    ("optim", OPTIMIZER.0, OPTIMIZER.1),
    ("optimizer", OPTIMIZER.0, OPTIMIZER.1),
    (
        "max_steps",
        "a trial is as long as its `epochs`, so that losses at the same epoch can be compared",
        "write `epochs:`, and `train.eval_steps` to evaluate more often",
    ),
];

const OPTIMIZER: (&str, &str) = (
    "every trial is trained with AdamW",
    "remove it; `adam_beta1`, `adam_beta2`, `adam_epsilon` and `max_grad_norm` stand under `train:`",
);

/// The mistake of a key that `section` (`""` for the top level) does not have.
pub(crate) fn unknown(key: &str, section: &str, known: &[&'static str]) -> Mistake {
    let foreign = match section {
        "" => FOREIGN_TOP,
        s if s.starts_with("parameters.") => FOREIGN_PARAMETER,
        _ => &[],
    };
    for (tool, keys) in
        [("W&B sweeps", foreign), ("transformers", FOREIGN_ARGUMENTS), ("YAML 1.1", YAML_1_1)]
    {
        if let Some(&(_, why, instead)) = keys.iter().find(|(name, ..)| *name == plain(key)) {
            return Mistake::ForeignKey { key: key.to_owned(), tool, why, instead };
        }
    }
    if section == "parameters" && key == "base_weights" {
        return Mistake::NotAvailable {
            what: "parameter",
            found: key.to_owned(),
            instead: "write it at the top level, run a sweep for each file, and let `lorasweep \
                      compare` put them side by side",
        };
    }
    Mistake::UnknownKey {
        key: key.to_owned(),
        section: in_words(section),
        similar: alias(key, known).or_else(|| most_similar(key, known)),
        belongs: home(key).filter(|home| *home != section),
        known: known.to_vec(),
    }
}

/// Which of the `known` names other programs call `key`.
pub(crate) fn alias(key: &str, known: &[&'static str]) -> Option<String> {
    meanings(key).find(|ours| known.contains(ours)).map(str::to_owned)
}

/// What names of other programs mean here.
fn meanings(key: &str) -> impl Iterator<Item = &'static str> {
    let key = plain(key);
    let parameter = TABLE.iter().find(|row| row.is_called(&key)).map(|row| row.name);
    let other = ALIASES.iter().find(|(other, _)| *other == key).map(|(_, ours)| *ours);
    parameter.into_iter().chain(other)
}

/// A name as most tools would write it: `--lora-r` is `lora_r`.
fn plain(key: &str) -> String {
    key.trim_start_matches('-').to_lowercase().replace('-', "_")
}

/// A section's name for messages.
pub(crate) fn in_words(section: &str) -> String {
    if section.is_empty() { "the sweep file".to_owned() } else { format!("`{section}`") }
}

/// The section in which a key is known; `name` and `train` stand in two and are not looked up.
fn home(key: &str) -> Option<&'static str> {
    let key = meanings(key).next().unwrap_or(key);
    if fixed_in_train(key).is_some() {
        return Some("parameters");
    }
    [("data", DATA), ("train", TRAIN), ("executor", EXECUTOR), ("report", REPORT), ("", TOP)]
        .into_iter()
        .find(|(_, keys)| keys.contains(&key))
        .map(|(section, _)| section)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guide_to_the_sweep_file_names_every_key() {
        let (_, guide) = crate::GUIDES[0];
        let own = [
            TOP,
            BAYES,
            RANK_LADDER,
            REPLICATES,
            METRIC,
            DATA,
            TRAIN,
            EXECUTOR,
            SLURM,
            REPORT,
            EARLY_TERMINATE,
            PARAMETER,
        ]
        .concat();
        for key in own.into_iter().chain(parameters()) {
            let is_named = guide.match_indices(key).any(|(at, _)| {
                let is_word = |c: char| c.is_alphanumeric() || c == '_';
                let (before, after) = (&guide[..at], &guide[at + key.len()..]);
                !before.ends_with(is_word) && !after.starts_with(is_word)
            });
            assert!(is_named, "`{key}` is not in guides/sweep-file.md");
        }
    }
}
