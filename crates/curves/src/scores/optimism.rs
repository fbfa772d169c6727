//! How much too good the best of many runs looks.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::Measured;

/// Random divisions that are averaged over.
const DIVISIONS: usize = 20;

/// Parts of a division.
const PARTS: usize = 5;

/// The mean on parts that the choice was not made by, against the best mean: how much worse new examples are
/// expected to be. `None` with fewer examples than parts, or of runs that were not measured alike. By
/// chance it may come out as a gain, and is then 0.
pub fn optimism(runs: &[Measured<'_>]) -> Option<f64> {
    let first = runs.first()?;
    let (sign, weights) = (first.sign(), first.weights());
    let is_alike = |run: &Measured<'_>| run.sign() == sign && run.weights() == weights;
    if weights.len() < PARTS || !runs.iter().all(is_alike) {
        return None;
    }
    let mut random = ChaCha8Rng::seed_from_u64(0x0b71_a15e);
    let total: f64 = weights.iter().sum();
    let mut part_of: Vec<usize> = (0..weights.len()).map(|e| e % PARTS).collect();
    let mut sum = 0.0;
    for _ in 0..DIVISIONS {
        part_of.shuffle(&mut random);
        let mut part_weights = [0.0; PARTS];
        for (part, weight) in part_of.iter().zip(&*weights) {
            part_weights[*part] += weight;
        }
        let sums: Vec<([f64; PARTS], f64)> = runs
            .iter()
            .map(|run| {
                let mut parts = [0.0; PARTS];
                for (part, value) in part_of.iter().zip(run.values()) {
                    parts[*part] -= sign * value;
                }
                (parts, parts.iter().sum())
            })
            .collect();
        for (part, held_out) in part_weights.iter().enumerate() {
            let elsewhere = |x: &([f64; PARTS], f64)| (x.1 - x.0[part]) / (total - held_out);
            let chosen = sums.iter().min_by(|a, b| elsewhere(a).total_cmp(&elsewhere(b)))?;
            sum += chosen.0[part] / total;
        }
    }
    let best = runs.iter().map(|run| -sign * run.mean()).min_by(f64::total_cmp)?;
    let optimism = sum / DIVISIONS as f64 - best;
    optimism.is_finite().then_some(optimism.max(0.0))
}
