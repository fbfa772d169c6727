//! A value of a parameter, whatever its kind.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::trial::TargetModule;

/// A value of a parameter; which variant it is follows from the parameter's [`super::Kind`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ParameterValue {
    /// A whole number.
    Whole(u64),
    /// A number.
    Real(f64),
    /// This many times the rank (`2r`).
    PerRank(f64),
    /// Yes or no.
    Flag(bool),
    /// One of the parameter's words; `None`: what the top level of the file says.
    Name(Option<&'static str>),
    /// Layers that carry an adapter.
    Modules(ModuleSet),
}

impl ParameterValue {
    /// The value of a trial with this rank: a multiple of the rank becomes a number.
    #[must_use]
    pub fn at_rank(self, rank: u32) -> Self {
        match self {
            Self::PerRank(factor) => Self::Real(factor * f64::from(rank)),
            other => other,
        }
    }

    /// The number, if it is one by itself.
    pub fn number(self) -> Option<f64> {
        match self {
            Self::Whole(n) => Some(n as f64),
            Self::Real(x) => Some(x),
            Self::PerRank(_) | Self::Flag(_) | Self::Name(_) | Self::Modules(_) => None,
        }
    }

    /// The word, if it is one.
    pub fn name(self) -> Option<&'static str> {
        match self {
            Self::Name(name) => name,
            _ => None,
        }
    }
}

/// As in a sweep file; nothing for what is left to the top level.
impl fmt::Display for ParameterValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(n) => write!(f, "{n}"),
            Self::Real(x) if *x != 0.0 && x.abs() < 1e-3 => write!(f, "{x:e}"),
            Self::Real(x) => write!(f, "{x}"),
            Self::PerRank(factor) => write!(f, "{factor}r"),
            Self::Flag(flag) => write!(f, "{flag}"),
            Self::Name(name) => f.write_str(name.unwrap_or_default()),
            Self::Modules(modules) => write!(f, "{modules}"),
        }
    }
}

/// As in a configuration's JSON.
impl Serialize for ParameterValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Whole(n) => serializer.serialize_u64(*n),
            Self::Real(x) => serializer.serialize_f64(*x),
            Self::PerRank(_) => serializer.collect_str(self),
            Self::Flag(flag) => serializer.serialize_bool(*flag),
            Self::Name(name) => name.serialize(serializer),
            Self::Modules(modules) => serializer.collect_seq(modules.iter()),
        }
    }
}

/// A set of modules, one bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModuleSet(u16);

impl ModuleSet {
    /// The set of these modules.
    pub const fn of(modules: &[TargetModule]) -> Self {
        let (mut bits, mut at) = (0, 0);
        while at < modules.len() {
            bits |= 1 << (modules[at] as u16);
            at += 1;
        }
        Self(bits)
    }

    /// The modules in the order of [`TargetModule`].
    pub fn iter(self) -> impl Iterator<Item = TargetModule> {
        TargetModule::every().filter(move |module| self.0 & (1 << (*module as u16)) != 0)
    }

    /// One bit a module, by its place in [`TargetModule`].
    pub const fn bits(self) -> u16 {
        self.0
    }
}

/// `all-linear`, or the names joined by `+`.
impl fmt::Display for ModuleSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::of(&TargetModule::ALL) {
            return f.write_str("all-linear");
        }
        let names: Vec<&str> = self.iter().map(TargetModule::name).collect();
        f.write_str(&names.join("+"))
    }
}
