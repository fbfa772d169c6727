//! The hyper-parameters with the highest posterior probability, by L-BFGS from several starts.
//!
//! Minimises `1/2 y' K^-1 y + 1/2 ln |K| + 1/2 u' u` (Rasmussen & Williams 2006, eq. 2.30 and
//! 5.9, with a standard normal prior on u, in which the hyper-parameters are written).
//!
//! Notation: n points, u hyper-parameters (D + 3), y losses, n.

use std::cell::RefCell;

use argmin::core::{CostFunction, Error, Executor, Gradient};
use argmin::solver::linesearch::MoreThuenteLineSearch;
use argmin::solver::quasinewton::LBFGS;
use faer::linalg::solvers::DenseSolveCore;
use faer::{Mat, Side};

use super::features::{Coordinate, Point};
use super::kernel::{Hyper, LEVEL, RELATED, between_problems, matern, squared_difference};

/// The fit sees at most so many points; its time grows with their cube.
const MOST_POINTS: usize = 140;
const MOST_ITERATIONS: u64 = 25;
/// Steps whose curvature L-BFGS remembers.
const MEMORY: usize = 7;
/// Added to the diagonal, in units of the losses' variance.
pub(super) const JITTER: f64 = 1e-8;

/// The most probable hyper-parameters. Without any point, what is expected before the data.
pub(crate) fn fit(points: &[Point], losses: &[f64], coordinates: &[Coordinate]) -> Hyper {
    let expected = vec![0.0; coordinates.len() + 3];
    let [likeliest, others @ ..] = RELATED;
    if points.len() < 2 {
        return Hyper::from_normal(&expected, likeliest, coordinates);
    }
    let mut best = fit_related(points, losses, coordinates, likeliest);
    // Between problems that nothing was measured in, there is nothing to find out.
    if points.iter().any(|p| p.problem != 0) && points.iter().any(|p| p.problem == 0) {
        for related in others {
            let fitted = fit_related(points, losses, coordinates, related);
            if fitted.0 < best.0 {
                best = fitted;
            }
        }
    }
    best.1
}

/// The cost and the most probable hyper-parameters when problems are so alike.
fn fit_related(
    points: &[Point],
    losses: &[f64],
    coordinates: &[Coordinate],
    related: f64,
) -> (f64, Hyper) {
    let d = coordinates.len();
    let expected = vec![0.0; d + 3];
    let objective = Objective::new(points, losses, coordinates, related);
    // Short and long length scales: what the data is made of lies between.
    for start in [0.0, -1.0] {
        let mut u = expected.clone();
        u[..d].fill(start);
        objective.descend(u);
    }
    let (cost, u) = objective.best.into_inner().unwrap_or((f64::INFINITY, expected));
    (cost, Hyper::from_normal(&u, related, coordinates))
}

/// What is minimised. argmin asks for cost and gradient apart, so the last pair is kept.
struct Objective<'a> {
    coordinates: &'a [Coordinate],
    related: f64,
    /// Losses, n.
    y: Vec<f64>,
    /// For every pair i > j, row by row: squared differences, D each.
    differences: Vec<f64>,
    /// For every pair: whether both belong to one trial.
    same_trial: Vec<bool>,
    /// For every pair: the level they share, and how much of the signal.
    problems: Vec<(f64, f64)>,
    last: RefCell<Option<Evaluated>>,
    best: RefCell<Option<(f64, Vec<f64>)>>,
}

#[derive(Clone)]
struct Evaluated {
    u: Vec<f64>,
    cost: f64,
    gradient: Vec<f64>,
}

impl<'a> Objective<'a> {
    fn new(points: &[Point], losses: &[f64], coordinates: &'a [Coordinate], related: f64) -> Self {
        let chosen = spread_over(points.len());
        let mut objective = Self {
            coordinates,
            related,
            y: Vec::new(),
            differences: Vec::new(),
            same_trial: Vec::new(),
            problems: Vec::new(),
            last: RefCell::new(None),
            best: RefCell::new(None),
        };
        for (row, &i) in chosen.iter().enumerate() {
            let p = &points[i];
            objective.y.push(losses[i]);
            for &j in &chosen[..row] {
                let q = &points[j];
                let pair = coordinates.iter().zip(p.x.iter().zip(&q.x));
                objective
                    .differences
                    .extend(pair.map(|(c, (a, b))| squared_difference(c.nominal, *a, *b)));
                objective.same_trial.push(p.trial == q.trial && p.problem == q.problem);
                objective.problems.push(between_problems(p, q, related));
            }
        }
        objective
    }

    /// Walks downhill from `u`. A line search that fails ends the walk; what it had reached counts.
    fn descend(&self, u: Vec<f64>) {
        let solver = LBFGS::new(MoreThuenteLineSearch::new(), MEMORY)
            .with_tolerance_grad(1e-3)
            .and_then(|solver| solver.with_tolerance_cost(1e-5));
        let Ok(solver) = solver else { return };
        // The first step is as long as the gradient: one unit, whatever the number of points.
        let steepness = self.at(&u).gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
        let problem = Problem { objective: self, scale: 1.0 / steepness.max(1.0) };
        let walk = Executor::new(problem, solver)
            .configure(|state| state.param(u).max_iters(MOST_ITERATIONS));
        // An error is argmin's way to say that a search direction led nowhere.
        let _ = walk.run();
    }

    /// Cost and gradient at `u`; infinite where the covariance is not positive definite.
    fn at(&self, u: &[f64]) -> Evaluated {
        if let Some(last) = self.last.borrow().as_ref().filter(|last| last.u == u) {
            return last.clone();
        }
        let evaluated = self.evaluate(u).unwrap_or_else(|| Evaluated {
            u: u.to_vec(),
            cost: f64::INFINITY,
            gradient: u.to_vec(),
        });
        let mut best = self.best.borrow_mut();
        if best.as_ref().is_none_or(|(cost, _)| evaluated.cost < *cost) {
            *best = Some((evaluated.cost, u.to_vec()));
        }
        *self.last.borrow_mut() = Some(evaluated.clone());
        evaluated
    }

    fn evaluate(&self, u: &[f64]) -> Option<Evaluated> {
        let (n, d) = (self.y.len(), self.coordinates.len());
        let hyper = Hyper::from_normal(u, self.related, self.coordinates);
        let per_length: Vec<f64> = hyper.lengths.iter().map(|l| l.powi(-2)).collect();
        let mut k = Mat::<f64>::zeros(n, n);
        // s^2 times what `matern` gives for the gradient, for every pair.
        let mut slopes = Vec::with_capacity(self.same_trial.len());
        let mut pair = 0;
        for i in 0..n {
            for j in 0..i {
                let differences = &self.differences[pair * d..(pair + 1) * d];
                let r2: f64 = differences.iter().zip(&per_length).map(|(x, w)| x * w).sum();
                let (level, alike) = self.problems[pair];
                let (value, slope) = matern(r2);
                let (value, slope) = (alike * value, alike * slope);
                let effect = if self.same_trial[pair] { hyper.effect } else { 0.0 };
                k[(i, j)] = level + hyper.signal * value + effect;
                slopes.push((hyper.signal * value, hyper.signal * slope));
                pair += 1;
            }
            k[(i, i)] = LEVEL + hyper.signal + hyper.effect + hyper.noise + JITTER;
        }
        let factor = k.llt(Side::Lower).ok()?;
        let inverse = factor.inverse();
        let alpha: Vec<f64> =
            (0..n).map(|i| (0..n).map(|j| inverse[(i, j)] * self.y[j]).sum()).collect();
        let log_determinant: f64 = (0..n).map(|i| 2.0 * factor.L()[(i, i)].ln()).sum();
        let fit: f64 = self.y.iter().zip(&alpha).map(|(y, a)| y * a).sum();
        let cost = 0.5 * (fit + log_determinant + u.iter().map(|u| u * u).sum::<f64>());

        // d cost / d ln h = 1/2 sum_ij (K^-1 - a a')_ij dK_ij / d ln h.
        let mut by_log = vec![0.0; d + 3];
        pair = 0;
        for i in 0..n {
            for j in 0..i {
                // Twice one half, for both halves of the matrix.
                let w = inverse[(i, j)] - alpha[i] * alpha[j];
                let (value, slope) = slopes[pair];
                by_log[d] += w * value;
                if self.same_trial[pair] {
                    by_log[d + 1] += w * hyper.effect;
                }
                let ws = w * slope;
                for (c, x) in self.differences[pair * d..(pair + 1) * d].iter().enumerate() {
                    by_log[c] += ws * x * per_length[c];
                }
                pair += 1;
            }
            let w = 0.5 * (inverse[(i, i)] - alpha[i] * alpha[i]);
            by_log[d] += w * hyper.signal;
            by_log[d + 1] += w * hyper.effect;
            by_log[d + 2] += w * hyper.noise;
        }
        let deviations = Hyper::deviations(d);
        let gradient = by_log.iter().zip(deviations).zip(u).map(|((g, s), u)| g * s + u).collect();
        cost.is_finite().then(|| Evaluated { u: u.to_vec(), cost, gradient })
    }
}

/// At most [`MOST_POINTS`] of `count` indices, evenly spread.
fn spread_over(count: usize) -> Vec<usize> {
    let kept = count.min(MOST_POINTS);
    (0..kept).map(|i| i * count / kept).collect()
}

/// Hyper-parameters stay within so many prior standard deviations.
const FARTHEST: f64 = 4.0;

/// The objective as argmin wants it, which knows no bounds: in `v`, with
/// `u = FARTHEST tanh(v / FARTHEST)`, so that it is finite wherever a line search looks.
struct Problem<'a, 'b> {
    objective: &'a Objective<'b>,
    scale: f64,
}

fn bounded(v: &[f64]) -> Vec<f64> {
    v.iter().map(|v| FARTHEST * (v / FARTHEST).tanh()).collect()
}

impl CostFunction for Problem<'_, '_> {
    type Param = Vec<f64>;
    type Output = f64;

    fn cost(&self, v: &Self::Param) -> Result<f64, Error> {
        Ok(self.objective.at(&bounded(v)).cost * self.scale)
    }
}

impl Gradient for Problem<'_, '_> {
    type Param = Vec<f64>;
    type Gradient = Vec<f64>;

    fn gradient(&self, v: &Self::Param) -> Result<Vec<f64>, Error> {
        let u = bounded(v);
        let gradient = self.objective.at(&u).gradient;
        let slope = |u: f64| 1.0 - (u / FARTHEST).powi(2);
        Ok(gradient.iter().zip(&u).map(|(g, u)| g * slope(*u) * self.scale).collect())
    }
}

#[cfg(test)]
mod tests {
    use spec::PathKind;

    use super::*;
    use crate::bayes::features::Features;

    #[test]
    fn the_gradient_is_that_of_the_cost() {
        let text = "method: random\nrun_cap: 9\nmodel: m\ndata: {train: t.jsonl}\nparameters: {rank: [4, 8, 64], learning_rate: {distribution: log_uniform_values, min: 1e-5, max: 1e-2}, lr_scheduler: [linear, constant]}\n";
        let look = |path: &std::path::Path| match path.extension() {
            Some(_) => PathKind::File,
            None => PathKind::Folder,
        };
        let sweep =
            spec::resolve(text, std::path::Path::new("x.yaml"), &look).expect("it is right");
        for lora_prior in [true, false] {
            let features = Features::new(&sweep.space, lora_prior);
            let points: Vec<Point> = (0..12)
                .map(|i| {
                    let config = crate::sobol::config(&sweep.space, 1, i / 2);
                    let mut point = features.point(&config, 1.0 + (i % 2) as f64, (i / 2) as u32);
                    // Some are of another problem.
                    point.problem = u16::from(i > 7);
                    point
                })
                .collect();
            let losses: Vec<f64> = (0..12).map(|i| f64::from(i * i % 7) / 3.0 - 1.0).collect();
            let objective = Objective::new(&points, &losses, features.coordinates(), 0.5);
            let u: Vec<f64> =
                (0..features.coordinates().len() + 3).map(|i| 0.3 - 0.1 * i as f64).collect();
            let evaluated = objective.at(&u);
            for i in 0..u.len() {
                let cost = |h: f64| {
                    let mut moved = u.clone();
                    moved[i] += h;
                    objective.at(&moved).cost
                };
                let difference = (cost(1e-5) - cost(-1e-5)) / 2e-5;
                let error = (difference - evaluated.gradient[i]).abs();
                assert!(
                    error < 1e-5 * (1.0 + difference.abs()),
                    "{i}: {difference} {evaluated:?}",
                    evaluated = evaluated.gradient
                );
            }
        }
    }
}
