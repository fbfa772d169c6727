//! A deterministic stand-in for LoRA fine-tuning runs: instances with known optima, whose curves
//! have the regularities of real runs with different strengths. Nothing in it was fitted to data.
//!
//! Notation: x learning rate over the instance's scale, s optimisation progress, e epoch of E.

use blake2::Blake2b;
use blake2::digest::Digest;
use blake2::digest::consts::U8;

use super::numpy::Generator;

pub const RANKS: [u32; 9] = [1, 2, 4, 8, 16, 32, 64, 128, 256];
pub const BATCHES: [u32; 6] = [4, 8, 16, 32, 64, 128];
pub const RATES: (f64, f64) = (1e-5, 1e-2);
pub const MOST_EPOCHS: u32 = 8;

/// A dataset and a base model.
#[derive(Debug, Clone)]
pub struct Instance {
    number: u64,
    /// Training examples.
    examples: f64,
    /// Loss before training.
    pub base_loss: f64,
    floor: f64,
    capacity: f64,
    capacity_rank: f64,
    capacity_power: f64,
    /// The learning rate's scale at batch 16 and rank 16.
    rate: f64,
    rate_by_rank: f64,
    progress_power: f64,
    progress_start: f64,
    rate_noise: f64,
    divergence: f64,
    critical_batch: f64,
    overfit: f64,
    overfit_rank: f64,
    overfit_onset: f64,
    large_batch: (f64, f64),
    small_batch: (f64, f64),
    seed_noise: f64,
    eval_noise: f64,
    /// The schedule decays linearly; else it is constant.
    pub decays: bool,
    example_seconds: f64,
    half_batch: f64,
    rank_seconds: f64,
    start_seconds: f64,
}

/// Where an instance's best configurations lie.
#[derive(Debug, Clone, Copy)]
pub struct Optimum {
    /// Lowest expected loss, over a dense grid.
    pub best: f64,
    /// The same over a grid with four learning rates a decade.
    pub grid: f64,
    /// Median over the dense grid.
    pub median: f64,
}

/// How an instance is moved away from where people expect the optimum.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Shift {
    None,
    /// The learning rate's scale times this.
    Rate(f64),
    /// Higher ranks overfit at once.
    LowRank,
}

/// A configuration of a run.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    pub rank: u32,
    pub learning_rate: f64,
    pub batch_size: u32,
    pub epochs: u32,
}

/// One noisy run.
#[derive(Debug, Clone)]
pub struct Run {
    pub train: Vec<f64>,
    pub eval: Vec<f64>,
    pub seconds: f64,
}

impl Instance {
    pub fn new(number: u64) -> Self {
        let mut g = Generator::new(900_000 + number);
        let examples = 10_f64.powf(g.uniform(3.3, 4.7)).trunc();
        // Struct fields are evaluated in the order they are written, which is the script's.
        Self {
            number,
            examples,
            base_loss: g.uniform(1.6, 3.0),
            floor: g.uniform(0.45, 1.1),
            capacity: g.uniform(0.05, 0.40),
            capacity_rank: 2_f64.powf(g.uniform(0.0, 5.0)),
            capacity_power: g.uniform(0.9, 2.2),
            rate: 10_f64.powf(g.uniform(-4.3, -3.1)),
            rate_by_rank: g.normal(0.0, 0.06),
            progress_power: g.uniform(0.6, 1.2),
            progress_start: 10_f64.powf(g.uniform(0.3, 1.5)),
            rate_noise: g.uniform(0.01, 0.05),
            divergence: g.uniform(4.0, 14.0),
            critical_batch: 2_f64.powf(g.uniform(4.5, 6.5)),
            overfit: g.uniform(0.03, 0.25) * (5000.0 / examples).sqrt(),
            overfit_rank: 2_f64.powf(g.uniform(3.0, 8.0)),
            overfit_onset: g.uniform(1.5, 5.0),
            large_batch: (g.uniform(4.5, 7.0), g.uniform(0.005, 0.05)),
            small_batch: (g.uniform(3.0, 5.0), g.uniform(0.01, 0.05)),
            seed_noise: g.uniform(0.002, 0.012),
            eval_noise: g.uniform(0.001, 0.004),
            decays: number % 2 == 1,
            example_seconds: g.uniform(0.01, 0.06),
            half_batch: g.uniform(2.0, 12.0),
            rank_seconds: g.uniform(0.0002, 0.001),
            start_seconds: g.uniform(10.0, 40.0),
        }
    }

    /// The same instance with its optimum elsewhere.
    pub fn shifted(mut self, shift: Shift) -> Self {
        match shift {
            Shift::None => {}
            Shift::Rate(factor) => self.rate *= factor,
            Shift::LowRank => {
                self.overfit = self.overfit.max(0.1) * 2.0;
                self.overfit_rank = 8.0;
                self.overfit_onset = 1.0;
                self.capacity_rank = 1.0;
            }
        }
        self
    }

    fn rate_at(&self, rank: f64) -> f64 {
        self.rate * (rank / 16.0).powf(-self.rate_by_rank)
    }

    /// Train and validation loss without noise at epoch `e`.
    fn losses(&self, s: Setting, e: f64) -> (f64, f64) {
        let (rank, batch, total) =
            (f64::from(s.rank), f64::from(s.batch_size), f64::from(s.epochs));
        let x = s.learning_rate / self.rate_at(rank);
        let (run, current) = if self.decays {
            (e - e * e / (2.0 * total), (1.0 - e / total).max(0.0) + 0.1)
        } else {
            (e, 1.0)
        };
        let progress = self.examples / batch * run * x;
        let short = self.capacity * (1.0 + rank / self.capacity_rank).powf(-self.capacity_power);
        let train = self.floor
            + short
            + (self.base_loss - self.floor - short)
                * (1.0 + progress / self.progress_start).powf(-self.progress_power);
        let noise =
            (self.rate_noise * (x * current).powi(2) * 16.0 / batch).min(0.8 * self.base_loss);
        let doublings = batch.log2();
        let penalty = self.large_batch.1 * (doublings - self.large_batch.0).max(0.0).powi(2)
            + self.small_batch.1 * (self.small_batch.0 - doublings).max(0.0).powi(2);
        let full = rank / (rank + self.overfit_rank);
        let passes = run * (x * 4.0 / batch.sqrt()).sqrt().min(2.5);
        let z = (passes - self.overfit_onset * (1.3 - 0.6 * full)) / 0.5;
        let soft = if z > 20.0 { z } else { z.exp().ln_1p() } * 0.5;
        let gap = self.overfit * (0.2 + 1.3 * full) * soft;
        let level = train + noise + penalty;
        (level.min(self.base_loss * 1.3) - 0.5 * gap, (level + gap).min(self.base_loss * 1.6))
    }

    fn diverging_rate(&self, rank: f64, batch: f64) -> f64 {
        self.divergence * self.rate_at(rank) * (batch.min(self.critical_batch) / 16.0).sqrt()
    }

    fn divergence_probability(&self, s: Setting) -> f64 {
        let threshold = self.diverging_rate(s.rank.into(), s.batch_size.into());
        1.0 / (1.0 + (-1.702 * ((s.learning_rate / threshold).ln() / 0.2)).exp())
    }

    /// Expected validation loss after `epoch` of the setting's epochs.
    pub fn expected(&self, s: Setting, epoch: u32) -> f64 {
        let p = self.divergence_probability(s);
        (1.0 - p) * self.losses(s, f64::from(epoch)).1 + p * (self.base_loss * 1.6 + 1.0)
    }

    pub fn seconds(&self, s: Setting) -> f64 {
        self.start_seconds
            + f64::from(s.epochs)
                * self.examples
                * self.example_seconds
                * (1.0 + self.half_batch / f64::from(s.batch_size))
                * (1.0 + self.rank_seconds * f64::from(s.rank))
    }

    /// One run, a function of the instance, the setting and the seed.
    pub fn run(&self, s: Setting, seed: u64) -> Run {
        let mut g = self.noise(s, seed);
        let epochs = s.epochs as usize;
        let (mut train, mut eval): (Vec<f64>, Vec<f64>) =
            (1..=s.epochs).map(|e| self.losses(s, f64::from(e))).unzip();
        let (offset, threshold) = (g.normal(0.0, 1.0), g.normal(0.0, 1.0));
        let (when, level) = (g.uniform(0.0, 1.0), g.uniform(0.0, 1.0));
        let steps = self.examples / f64::from(s.batch_size) * f64::from(s.epochs);
        let few = 1.0 + 2.0 / (1.0 + steps / 50.0).sqrt();
        let faster = Setting { learning_rate: s.learning_rate * 1.5, ..s };
        let near = 1.0 + 3.0 * self.divergence_probability(faster);
        let offset = self.seed_noise * few * near * offset;
        for loss in &mut train {
            *loss += offset + 0.5 * self.eval_noise * g.normal(0.0, 1.0);
        }
        for loss in &mut eval {
            *loss += offset + self.eval_noise * g.normal(0.0, 1.0);
        }
        let limit = self.diverging_rate(s.rank.into(), s.batch_size.into());
        if s.learning_rate > limit * (0.2 * threshold).exp() {
            let from = (when * when * epochs as f64) as usize;
            let plateau = self.base_loss * 1.6 + 2.0 * level;
            train[from..].fill(plateau);
            eval[from..].fill(plateau);
        }
        Run { train, eval, seconds: self.seconds(s) }
    }

    /// The generator of a run, seeded by a hash of everything that it depends on.
    fn noise(&self, s: Setting, seed: u64) -> Generator {
        let rate = format!("{:.9}", s.learning_rate.ln()).parse::<f64>().unwrap_or(0.0);
        let text = format!(
            "({}, {}, {rate:?}, {}, {}, {seed})",
            self.number, s.rank, s.batch_size, s.epochs
        );
        let digest = Blake2b::<U8>::digest(text.as_bytes());
        Generator::new(u64::from_le_bytes(digest.into()))
    }

    /// Searches the dense grid.
    pub fn optimum(&self) -> Optimum {
        let mut dense = self.grid(161);
        let best = dense.iter().copied().fold(f64::INFINITY, f64::min);
        dense.sort_by(f64::total_cmp);
        let middle = dense.len() / 2;
        let median = f64::midpoint(dense[middle - 1], dense[middle]);
        let grid = self.grid(13).into_iter().fold(f64::INFINITY, f64::min);
        Optimum { best, grid, median }
    }

    /// Expected final losses with so many learning rates.
    fn grid(&self, rates: u32) -> Vec<f64> {
        let decades = (RATES.1 / RATES.0).log10();
        let mut losses = Vec::new();
        for rank in RANKS {
            for step in 0..rates {
                let share = f64::from(step) / f64::from(rates - 1);
                let learning_rate = RATES.0 * 10_f64.powf(decades * share);
                for batch_size in BATCHES {
                    for epochs in 1..=MOST_EPOCHS {
                        let s = Setting { rank, learning_rate, batch_size, epochs };
                        losses.push(self.expected(s, epochs));
                    }
                }
            }
        }
        losses
    }
}
