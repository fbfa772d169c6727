//! The sections of a sweep file: one row a key, with the values that it takes. The reader takes keys
//! and limits from here, and the schema is made of it. Trial parameters have a table of their own.

use super::words;
use crate::limits::Limits;
use crate::parameter::Parameter;
use crate::settings::DataSettings;

/// A key of a section.
#[derive(Debug)]
pub(crate) struct Setting {
    pub name: &'static str,
    pub takes: Takes,
}

/// The values that a key takes, as far as that shows in the value alone.
#[derive(Debug)]
pub(crate) enum Takes {
    /// A whole number.
    Whole(Limits),
    /// A number.
    Number(Limits),
    /// `true` or `false`.
    Truth,
    /// This truth value.
    Only(bool),
    /// A text, or a number or truth value that is taken for one.
    Text,
    /// The same, but not empty.
    Path,
    /// A text that is not empty, where a number means something else.
    TextPath,
    /// A text that the expression describes.
    Pattern(&'static str),
    /// A text, or a number or truth value that is taken for one, that the expression describes.
    TextPattern(&'static str),
    /// One of several words.
    Word(fn() -> Vec<&'static str>),
    /// A section of its own.
    Section(&'static Keys),
    /// A list; whether it must have elements, and each only once.
    List(&'static Takes, Elements),
    /// Names that the expression describes, each with a value.
    Map(fn() -> String, &'static Takes),
    /// Any of these.
    AnyOf(&'static [Takes]),
    /// The parameters of a trial.
    Parameters,
    /// Nothing at all, where an empty value means something.
    Empty,
}

/// What a list must have.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Elements {
    Any,
    Some,
    SomeOnce,
}

/// The keys of a section.
#[derive(Debug)]
pub(crate) struct Keys {
    pub settings: &'static [&'static [Setting]],
    /// Keys that must be given.
    pub required: &'static [&'static str],
    /// Pairs of keys that exclude each other.
    pub apart: &'static [(&'static str, &'static str)],
    /// The parameters of a trial are keys, too.
    pub has_parameters: bool,
    /// What is different for each word of `type`.
    pub types: &'static [OfType],
}

/// The keys of a section that go with a word of its `type`.
#[derive(Debug)]
pub(crate) struct OfType {
    pub words: &'static [&'static str],
    /// All keys beside `type`.
    pub keys: fn() -> Vec<&'static str>,
    /// Sets of keys of which one must be given.
    pub required: &'static [&'static [&'static str]],
    /// It is meant where no `type` is given.
    pub is_default: bool,
}

const fn setting(name: &'static str, takes: Takes) -> Setting {
    Setting { name, takes }
}

/// Settings that are all optional.
const fn optional(settings: &'static [&'static [Setting]]) -> Keys {
    Keys { settings, required: &[], apart: &[], has_parameters: false, types: &[] }
}

/// From `low` on; what is read from it fits `u32`.
const fn whole(low: u32) -> Takes {
    Takes::Whole(Limits::whole(low))
}

const SHARE: Limits = Limits::above(0.0).below(1.0);

pub(crate) const TOP: &[Setting] = &[
    setting("name", Takes::TextPattern("^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")),
    setting("description", Takes::Text),
    setting("method", Takes::Word(|| words::available(words::METHODS))),
    setting("bayes", Takes::Section(&optional(&[BAYES]))),
    setting("rank_ladder", Takes::Section(&optional(&[RANK_LADDER]))),
    setting(
        "metric",
        Takes::AnyOf(&[Takes::Word(words::metrics), Takes::Section(&optional(&[METRIC, SCORE]))]),
    ),
    setting("parameters", Takes::Parameters),
    setting("early_terminate", Takes::Section(&EARLY_TERMINATE_KEYS)),
    setting("run_cap", whole(1)),
    setting(
        "replicates",
        Takes::AnyOf(&[
            whole(1),
            Takes::Section(&Keys { required: &["seeds"], ..optional(&[REPLICATES]) }),
        ]),
    ),
    setting("warm_start", Takes::AnyOf(&[Takes::Path, Takes::List(&Takes::Path, Elements::Any)])),
    setting("seed", Takes::Number(Limits::SEED)),
    setting("model", Takes::Path),
    setting("base_weights", Takes::Path),
    setting("quantization", Takes::Word(|| words::available(&words::QUANTIZATIONS))),
    setting("data", Takes::Section(&DATA_KEYS)),
    setting("train", Takes::Section(&TRAIN_KEYS)),
    setting("executor", Takes::Section(&EXECUTOR_KEYS)),
    setting("report", Takes::Section(&optional(&[REPORT]))),
];

/// The top level.
pub(crate) const TOP_KEYS: Keys = Keys {
    required: &["method", "parameters", "model", "data"],
    apart: &[("base_weights", "quantization")],
    ..optional(&[TOP])
};

pub(crate) const BAYES: &[Setting] =
    &[setting("lora_prior", Takes::Truth), setting("cost_aware", Takes::Truth)];

pub(crate) const RANK_LADDER: &[Setting] =
    &[setting("trials_per_rung", whole(1)), setting("sigma", Takes::Number(Limits::from(0.0)))];

pub(crate) const REPLICATES: &[Setting] = &[setting("seeds", whole(1)), setting("top", whole(1))];

pub(crate) const METRIC: &[Setting] = &[
    setting("goal", Takes::Word(|| words::all(words::GOALS))),
    setting("target", Takes::Number(Limits::ANY)),
    setting(
        "measure",
        Takes::AnyOf(&[
            Takes::Word(words::metrics),
            MEASURED,
            Takes::List(&Takes::AnyOf(&[Takes::Word(words::metrics), MEASURED]), Elements::Any),
        ]),
    ),
    setting("examples", whole(1)),
    setting("every", Takes::Word(|| words::all(words::EVERY))),
    setting("max_new_tokens", whole(1)),
    setting("stop", TEXTS),
];

/// The keys of `metric` that say how an answer is scored; those of `metric.measure`.
pub(crate) const SCORE: &[Setting] = &[
    setting("name", Takes::TextPattern("^[A-Za-z_][A-Za-z0-9_./-]{0,63}$")),
    setting(
        "normalise",
        Takes::AnyOf(&[
            Takes::Word(|| words::all(words::NORMALISERS)),
            Takes::List(&Takes::Word(|| words::all(words::IGNORED)), Elements::Any),
        ]),
    ),
    setting("pattern", Takes::Text),
    setting("tolerance", Takes::Number(Limits::from(0.0))),
    setting("fields", TEXTS),
    setting("command", Takes::TextPattern(r"\S")),
];

const MEASURED: Takes = Takes::Section(&Keys { required: &["name"], ..optional(&[SCORE]) });

/// A text that is not empty, or a list of them.
const TEXTS: Takes = Takes::AnyOf(&[Takes::Path, Takes::List(&Takes::Path, Elements::Any)]);

pub(crate) const DATA: &[Setting] = &[
    setting("train", Takes::Path),
    setting(
        "validation",
        Takes::AnyOf(&[
            Takes::TextPath,
            Takes::Number(SHARE),
            Takes::Section(&Keys { required: &["fraction"], ..optional(&[VALIDATION]) }),
        ]),
    ),
    setting("validation_fraction", Takes::Number(SHARE)),
    setting("retention", Takes::Path),
    setting("test", Takes::Path),
    setting("columns", Takes::Map(|| any_of(&DataSettings::FIELDS), &Takes::Text)),
    setting("packing", Takes::Truth),
];

const DATA_KEYS: Keys = Keys {
    required: &["train"],
    apart: &[("validation", "validation_fraction")],
    ..optional(&[DATA])
};

pub(crate) const VALIDATION: &[Setting] = &[setting("fraction", Takes::Number(SHARE))];

pub(crate) const TRAIN: &[Setting] = &[
    setting("max_seq_len", whole(2)),
    setting("micro_batch_size", whole(1)),
    setting("decay_ratio", Takes::Number(Limits::above(0.0).to(1.0))),
    setting("warmup_steps", whole(0)),
    setting("gradient_checkpointing", Takes::AnyOf(&[Takes::Truth, Takes::Word(|| vec!["auto"])])),
    setting("dtype", Takes::Word(|| words::available(words::DTYPES))),
    setting("divergence_factor", Takes::Number(Limits::above(1.0))),
    setting("adam_beta1", Takes::Number(Limits::from(0.0).below(1.0))),
    setting("adam_beta2", Takes::Number(Limits::from(0.0).below(1.0))),
    setting("adam_epsilon", Takes::Number(Limits::above(0.0))),
    setting("max_grad_norm", Takes::Number(Limits::from(0.0))),
    setting("eval_steps", whole(1)),
    setting("eval_train_examples", whole(1)),
    setting("save_strategy", Takes::Word(|| words::available(words::SAVE_STRATEGIES))),
    setting(
        "init_lora_weights",
        Takes::AnyOf(&[
            Takes::Only(true),
            Takes::Word(|| words::available(words::INITIALISATIONS)),
        ]),
    ),
    setting(
        "layers_to_transform",
        Takes::AnyOf(&[whole(0), Takes::List(&whole(0), Elements::SomeOnce)]),
    ),
    setting("rank_pattern", Takes::Map(module, &RANK)),
    setting("alpha_pattern", Takes::Map(module, &ALPHA)),
    setting("modules_to_save", Takes::Only(false)),
];

const RANK: Takes = Takes::Whole(Parameter::Rank.row().limits);
const ALPHA: Takes = Takes::Number(Parameter::LoraAlpha.row().limits);

/// A module's name, or one block's.
fn module() -> String {
    "^[A-Za-z0-9_.]*$".to_owned()
}

const TRAIN_KEYS: Keys =
    Keys { apart: &[("warmup_steps", "warmup_ratio")], has_parameters: true, ..optional(&[TRAIN]) };

pub(crate) const EXECUTOR: &[Setting] = &[
    setting("type", Takes::Word(|| words::available(words::EXECUTORS))),
    setting("device", DEVICE),
    setting(
        "devices",
        Takes::AnyOf(&[
            Takes::Word(|| vec!["all"]),
            whole(1),
            DEVICE,
            Takes::List(&DEVICE, Elements::Some),
        ]),
    ),
    setting("max_packed", whole(1)),
    setting("checkpoint_seconds", whole(1)),
    setting(
        "memory_limit",
        Takes::Pattern(r"^\s*\+?(?=[^eE]*[1-9])(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*([MGT]i?B)\s*$"),
    ),
    setting("max_retries", whole(0)),
    setting("heartbeat_seconds", whole(10)),
    setting("max_consecutive_failures", whole(1)),
    setting("command", Takes::Text),
    setting("base_command", Takes::Text),
    setting("max_parallel", whole(1)),
    setting("grace_seconds", whole(0)),
];

const DEVICE: Takes = Takes::Pattern(r"^(auto|cpu|cuda(:\+?\d{1,10})?)$");

/// The keys of `executor` that only `type: slurm` has.
pub(crate) const SLURM: &[Setting] = &[
    setting("partition", Takes::TextPattern(ONE_LINE)),
    setting("account", Takes::TextPattern(ONE_LINE)),
    setting("qos", Takes::TextPattern(ONE_LINE)),
    setting(
        "time",
        Takes::AnyOf(&[
            whole(1),
            Takes::Pattern(
                r"^\s*(?=.*[1-9])(\d{1,9}-\d{1,9}(:\d{1,9}){0,2}|\d{1,9}(:\d{1,9}){0,2})\s*$",
            ),
        ]),
    ),
    setting(
        "gpus_per_node",
        Takes::AnyOf(&[whole(1), Takes::Pattern(r"^([^\x00-\x1F]+:)?\+?0*[1-9]\d*$")]),
    ),
    setting("gres", Takes::TextPattern(ONE_LINE)),
    setting("cpus_per_task", whole(1)),
    setting(
        "mem",
        Takes::AnyOf(&[
            Takes::Number(Limits::whole(0).to(999_999_999_999.0)),
            Takes::Pattern(r"^\s*\d{1,12}\s*([KMGT](i?B)?)?\s*$"),
        ]),
    ),
    setting("constraint", Takes::TextPattern(ONE_LINE)),
    setting(
        "exclude",
        Takes::AnyOf(&[
            Takes::TextPattern(ONE_LINE),
            Takes::List(&Takes::TextPattern(ONE_LINE), Elements::Some),
        ]),
    ),
    setting(
        "setup",
        Takes::AnyOf(&[
            Takes::Pattern(SHELL_LINES),
            Takes::List(&Takes::Pattern(SHELL_LINES), Elements::Any),
        ]),
    ),
    setting("signal_delay_seconds", Takes::Whole(Limits::whole(1).to(65535.0))),
    setting(
        "additional_parameters",
        Takes::Map(
            option,
            &Takes::AnyOf(&[
                Takes::Only(true),
                Takes::Number(Limits::ANY),
                Takes::Pattern(ONE_LINE),
                Takes::Empty,
            ]),
        ),
    ),
    setting("max_jobs", Takes::Whole(Limits::whole(1).to(1000.0))),
];

/// A text on one line, and not empty.
const ONE_LINE: &str = r"^[^\x00-\x1F\x7F-\x9F]+$";

/// Lines for the shell.
const SHELL_LINES: &str = r"^[^\x00]*$";

/// Options of `sbatch` that a job needs to have as lorasweep sets them.
pub(crate) const OUR_OPTIONS: [&str; 18] = [
    "array",
    "chdir",
    "clusters",
    "comment",
    "error",
    "export",
    "job-name",
    "no-requeue",
    "nodes",
    "ntasks",
    "open-mode",
    "output",
    "parsable",
    "requeue",
    "signal",
    "test-only",
    "wait",
    "wrap",
];

/// Options of `sbatch` that have a key of their own.
pub(crate) const OPTION_KEYS: [&str; 10] = [
    "partition",
    "account",
    "qos",
    "time",
    "gpus-per-node",
    "gres",
    "cpus-per-task",
    "mem",
    "constraint",
    "exclude",
];

/// The long name of any other option of `sbatch`.
fn option() -> String {
    let taken = [&OUR_OPTIONS[..], &OPTION_KEYS[..]].concat().join("|").replace('-', "[_-]");
    format!("^-*(?!({taken})$)[a-z0-9_][a-z0-9_-]+$")
}

/// One of these words.
fn any_of(words: &[&str]) -> String {
    format!("^({})$", words.join("|"))
}

/// Keys of the type `command` alone.
const OF_COMMAND: [&str; 4] = ["command", "base_command", "max_parallel", "grace_seconds"];
/// Keys of the types in which lorasweep trains.
const OF_TRAINER: [&str; 4] = ["device", "devices", "max_packed", "memory_limit"];

/// The keys of `tables` beside `type`, without those of `others`.
fn beside(tables: &[&[Setting]], others: &[&[&str]]) -> Vec<&'static str> {
    let names = tables.iter().flat_map(|table| table.iter()).map(|setting| setting.name);
    names.filter(|name| *name != "type" && !others.iter().any(|o| o.contains(name))).collect()
}

/// What `executor` may have for each of its types.
pub(crate) const EXECUTOR_KEYS: Keys = Keys {
    types: &[
        OfType {
            words: &["local"],
            keys: || beside(&[EXECUTOR], &[&OF_COMMAND]),
            required: &[],
            is_default: true,
        },
        OfType {
            words: &["command"],
            keys: || beside(&[EXECUTOR], &[&OF_TRAINER]),
            required: &[&["command"]],
            is_default: false,
        },
        OfType {
            words: &["external"],
            keys: || beside(&[EXECUTOR], &[&OF_COMMAND, &OF_TRAINER]),
            required: &[],
            is_default: false,
        },
        OfType {
            words: &["slurm"],
            keys: || beside(&[EXECUTOR, SLURM], &[&OF_COMMAND, &["devices"]]),
            required: &[],
            is_default: false,
        },
    ],
    ..optional(&[EXECUTOR, SLURM])
};

pub(crate) const REPORT: &[Setting] = &[
    setting("overfit_sigma", Takes::Number(Limits::from(0.0))),
    setting("overfit_min_rise", Takes::Number(Limits::from(0.0))),
    setting("overfit_probability", Takes::Number(Limits::from(0.0).to(1.0))),
    setting("too_slow_share", Takes::Number(Limits::from(0.0).to(1.0))),
    setting("underfit_share", Takes::Number(Limits::from(0.0).to(1.0))),
    setting("forgetting_share", Takes::Number(Limits::from(0.0))),
];

pub(crate) const EARLY_TERMINATE: &[Setting] = &[
    setting("type", Takes::Word(|| words::available(words::EARLY_STOPS))),
    setting("min_iter", whole(1)),
    setting("max_iter", whole(1)),
    setting("s", whole(1)),
    setting("eta", Takes::Number(Limits::above(1.0))),
    setting("strict", Takes::Truth),
    setting("patience", whole(1)),
    setting("top", whole(1)),
    setting("chance", Takes::Number(SHARE)),
    setting("promote", Takes::Truth),
];

/// What `early_terminate` may have for each of its types.
pub(crate) const EARLY_TERMINATE_KEYS: Keys = Keys {
    required: &["type"],
    apart: &[("min_iter", "max_iter"), ("min_iter", "s")],
    types: &[
        OfType {
            words: &["hyperband", "asha"],
            keys: || vec!["min_iter", "max_iter", "s", "eta", "strict", "promote"],
            required: &[&["min_iter"], &["max_iter", "s"]],
            is_default: false,
        },
        OfType {
            words: &["median"],
            keys: || vec!["min_iter", "promote"],
            required: &[],
            is_default: false,
        },
        OfType { words: &["overfit"], keys: || vec!["patience"], required: &[], is_default: false },
        OfType {
            words: &["curve"],
            keys: || vec!["top", "chance", "min_iter", "promote"],
            required: &[],
            is_default: false,
        },
    ],
    ..optional(&[EARLY_TERMINATE])
};

impl Keys {
    /// What goes with a word of `type`.
    pub fn of_type(&self, word: &str) -> Option<&'static OfType> {
        self.types.iter().find(|of| of.words.contains(&word))
    }
}

/// The key of a section, named as in messages.
pub(crate) fn find(section: &str, key: &str) -> Option<&'static Setting> {
    let tables: &[&[Setting]] = match section {
        "" => &[TOP],
        "bayes" => &[BAYES],
        "rank_ladder" => &[RANK_LADDER],
        "replicates" => &[REPLICATES],
        "metric" => &[METRIC, SCORE],
        "metric.measure" => &[SCORE],
        "data" => &[DATA],
        "data.validation" => &[VALIDATION],
        "train" => &[TRAIN],
        "executor" => &[EXECUTOR, SLURM],
        "report" => &[REPORT],
        "early_terminate" => &[EARLY_TERMINATE],
        _ => &[],
    };
    tables.iter().flat_map(|table| table.iter()).find(|setting| setting.name == key)
}

/// The names of a table's keys.
pub(crate) const fn names<const N: usize>(table: &[Setting]) -> [&'static str; N] {
    let (mut names, mut i) = ([""; N], 0);
    while i < N {
        names[i] = table[i].name;
        i += 1;
    }
    names
}
