//! How A `[R, in]` and B `[out, R]` of one site begin.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use spec::{InitLoraWeights, TargetModule};

use super::layout::{AdapterLayout, Site};

impl AdapterLayout {
    /// The values that training begins with; it begins at the base model, because `B A` is zero.
    /// Magnitudes, which depend on the base model's weights, stay zero
    /// ([`crate::decoder::Decoder::set_magnitudes`]).
    pub fn initial_values(&self, seed: u64, init: InitLoraWeights) -> Vec<f32> {
        let mut values = vec![0.0; self.len];
        for (index, site) in self.sites.iter().enumerate() {
            // A stream a site: its values do not depend on which other modules are adapted. A fused
            // projection has that of its first part.
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let module = site.module.parts().first().copied().unwrap_or(site.module);
            rng.set_stream(1 + (site.layer * TargetModule::ALL.len()) as u64 + module as u64);
            let (a, b) = values[site.a..self.b_range(index).end].split_at_mut(site.b - site.a);
            match init {
                InitLoraWeights::Default => uniform(a, site, &mut rng),
                InitLoraWeights::Orthogonal => orthogonal(a, b, site, &mut rng),
            }
        }
        values
    }
}

/// PEFT's default: A uniform in `±1/sqrt(in)` (Kaiming with `a = sqrt(5)`), B stays zero.
fn uniform(a: &mut [f32], site: &Site, rng: &mut impl Rng) {
    let bound = 1.0 / (site.inputs as f32).sqrt();
    for x in a {
        *x = rng.random_range(-bound..bound);
    }
}

/// PEFT's `orthogonal`: with Q a random orthogonal `R x R` matrix and X, Y of normal numbers,
/// `A = (X Q_even)^T / 10` and `B = Y Q_odd / 10`, where `Q_even` has the rows 0, 2, .. of Q and
/// `Q_odd` the others. Their rows are orthogonal, so `B A` is zero, but neither factor is.
fn orthogonal(a: &mut [f32], b: &mut [f32], site: &Site, rng: &mut impl Rng) {
    let (rank, half) = (site.rank, site.rank / 2);
    let q = orthogonal_rows(rank, rng);
    for input in 0..site.inputs {
        let row = mixed(q.iter().step_by(2), half, rank, rng);
        for (r, x) in row.into_iter().enumerate() {
            a[r * site.inputs + input] = (x / 10.0) as f32;
        }
    }
    for row in b.chunks_exact_mut(rank) {
        let mix = mixed(q.iter().skip(1).step_by(2), half, rank, rng);
        for (to, x) in row.iter_mut().zip(mix) {
            *to = (x / 10.0) as f32;
        }
    }
}

/// A sum of the rows with normal weights.
fn mixed<'a>(
    rows: impl Iterator<Item = &'a Vec<f64>>,
    count: usize,
    rank: usize,
    rng: &mut impl Rng,
) -> Vec<f64> {
    let weights: Vec<f64> = (0..count).map(|_| normal(rng)).collect();
    let mut sum = vec![0.0; rank];
    for (weight, row) in weights.iter().zip(rows) {
        for (sum, x) in sum.iter_mut().zip(row) {
            *sum += weight * x;
        }
    }
    sum
}

/// `R` orthonormal rows: normal numbers, made orthogonal to those before (Gram-Schmidt, twice, so
/// that rounding leaves nothing).
fn orthogonal_rows(rank: usize, rng: &mut impl Rng) -> Vec<Vec<f64>> {
    let dot = |x: &[f64], y: &[f64]| -> f64 { x.iter().zip(y).map(|(x, y)| x * y).sum() };
    let mut rows: Vec<Vec<f64>> = Vec::with_capacity(rank);
    while rows.len() < rank {
        let mut row: Vec<f64> = (0..rank).map(|_| normal(rng)).collect();
        for _ in 0..2 {
            for other in &rows {
                let along = dot(&row, other);
                row.iter_mut().zip(other).for_each(|(x, y)| *x -= along * y);
            }
        }
        let length = dot(&row, &row).sqrt();
        // Almost within the span of the others: another draw.
        if length > 1e-6 {
            for x in &mut row {
                *x /= length;
            }
            rows.push(row);
        }
    }
    rows
}

/// A normal number (Box & Muller 1958).
fn normal(rng: &mut impl Rng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
    radius * (2.0 * std::f64::consts::PI * rng.random::<f64>()).cos()
}
