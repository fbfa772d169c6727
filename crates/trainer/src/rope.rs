//! Rotary position embeddings: the frequencies of a block, with the scalings that stretch a model
//! to longer sequences.
//!
//! Letters: P columns of a head that are rotated, theta the base, s the factor, L the length the
//! model was pretrained on. The formulas are those of transformers' `modeling_rope_utils.py`.

use std::borrow::Cow;
use std::f64::consts::PI;

use serde::Deserialize;
use serde_json::Value;

/// The rotation of one kind of block.
#[derive(Debug, Clone, PartialEq)]
pub struct Rope {
    /// P/2 inverse frequencies.
    frequencies: Vec<f64>,
    /// Other frequencies for sequences that are longer.
    long: Option<Long>,
    /// Factor on cosines and sines.
    amplitude: f64,
}

/// What changes for a sequence of more than `beyond` tokens.
#[derive(Debug, Clone, PartialEq)]
struct Long {
    beyond: usize,
    kind: LongKind,
}

#[derive(Debug, Clone, PartialEq)]
enum LongKind {
    /// Other frequencies, the same for every longer sequence.
    Fixed(Vec<f64>),
    /// A base that grows with the sequence's length.
    Growing { theta: f64, factor: f64 },
}

/// What a rope is made from.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// Where the settings stand in `config.json`.
    pub key: &'a str,
    /// `rope_scaling`, `rope_parameters`, or one entry of the latter.
    pub settings: Option<&'a Value>,
    /// Base of the frequencies.
    pub theta: f64,
    /// Columns of a head that are rotated.
    pub columns: usize,
    /// `max_position_embeddings`.
    pub max_positions: usize,
    /// `original_max_position_embeddings` beside the settings, where Phi-3 writes it.
    pub original_max_positions: Option<usize>,
}

impl Rope {
    /// Frequencies for a sequence of this many tokens.
    pub fn frequencies(&self, tokens: usize) -> Cow<'_, [f64]> {
        match &self.long {
            Some(Long { beyond, kind }) if tokens > *beyond => match kind {
                LongKind::Fixed(frequencies) => Cow::Borrowed(frequencies),
                LongKind::Growing { theta, factor } => {
                    // Dynamic NTK: theta' = theta (s T / L - (s - 1))^(P / (P - 2))
                    let p = 2.0 * self.frequencies.len() as f64;
                    let stretch = factor * tokens as f64 / *beyond as f64 - (factor - 1.0);
                    let theta = theta * stretch.powf(p / (p - 2.0));
                    Cow::Owned(plain(theta, 2 * self.frequencies.len()))
                }
            },
            _ => Cow::Borrowed(&self.frequencies),
        }
    }

    /// Whether the frequencies depend on the length of the sequence.
    pub const fn depends_on_length(&self) -> bool {
        self.long.is_some()
    }

    /// Whether all tokens of a sequence turn otherwise once it has this many: what was kept of it before
    /// is of no use then. A base that grows with the sequence (`dynamic`) leaves what is kept as it
    /// was turned, as transformers' cache does.
    pub fn turns_anew_at(&self, tokens: usize) -> bool {
        matches!(&self.long, Some(Long { beyond, kind: LongKind::Fixed(_) }) if tokens == beyond + 1)
    }

    /// Factor on cosines and sines.
    pub const fn amplitude(&self) -> f64 {
        self.amplitude
    }

    /// Reads the scaling of `source`; the error names the key.
    pub fn read(source: &Source<'_>) -> Result<Self, String> {
        let kind = source.settings.and_then(|s| s.get("rope_type").or_else(|| s.get("type")));
        let frequencies = plain(source.theta, source.columns);
        let unscaled = Self { frequencies, long: None, amplitude: 1.0 };
        let kind = match kind {
            None | Some(Value::Null) => return Ok(unscaled),
            Some(Value::String(kind)) => kind.as_str(),
            Some(other) => return Err(format!("{}: the type {other} is no text", source.key)),
        };
        let rope = match kind {
            "default" => unscaled,
            "linear" => {
                let factor = source.settings::<Factor>(kind)?.factor()?;
                let stretched = unscaled.frequencies.iter().map(|f| f / factor).collect();
                Self { frequencies: stretched, ..unscaled }
            }
            "dynamic" => {
                let factor = source.settings::<Factor>(kind)?.factor()?;
                if source.columns < 4 {
                    return Err(format!("{} of type `dynamic`: needs wider heads", source.key));
                }
                let kind = LongKind::Growing { theta: source.theta, factor };
                Self { long: Some(Long { beyond: source.max_positions, kind }), ..unscaled }
            }
            "llama3" => {
                let scaling: Llama3Scaling = source.settings(kind)?;
                if scaling.high_freq_factor <= scaling.low_freq_factor {
                    return Err(format!(
                        "{}: high_freq_factor must exceed low_freq_factor",
                        source.key
                    ));
                }
                let original = source.original(scaling.original_max_position_embeddings);
                let frequencies = unscaled.frequencies.iter();
                Self {
                    frequencies: frequencies.map(|f| scaling.apply(*f, original)).collect(),
                    ..unscaled
                }
            }
            "yarn" => source.settings::<Yarn>(kind)?.rope(source)?,
            "longrope" | "su" => source.settings::<LongRope>(kind)?.rope(source)?,
            other => {
                return Err(format!(
                    "{} of type `{other}` is not supported; `default`, `linear`, `dynamic`, \
                     `llama3`, `yarn` and `longrope` are",
                    source.key
                ));
            }
        };
        let all = rope.frequencies.iter().chain([&rope.amplitude]);
        if all.chain(rope.long_frequencies()).all(|x| x.is_finite() && *x > 0.0) {
            Ok(rope)
        } else {
            Err(format!("{} of type `{kind}` gives frequencies that are no numbers", source.key))
        }
    }

    fn long_frequencies(&self) -> &[f64] {
        match &self.long {
            Some(Long { kind: LongKind::Fixed(frequencies), .. }) => frequencies,
            _ => &[],
        }
    }
}

impl Source<'_> {
    fn settings<'de, T: Deserialize<'de>>(&'de self, kind: &str) -> Result<T, String> {
        let settings = self.settings.unwrap_or(&Value::Null);
        T::deserialize(settings).map_err(|e| format!("{} of type `{kind}`: {e}", self.key))
    }

    /// L: Phi-3's place takes precedence over the scaling's own.
    fn original(&self, written: Option<usize>) -> f64 {
        self.original_max_positions.or(written).unwrap_or(self.max_positions) as f64
    }
}

/// `theta^(-2i/P)` for i in `0..P/2` (Su et al. 2021, section 3.2.2).
fn plain(theta: f64, columns: usize) -> Vec<f64> {
    (0..columns / 2).map(|i| theta.powf(-2.0 * i as f64 / columns as f64)).collect()
}

/// `linear` and `dynamic`.
#[derive(Deserialize)]
struct Factor {
    factor: f64,
}

impl Factor {
    fn factor(&self) -> Result<f64, String> {
        if self.factor.is_finite() && self.factor >= 1.0 {
            Ok(self.factor)
        } else {
            Err(format!("the rotary scaling's factor is {}; at least 1 is needed", self.factor))
        }
    }
}

/// `llama3`: wavelengths longer than `L / low_freq_factor` are stretched by `factor`, those shorter
/// than `L / high_freq_factor` stay, and those between are interpolated.
#[derive(Deserialize)]
struct Llama3Scaling {
    factor: f64,
    low_freq_factor: f64,
    high_freq_factor: f64,
    original_max_position_embeddings: Option<usize>,
}

impl Llama3Scaling {
    fn apply(&self, frequency: f64, original: f64) -> f64 {
        let turns = original * frequency / (2.0 * PI);
        // 0 where fully stretched, 1 where kept.
        let kept = (turns - self.low_freq_factor) / (self.high_freq_factor - self.low_freq_factor);
        let kept = kept.clamp(0.0, 1.0);
        (1.0 - kept) * frequency / self.factor + kept * frequency
    }
}

/// `yarn` (Peng et al. 2023, arXiv:2309.00071): columns that turn more than `beta_fast` times
/// within L stay, those that turn less than `beta_slow` times are stretched, those between are
/// mixed; cosines and sines grow by `0.1 ln(s) + 1`.
#[derive(Deserialize)]
struct Yarn {
    factor: Option<f64>,
    attention_factor: Option<f64>,
    beta_fast: Option<f64>,
    beta_slow: Option<f64>,
    mscale: Option<f64>,
    mscale_all_dim: Option<f64>,
    original_max_position_embeddings: Option<usize>,
    truncate: Option<bool>,
}

impl Yarn {
    fn rope(&self, source: &Source<'_>) -> Result<Rope, String> {
        let original = source.original(self.original_max_position_embeddings);
        let factor =
            Factor { factor: self.factor.unwrap_or(source.max_positions as f64 / original) };
        let factor = factor.factor()?;
        let columns = source.columns as f64;
        // The column pair that turns this many times within L.
        let pair =
            |turns: f64| columns * (original / (turns * 2.0 * PI)).ln() / (2.0 * source.theta.ln());
        let (mut low, mut high) =
            (pair(self.beta_fast.unwrap_or(32.0)), pair(self.beta_slow.unwrap_or(1.0)));
        if self.truncate.unwrap_or(true) {
            (low, high) = (low.floor(), high.ceil());
        }
        (low, high) = (low.max(0.0), high.min(columns - 1.0));
        if low == high {
            high += 0.001;
        }
        let mixed = plain(source.theta, source.columns).into_iter().enumerate().map(|(i, f)| {
            let stretched = ((i as f64 - low) / (high - low)).clamp(0.0, 1.0);
            f / factor * stretched + f * (1.0 - stretched)
        });
        Ok(Rope { frequencies: mixed.collect(), long: None, amplitude: self.amplitude(factor) })
    }

    fn amplitude(&self, factor: f64) -> f64 {
        let growth = |m: f64| if factor <= 1.0 { 1.0 } else { 0.1 * m * factor.ln() + 1.0 };
        match (self.attention_factor, self.mscale, self.mscale_all_dim) {
            (Some(given), ..) => given,
            (None, Some(m), Some(all)) if m != 0.0 && all != 0.0 => growth(m) / growth(all),
            _ => growth(1.0),
        }
    }
}

/// `longrope` (Ding et al. 2024, arXiv:2402.13753): a divisor for each frequency, one list for
/// sequences of up to L tokens and one for longer ones.
#[derive(Deserialize)]
struct LongRope {
    short_factor: Vec<f64>,
    long_factor: Vec<f64>,
    factor: Option<f64>,
    attention_factor: Option<f64>,
    original_max_position_embeddings: Option<usize>,
}

impl LongRope {
    fn rope(&self, source: &Source<'_>) -> Result<Rope, String> {
        let original = source.original(self.original_max_position_embeddings);
        let divided = |name: &str, divisors: &[f64]| -> Result<Vec<f64>, String> {
            let frequencies = plain(source.theta, source.columns);
            if divisors.len() != frequencies.len() {
                return Err(format!(
                    "{}: {name} has {} numbers, but {} are needed",
                    source.key,
                    divisors.len(),
                    frequencies.len()
                ));
            }
            Ok(frequencies.iter().zip(divisors).map(|(f, by)| f / by).collect())
        };
        let factor = self.factor.unwrap_or(source.max_positions as f64 / original);
        let amplitude = self.attention_factor.unwrap_or_else(|| {
            if factor <= 1.0 { 1.0 } else { (1.0 + factor.ln() / original.ln()).sqrt() }
        });
        let kind = LongKind::Fixed(divided("long_factor", &self.long_factor)?);
        Ok(Rope {
            frequencies: divided("short_factor", &self.short_factor)?,
            long: Some(Long { beyond: original as usize, kind }),
            amplitude,
        })
    }
}
