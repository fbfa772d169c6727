//! Dropout masks that depend on the trial alone.
//!
//! A mask bit is a hash of (trial seed, optimizer step, layer and module, row, column), where the
//! row counts those that the trial's own batch has in the layer. So the mask is the same whichever
//! trials share the step, however the batch is split, and after a restart.

/// One application of dropout: which values are kept is a pure function of this.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dropout {
    /// Probability of a value being dropped, in `(0, 1)`.
    pub probability: f64,
    /// Hash of seed, step, layer and module.
    pub key: u64,
    /// Row of the trial's batch that the first row of the path is.
    pub first_row: u64,
}

impl Dropout {
    /// The key of one application.
    pub fn key(seed: u64, step: u32, site: usize) -> u64 {
        mix(mix(seed ^ 0x9e37_79b9_7f4a_7c15) ^ mix((u64::from(step) << 24) ^ site as u64))
    }

    /// The factor on what is kept: `1 / (1 - p)`.
    pub fn keep_scale(&self) -> f64 {
        1.0 / (1.0 - self.probability)
    }

    /// Values below this, among all `u32`, are dropped.
    pub fn threshold(&self) -> u32 {
        (self.probability * 4_294_967_296.0) as u32
    }

    /// Hash of one row of the path, the start of its columns' hashes.
    pub fn row_key(&self, row: usize) -> u32 {
        (mix(self.key ^ (self.first_row + row as u64).wrapping_mul(0xd6e8_feb8_6659_fd93)) >> 32)
            as u32
    }

    /// Whether a column of a row with this hash is kept.
    #[inline(always)]
    pub fn keeps(row_key: u32, column: u32, threshold: u32) -> bool {
        // lowbias32: a 32-bit mixer with the avalanche a mask needs, cheap enough to vectorise.
        let mut x = column.wrapping_mul(0x9e37_79b1) ^ row_key;
        x = (x ^ (x >> 16)).wrapping_mul(0x7feb_352d);
        x = (x ^ (x >> 15)).wrapping_mul(0x846c_a68b);
        (x ^ (x >> 16)) >= threshold
    }

    /// The factors of a block of rows, row-major: 0 or `1 / (1 - p)`.
    pub fn factors(&self, rows: usize, cols: usize) -> Vec<f32> {
        let (threshold, keep) = (self.threshold(), self.keep_scale() as f32);
        (0..rows)
            .flat_map(|row| {
                let key = self.row_key(row);
                (0..cols as u32)
                    .map(move |c| if Self::keeps(key, c, threshold) { keep } else { 0.0 })
            })
            .collect()
    }
}

/// splitmix64's finaliser.
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dropout(first_row: u64) -> Dropout {
        Dropout { probability: 0.3, key: Dropout::key(7, 3, 5), first_row }
    }

    #[test]
    fn the_share_of_dropped_values_is_the_probability_and_the_mean_is_kept() {
        let factors = dropout(0).factors(200, 500);
        let dropped = factors.iter().filter(|f| **f == 0.0).count() as f64 / factors.len() as f64;
        let mean = factors.iter().map(|f| f64::from(*f)).sum::<f64>() / factors.len() as f64;
        assert!((dropped - 0.3).abs() < 0.01, "dropped {dropped}");
        assert!((mean - 1.0).abs() < 0.01, "mean {mean}");
    }

    #[test]
    fn a_block_split_in_two_has_the_same_mask() {
        let whole = dropout(10).factors(6, 33);
        let mut parts = dropout(10).factors(2, 33);
        parts.extend(dropout(12).factors(4, 33));
        assert_eq!(whole, parts);
    }

    #[test]
    fn masks_differ_between_steps_sites_and_seeds() {
        let keys = [
            Dropout::key(1, 1, 1),
            Dropout::key(2, 1, 1),
            Dropout::key(1, 2, 1),
            Dropout::key(1, 1, 2),
        ];
        for (i, a) in keys.iter().enumerate() {
            for b in &keys[i + 1..] {
                assert_ne!(a, b);
            }
        }
    }
}
