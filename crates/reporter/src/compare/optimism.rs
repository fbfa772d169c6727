//! How much too low the lowest of many losses is.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::candidate::Candidates;

/// Random divisions that are averaged over.
const DIVISIONS: usize = 20;

/// Parts of a division.
const PARTS: usize = 5;

/// The loss on parts that the choice was not made by, above the lowest loss; `None` with fewer
/// examples than parts. By chance it may come out below it, and is then 0.
pub fn of(found: &Candidates) -> Option<f64> {
    let count = found.targets.len();
    if count < PARTS {
        return None;
    }
    let mut random = ChaCha8Rng::seed_from_u64(0x0b71_a15e);
    let tokens: f64 = found.targets.iter().sum();
    let mut part_of: Vec<usize> = (0..count).map(|e| e % PARTS).collect();
    let mut sum = 0.0;
    for _ in 0..DIVISIONS {
        part_of.shuffle(&mut random);
        let mut part_tokens = [0.0; PARTS];
        for (part, targets) in part_of.iter().zip(&found.targets) {
            part_tokens[*part] += targets;
        }
        let sums: Vec<([f64; PARTS], f64)> = found
            .list
            .iter()
            .map(|candidate| {
                let mut parts = [0.0; PARTS];
                for (part, nll) in part_of.iter().zip(&candidate.nll) {
                    parts[*part] += nll;
                }
                (parts, parts.iter().sum())
            })
            .collect();
        for (part, held_out) in part_tokens.iter().enumerate() {
            let elsewhere = |x: &([f64; PARTS], f64)| (x.1 - x.0[part]) / (tokens - held_out);
            let chosen = sums.iter().min_by(|a, b| elsewhere(a).total_cmp(&elsewhere(b)))?;
            sum += chosen.0[part] / tokens;
        }
    }
    let lowest = found.list[found.best()].loss;
    let optimism = sum / DIVISIONS as f64 - lowest;
    optimism.is_finite().then_some(optimism.max(0.0))
}
