//! In which order a trial sees its training examples.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

/// The random streams of a seed: adapters use the low ones.
const ORDER_STREAM: u64 = 1 << 32;
const SUBSET_STREAM: u64 = 1 << 33;

/// The order of an epoch: a permutation that depends on the seed and the epoch alone.
pub fn epoch_order(seed: u64, epoch: u32, examples: usize) -> Vec<usize> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(ORDER_STREAM + u64::from(epoch));
    let mut order: Vec<usize> = (0..examples).collect();
    order.shuffle(&mut rng);
    order
}

/// The fixed training subset whose loss the gap compares with validation: the same for every
/// trial, ascending.
pub fn train_subset(examples: usize, wanted: usize) -> Vec<usize> {
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    rng.set_stream(SUBSET_STREAM);
    let mut order: Vec<usize> = (0..examples).collect();
    order.shuffle(&mut rng);
    order.truncate(wanted);
    order.sort_unstable();
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_epoch_visits_every_example_once_in_an_order_of_its_own() {
        let (first, second) = (epoch_order(1, 0, 50), epoch_order(1, 1, 50));
        assert_ne!(first, second);
        for mut order in [first, second] {
            order.sort_unstable();
            assert_eq!(order, (0..50).collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_order_depends_on_seed_and_epoch_alone() {
        assert_eq!(epoch_order(7, 3, 20), epoch_order(7, 3, 20));
        assert_ne!(epoch_order(7, 3, 20), epoch_order(8, 3, 20));
    }

    #[test]
    fn a_subset_larger_than_the_set_is_the_set() {
        assert_eq!(train_subset(4, 10), [0, 1, 2, 3]);
    }
}
