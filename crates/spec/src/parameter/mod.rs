//! The parameters of a trial. [`TABLE`] has one row for each: its names, kind, limits, default,
//! place in the configuration, and words. Reading, hints, columns, the planner's coordinates,
//! `init`'s file and the schema are made from it.

mod row;
mod table;
mod value;

use std::fmt;

use serde::{Serialize, Serializer};

pub use row::{Access, ChoiceAccess, Feature, Kind, Row};
pub(crate) use table::DEFAULT_SEED;
pub use table::TABLE;
pub use value::{ModuleSet, ParameterValue};

/// A parameter of a trial, named as in sweep files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Parameter {
    /// `rank`
    Rank,
    /// `lora_alpha`
    LoraAlpha,
    /// `lora_dropout`
    LoraDropout,
    /// `use_rslora`
    UseRslora,
    /// `target_modules`
    TargetModules,
    /// `learning_rate`
    LearningRate,
    /// `batch_size`
    BatchSize,
    /// `epochs`
    Epochs,
    /// `lr_scheduler`
    LrScheduler,
    /// `warmup_ratio`
    WarmupRatio,
    /// `weight_decay`
    WeightDecay,
    /// `seed`
    Seed,
    /// `loraplus_lr_ratio`
    LoraplusLrRatio,
    /// `use_dora`
    UseDora,
    /// `quantization`
    Quantization,
}

impl Parameter {
    /// Number of parameters.
    pub const COUNT: usize = TABLE.len();

    /// Every parameter, in the order of the axes of the search space; a new one comes last, so that
    /// it changes nothing in the sequences of the others.
    pub const ALL: [Self; Self::COUNT] = {
        let mut all = [Self::Rank; Self::COUNT];
        let mut at = 0;
        while at < Self::COUNT {
            all[at] = TABLE[at].parameter;
            assert!(all[at].index() == at, "the table's rows stand in the order of the variants");
            at += 1;
        }
        all
    };

    /// Its place in [`Self::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Its row of the table.
    pub const fn row(self) -> &'static Row {
        &TABLE[self.index()]
    }

    /// Its key in sweep files.
    pub const fn name(self) -> &'static str {
        self.row().name
    }

    /// The parameter with this key.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|p| p.name() == name)
    }
}

impl fmt::Display for Parameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Parameter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}
