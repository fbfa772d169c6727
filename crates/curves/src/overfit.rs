//! Overfitting: the level of the validation loss has risen from its own lowest one while the gap
//! widened.
//!
//! Notation: `m_i` are the losses without the noise of the validation rows (f + w of
//! [`crate::Fit`]), relative to the lowest loss. A *level* is taken from two evaluations in a row, so
//! that neither a dip nor a peak of a single evaluation is one: their mean `a_i`, what both stay
//! below, `l_i = max(m_(i-1), m_i)`, and what both stay above, `h_i = min(m_(i-1), m_i)`. The base
//! model's loss is all three. With the lowest mean `a_k` and the lowest `l_n` up to i, the rise at i is
//!
//! ```text
//! r_i = min(h_i - a_k, a_i - l_n)
//! ```
//!
//! A peak at the end does not raise h, and a dip before does not lower l; a curve that turns within
//! four evaluations has risen by both. The run overfits at i when
//!
//! ```text
//! r_i >= min_rise × a_k   and   r_i - (t_i - t_k) >= r_i / 2
//! ```
//!
//! with the means t of the train loss over the same two evaluations: at least half of the rise is a
//! widening of the gap; otherwise train loss rose along, which is instability. `probability` is that
//! of this event at the last evaluation, over the normal distributions of m for every likely shape
//! of the curve, of which [`DRAWS`] curves are drawn. Each drawn curve has its own k and n: that the
//! lowest of twelve noisy losses is too low is thereby accounted for. The draws are the same for
//! every curve, so that the same evaluations always give the same probability.

use std::sync::OnceLock;

use rand::SeedableRng;
use rand::distr::{Distribution, StandardUniform};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use crate::curve::{Curve, Point};
use crate::posterior::{Fit, Part};
use crate::shapes::Shapes;

/// Curves drawn.
const DRAWS: usize = 512;

/// Longest curve: see [`Curve`].
const LONGEST: usize = 65;

/// A standard error of a rise is taken to be at least this share of the lowest level: it comes from
/// [`DRAWS`] draws.
const LEAST_ERROR: f64 = 1e-3;

/// The rise is there from the evaluation on at which it is more likely than not, to the end.
const ONSET: f64 = 0.5;

/// What is known of a run's rise at its last evaluation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Rise {
    /// Probability that the run overfits, as this module's documentation says.
    pub probability: f64,
    /// The same by the run's own curve alone, where other runs were heard: see [`crate::Pool`].
    pub alone: f64,
    /// Expected rise of the mean of two evaluations, a at the end minus the lowest a, in nats per
    /// token.
    pub rise: f64,
    /// Its standard error: of validation rows, of wobble, and of not knowing where the lowest
    /// level was.
    pub rise_stderr: f64,
    /// Expected lowest mean of two evaluations.
    pub lowest: f64,
    /// Epoch from which the rise is more likely than not, up to the end; `None` where it is not.
    pub onset_epoch: Option<f64>,
    /// The levels of the run itself, in order.
    #[serde(skip)]
    pub levels: Vec<Level>,
}

/// A level of two evaluations in a row, at the second of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Level {
    /// Epochs completed.
    pub epoch: f64,
    /// Train loss, where it was measured.
    pub train: Option<f64>,
    /// Probability that the run overfits here.
    pub probability: f64,
    /// The expected rise up to here over its standard error.
    pub rise_over_error: f64,
}

impl Rise {
    /// What follows from the levels: the probability at the last, and the onset.
    pub(crate) fn settle(&mut self) {
        self.probability = self.levels.last().map_or(0.0, |level| level.probability);
        let risen = self.levels.iter().rev().take_while(|level| level.probability >= ONSET);
        self.onset_epoch = risen.last().map(|level| level.epoch);
    }
}

/// The smooth curve at one point.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct SmoothPoint {
    /// Epochs completed.
    pub epoch: f64,
    /// Expected loss.
    pub loss: f64,
    /// Standard deviation of that.
    pub deviation: f64,
}

/// Judges a curve; `None` where it has too few evaluations for two levels.
pub fn rise(curve: &Curve, shapes: &Shapes, min_rise: f64) -> Option<Rise> {
    let levels = Levels::of(curve)?;
    Some(rise_of(curve, &levels, &shapes.given(&curve.relative()), min_rise))
}

/// As [`rise`], and the smooth curve with its uncertainty, from the first evaluation on; nothing where
/// there are fewer than three.
pub fn rise_and_smooth(
    curve: &Curve,
    shapes: &Shapes,
    min_rise: f64,
) -> (Option<Rise>, Vec<SmoothPoint>) {
    let Some(levels) = Levels::of(curve) else { return (None, Vec::new()) };
    let fits = shapes.given(&curve.relative());
    let smooth = if curve.own() < 3 { Vec::new() } else { smooth_of(curve, &fits) };
    (Some(rise_of(curve, &levels, &fits, min_rise)), smooth)
}

fn rise_of(curve: &Curve, levels: &Levels, fits: &[(f64, Fit)], min_rise: f64) -> Rise {
    let unit = curve.unit();
    let mut sums = Sums::new(levels.count());
    for levels_of_draw in &drawn(levels, fits) {
        sums.add(levels_of_draw, levels.train.as_deref(), min_rise, unit);
    }
    sums.rise(levels, unit)
}

fn smooth_of(curve: &Curve, fits: &[(f64, Fit)]) -> Vec<SmoothPoint> {
    let (unit, start) = (curve.unit(), usize::from(curve.has_base()));
    let fits: Vec<_> =
        fits.iter().map(|(share, fit)| (*share, fit.posterior(Part::Smooth))).collect();
    let at = |i: usize| {
        let mean: f64 = fits.iter().map(|(share, fit)| share * fit.mean[i]).sum();
        let square = |fit: &crate::Posterior| fit.covariance.at(i, i) + fit.mean[i].powi(2);
        let squares: f64 = fits.iter().map(|(share, fit)| share * square(fit)).sum();
        SmoothPoint {
            epoch: curve.points()[i].epoch,
            loss: unit * mean,
            deviation: unit * (squares - mean * mean).max(0.0).sqrt(),
        }
    };
    (start..curve.points().len()).map(at).collect()
}

/// Which evaluations make the levels of a curve.
struct Levels {
    /// First and second evaluation of each; the same for the base model.
    pairs: Vec<(usize, usize)>,
    /// Epoch of the second, and train loss there.
    seconds: Vec<(f64, Option<f64>)>,
    /// The first that is of the run itself.
    own_from: usize,
    /// Levels of the train loss, in nats.
    train: Option<Vec<f64>>,
}

impl Levels {
    fn of(curve: &Curve) -> Option<Self> {
        let (start, points) = (usize::from(curve.has_base()), curve.points());
        let base = (0..start).map(|at| (at, at));
        let pairs: Vec<(usize, usize)> =
            base.chain((start + 1..points.len()).map(|at| (at - 1, at))).collect();
        let mean = |of: &dyn Fn(&Point) -> Option<f64>, (a, b): (usize, usize)| {
            Some(f64::midpoint(of(&points[a])?, of(&points[b])?))
        };
        let train = pairs.iter().map(|&pair| mean(&|point| point.train, pair)).collect();
        let second = |&(_, at): &(usize, usize)| (points[at].epoch, points[at].train);
        let seconds = pairs.iter().map(second).collect();
        (pairs.len() > 1).then_some(Self { pairs, seconds, own_from: start, train })
    }

    fn count(&self) -> usize {
        self.pairs.len()
    }
}

/// What is taken from two evaluations in a row of a drawn curve.
#[derive(Clone, Copy)]
struct DrawnLevel {
    /// Their mean: a.
    mean: f64,
    /// The higher of them: l.
    below: f64,
    /// The lower of them: h.
    above: f64,
}

/// Drawn levels, of each shape as many as it is likely.
fn drawn(levels: &Levels, fits: &[(f64, Fit)]) -> Vec<Vec<DrawnLevel>> {
    let normals = normals();
    let (mut drawn, mut until) = (Vec::with_capacity(DRAWS), 0.0);
    for (share, fit) in fits {
        until += share * DRAWS as f64;
        let wanted = (until.round() as usize).min(DRAWS).saturating_sub(drawn.len());
        if wanted == 0 {
            continue;
        }
        let posterior = fit.posterior(Part::Actual);
        let factor = posterior.covariance.cholesky(0.0);
        let first = drawn.len();
        drawn.extend(normals[first..first + wanted].iter().map(|normals| {
            let apart = factor.lower_times(&normals[..factor.size()]);
            let at = |i: usize| posterior.mean[i] + apart[i];
            let level = |&(a, b): &(usize, usize)| DrawnLevel {
                mean: f64::midpoint(at(a), at(b)),
                below: at(a).max(at(b)),
                above: at(a).min(at(b)),
            };
            levels.pairs.iter().map(level).collect()
        }));
    }
    drawn
}

/// What is summed over draws.
struct Sums {
    levels: Vec<LevelSums>,
    draws: usize,
    lowest: f64,
}

#[derive(Clone, Copy, Default)]
struct LevelSums {
    /// Draws that overfit.
    overfit: usize,
    rise: f64,
    rise_squared: f64,
}

impl LevelSums {
    /// Mean and standard deviation of the rise.
    fn rise(&self, draws: f64) -> (f64, f64) {
        let mean = self.rise / draws;
        (mean, (self.rise_squared / draws - mean * mean).max(0.0).sqrt())
    }
}

impl Sums {
    fn new(levels: usize) -> Self {
        Self { levels: vec![LevelSums::default(); levels], draws: 0, lowest: 0.0 }
    }

    fn add(&mut self, levels: &[DrawnLevel], train: Option<&[f64]>, min_rise: f64, unit: f64) {
        let (mut lowest_at, mut below) = (0, f64::INFINITY);
        for (at, level) in levels.iter().enumerate() {
            if level.mean < levels[lowest_at].mean {
                lowest_at = at;
            }
            below = level.below.min(below);
            let lowest = levels[lowest_at].mean;
            let rise = level.mean - lowest;
            let held = (level.above - lowest).min(level.mean - below);
            let along = train.map_or(0.0, |train| (train[at] - train[lowest_at]) / unit);
            let is_widening = held - along >= held / 2.0;
            let is_risen = held > 0.0 && held >= min_rise * lowest;
            let sums = &mut self.levels[at];
            sums.overfit += usize::from(is_risen && is_widening);
            sums.rise += rise;
            sums.rise_squared += rise * rise;
        }
        self.draws += 1;
        self.lowest += levels[lowest_at].mean;
    }

    fn rise(&self, levels: &Levels, unit: f64) -> Rise {
        let draws = self.draws as f64;
        let lowest = self.lowest / draws;
        let of = |at: usize| {
            let (sums, (epoch, train)) = (&self.levels[at], levels.seconds[at]);
            let (rise, error) = sums.rise(draws);
            Level {
                epoch,
                train,
                probability: sums.overfit as f64 / draws,
                rise_over_error: rise / error.max(LEAST_ERROR * lowest),
            }
        };
        let last = self.levels[levels.count() - 1];
        let (rise, error) = last.rise(draws);
        let mut rise = Rise {
            probability: 0.0,
            alone: last.overfit as f64 / draws,
            rise: unit * rise,
            rise_stderr: unit * error,
            lowest: unit * lowest,
            onset_epoch: None,
            levels: (levels.own_from..levels.count()).map(of).collect(),
        };
        rise.settle();
        rise
    }
}

/// Standard normal numbers, [`DRAWS`] times as many as the longest curve has points (Box & Muller
/// 1958).
fn normals() -> &'static [Vec<f64>] {
    static NORMALS: OnceLock<Vec<Vec<f64>>> = OnceLock::new();
    NORMALS.get_or_init(|| {
        let mut rng = ChaCha8Rng::seed_from_u64(17);
        let mut uniform = || -> f64 { StandardUniform.sample(&mut rng) };
        let mut normal = || {
            let (u, v) = (1.0 - uniform(), uniform());
            libm::sqrt(-2.0 * libm::log(u)) * libm::cos(std::f64::consts::TAU * v)
        };
        (0..DRAWS).map(|_| (0..LONGEST).map(|_| normal()).collect()).collect()
    })
}
