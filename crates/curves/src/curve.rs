//! The evaluations of one run as the curve that is judged.

use spec::Evaluation;

use crate::matrix::Matrix;
use crate::noise::Noise;
use crate::posterior::Relative;

/// Evaluations that are judged one by one; more are averaged in blocks, the last of which ends at
/// the last evaluation.
const MOST: usize = 64;

/// A lowest loss below this share of the highest is no unit to measure in.
const LEAST_UNIT: f64 = 1e-3;

/// One point of a curve.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Optimizer steps taken; 0 for the base model.
    pub step: f64,
    /// Epochs completed.
    pub epoch: f64,
    /// Validation loss.
    pub loss: f64,
    /// Train loss, where it was measured.
    pub train: Option<f64>,
}

impl From<&Evaluation> for Point {
    fn from(evaluation: &Evaluation) -> Self {
        Self {
            step: f64::from(evaluation.step),
            epoch: evaluation.epoch,
            loss: evaluation.eval_loss,
            train: evaluation.train_loss,
        }
    }
}

/// A run's evaluations, preceded by the base model's, which a LoRA run starts from exactly (B = 0).
pub fn with_base<'a>(
    evaluations: &'a [Evaluation],
    base: Option<&'a Evaluation>,
) -> Vec<&'a Evaluation> {
    let start = base.filter(|_| evaluations.first().is_some_and(|first| first.step > 0));
    start.into_iter().chain(evaluations).collect()
}

/// A run's evaluations in order, the base model's first where it is known.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    points: Vec<Point>,
    noise: Noise,
}

impl Curve {
    /// Of a run and of the base model that it began from. `targets`: see
    /// [`group_targets`](crate::group_targets).
    pub fn of(
        evaluations: &[Evaluation],
        base: Option<&Evaluation>,
        targets: Option<&[f64]>,
    ) -> Self {
        let all = with_base(evaluations, base);
        let points = all.iter().map(|evaluation| Point::from(*evaluation)).collect();
        Self::new(points, Noise::of(&all, targets))
    }

    /// Of points and the noise of their losses.
    pub fn new(points: Vec<Point>, noise: Noise) -> Self {
        let start = usize::from(points.first().is_some_and(|first| first.step == 0.0));
        let own = points.len() - start;
        if own <= MOST {
            return Self { points, noise };
        }
        let size = own.div_ceil(MOST);
        let mut blocks: Vec<Vec<usize>> = (start..points.len())
            .rev()
            .collect::<Vec<_>>()
            .chunks(size)
            .map(<[_]>::to_vec)
            .collect();
        blocks.extend((start == 1).then(|| vec![0]));
        blocks.reverse();
        Self::averaged(&points, &noise, &blocks)
    }

    fn averaged(points: &[Point], noise: &Noise, blocks: &[Vec<usize>]) -> Self {
        let mean = |block: &[usize], of: &dyn Fn(&Point) -> f64| {
            block.iter().map(|&at| of(&points[at])).sum::<f64>() / block.len() as f64
        };
        let merged = |block: &Vec<usize>| Point {
            step: mean(block, &|p| p.step),
            epoch: mean(block, &|p| p.epoch),
            loss: mean(block, &|p| p.loss),
            train: block
                .iter()
                .all(|&at| points[at].train.is_some())
                .then(|| mean(block, &|p| p.train.unwrap_or_default())),
        };
        let covariance = Matrix::from_fn(blocks.len(), |i, j| {
            let (a, b) = (&blocks[i], &blocks[j]);
            let pairs = a.iter().flat_map(|&row| b.iter().map(move |&column| (row, column)));
            let sum: f64 = pairs.map(|(row, column)| noise.covariance.at(row, column)).sum();
            sum / (a.len() * b.len()) as f64
        });
        let noise = Noise { covariance, freedom: noise.freedom };
        Self { points: blocks.iter().map(merged).collect(), noise }
    }

    /// The points.
    pub fn points(&self) -> &[Point] {
        &self.points
    }

    /// The noise of the losses.
    pub(crate) const fn noise(&self) -> &Noise {
        &self.noise
    }

    /// The run as it was at one of its points.
    #[must_use]
    pub fn until(&self, last: usize) -> Self {
        let count = (last + 1).min(self.points.len());
        Self { points: self.points[..count].to_vec(), noise: self.noise.of_first(count) }
    }

    /// Whether it begins with the base model.
    pub(crate) fn has_base(&self) -> bool {
        self.points.first().is_some_and(|first| first.step == 0.0)
    }

    /// Evaluations of the run itself.
    pub(crate) fn own(&self) -> usize {
        self.points.len() - usize::from(self.has_base())
    }

    /// What its losses are measured in: the lowest of them.
    pub(crate) fn unit(&self) -> f64 {
        let losses = || self.points.iter().map(|point| point.loss);
        let lowest = losses().fold(f64::INFINITY, f64::min);
        lowest.max(LEAST_UNIT * losses().fold(0.0, f64::max)).max(f64::MIN_POSITIVE)
    }

    /// In units of the lowest loss. The covariance of few groups is uncertain: losses are then
    /// spread as Student's t, of which the larger variance is taken.
    pub fn relative(&self) -> Relative {
        let unit = self.unit();
        let wider = self.noise.freedom.map_or(1.0, |freedom| {
            let freedom = freedom.max(3) as f64;
            freedom / (freedom - 2.0)
        });
        let scale = wider / (unit * unit);
        let noise =
            Matrix::from_fn(self.points.len(), |i, j| scale * self.noise.covariance.at(i, j));
        Relative {
            losses: self.points.iter().map(|point| point.loss / unit).collect(),
            times: self.points.iter().map(|p| (p.step > 0.0).then(|| p.step.ln())).collect(),
            noise,
        }
    }
}
