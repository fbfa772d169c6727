//! Numbers of JSON as Python has them: integers of any size, and floats.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use minijinja::value::{DynObject, Object, ObjectRepr, Value};

/// Digits of the longest integer that Python reads from a text.
const MOST_DIGITS: usize = 4300;

/// A number.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Number {
    Integer(i128),
    /// An integer beyond 128 bits: its digits, with the sign.
    Long(Arc<str>),
    Float(f64),
}

impl Number {
    /// The number that Python's `json` reads.
    pub fn from_text(text: &str) -> Result<Self, String> {
        if text.contains(['.', 'e', 'E']) {
            let float = text.parse().map_err(|_| format!("{text:?} is no number"))?;
            return Ok(Self::Float(float));
        }
        if text.len() > MOST_DIGITS {
            return Err(format!("an integer of more than {MOST_DIGITS} digits"));
        }
        Ok(text.parse().map_or_else(|_| Self::Long(text.into()), Self::Integer))
    }

    /// The float, unless it is no number.
    pub fn from_f64(value: f64) -> Option<Self> {
        value.is_finite().then_some(Self::Float(value))
    }

    /// The nearest float.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Integer(value) => Some(*value as f64),
            Self::Long(digits) => digits.parse().ok(),
            Self::Float(value) => Some(*value),
        }
    }

    /// The number as a chat template gets it.
    pub fn to_value(&self) -> Value {
        match self {
            Self::Integer(value) => i64::try_from(*value).map_or((*value).into(), Value::from),
            Self::Long(digits) => Value::from_object(LongInteger(digits.clone())),
            Self::Float(value) => Value::from(*value),
        }
    }
}

macro_rules! from_integer {
    ($($integer:ty),*) => {$(
        impl From<$integer> for Number {
            fn from(value: $integer) -> Self {
                Self::Integer(value.into())
            }
        }
    )*};
}

from_integer!(i8, i16, i32, i64, u8, u16, u32, u64);

/// As in JSON.
impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(value) => write!(f, "{value}"),
            Self::Long(digits) => f.write_str(digits),
            Self::Float(value) if value.is_finite() => {
                f.write_str(&serde_json::to_string(value).map_err(|_| fmt::Error)?)
            }
            Self::Float(value) => write!(f, "{value}"),
        }
    }
}

/// An integer that the template engine has no type for.
#[derive(Debug)]
pub(crate) struct LongInteger(Arc<str>);

impl Object for LongInteger {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }

    fn custom_cmp(self: &Arc<Self>, other: &DynObject) -> Option<Ordering> {
        let other = other.downcast_ref::<Self>()?;
        let parts = |digits: &Arc<str>| match digits.strip_prefix('-') {
            Some(digits) => (true, digits.len(), digits.to_owned()),
            None => (false, digits.len(), digits.to_string()),
        };
        let ((is_negative, length, digits), right) = (parts(&self.0), parts(&other.0));
        Some(match (is_negative, right.0) {
            (false, true) => Ordering::Greater,
            (true, false) => Ordering::Less,
            (false, false) => (length, digits).cmp(&(right.1, right.2)),
            (true, true) => (right.1, right.2).cmp(&(length, digits)),
        })
    }
}
