//! Where to look for the next trial: points spread over the whole space, neighbours of the best,
//! and a climb from the most promising ones.

use std::collections::HashSet;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use spec::{ConfigKey, Parameter, SearchSpace, TrialConfig};

use crate::sobol;

/// Points spread over the whole space.
const SPREAD: u64 = 400;
/// Neighbours of every good trial.
const NEIGHBOURS: usize = 20;
/// Candidates from which the climb starts, its rounds, and neighbours tried from each in a round.
const CLIMBERS: usize = 6;
const ROUNDS: usize = 4;
const TRIED: usize = 14;
/// A space of so few different configurations is searched completely.
const SMALL_SPACE: u128 = 1500;

/// Finds the configuration with the highest score that is not known yet.
pub(crate) struct Search<'a> {
    pub space: &'a SearchSpace,
    varied: Vec<Parameter>,
    known: &'a HashSet<ConfigKey>,
    generator: ChaCha8Rng,
    /// Chooses the points spread over the space.
    seed: u64,
}

#[derive(Debug, Clone)]
struct Candidate {
    shares: [f64; Parameter::COUNT],
    config: TrialConfig,
}

impl<'a> Search<'a> {
    /// `number` is that of the trial to find: every trial has its own random numbers.
    pub fn new(
        space: &'a SearchSpace,
        known: &'a HashSet<ConfigKey>,
        seed: u64,
        number: u32,
    ) -> Self {
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        // Stream 0 and up belong to the fantasies of trials.
        generator.set_stream((1 << 40) + u64::from(number));
        Self { space, varied: space.varied(), known, generator, seed: seed ^ u64::from(number) }
    }

    /// The best configuration by `score` that `may_be`, beginning near `good` ones among others; `None`
    /// when nothing unknown was found. Whether it may be is only asked of the best.
    pub fn best(
        &mut self,
        good: &[&TrialConfig],
        may_be: impl Fn(&TrialConfig) -> bool,
        score: impl Fn(&[TrialConfig]) -> Vec<f64>,
    ) -> Option<TrialConfig> {
        if self.space.grid_size().is_some_and(|cells| cells <= SMALL_SPACE) {
            let cells = self.space.grid_size().unwrap_or(0);
            let all = (0..cells).map(|cell| self.space.grid_config(cell));
            let unknown = all.filter(|config| !self.known.contains(&config.key())).collect();
            return highest(unknown, may_be, &score);
        }
        let mut pool = self.pool(good);
        let configs: Vec<TrialConfig> = pool.iter().map(|c| c.config.clone()).collect();
        let mut scored: Vec<(f64, Candidate)> =
            score(&configs).into_iter().zip(pool.drain(..)).collect();
        scored.sort_by(|a, b| b.0.total_cmp(&a.0));
        let mut scored: Vec<(f64, Candidate)> =
            scored.into_iter().filter(|(_, c)| may_be(&c.config)).take(CLIMBERS).collect();
        for round in 0..ROUNDS {
            let reach = 0.12 * 0.45_f64.powi(round as i32);
            let neighbours: Vec<Vec<Candidate>> = scored
                .iter()
                .map(|(_, from)| self.unknown_neighbours(&from.shares, TRIED, reach))
                .collect();
            let flat: Vec<TrialConfig> =
                neighbours.iter().flatten().map(|c| c.config.clone()).collect();
            let mut scores = score(&flat).into_iter();
            for (climber, neighbours) in scored.iter_mut().zip(neighbours) {
                for (neighbour, score) in neighbours.into_iter().zip(&mut scores) {
                    if score > climber.0 && may_be(&neighbour.config) {
                        *climber = (score, neighbour);
                    }
                }
            }
        }
        scored
            .into_iter()
            .reduce(|a, b| if b.0 > a.0 { b } else { a })
            .map(|(_, candidate)| candidate.config)
    }

    fn pool(&mut self, good: &[&TrialConfig]) -> Vec<Candidate> {
        let mut pool: Vec<Candidate> = (0..SPREAD)
            .map(|index| self.candidate(sobol::shares(self.seed, index)))
            .filter(|candidate| self.is_unknown(candidate))
            .collect();
        for config in good {
            let shares = self.space.shares_of(config);
            // One of an earlier sweep has not been tried in this one.
            pool.extend(Some(self.candidate(shares)).filter(|own| self.is_unknown(own)));
            for reach in [0.15, 0.04] {
                pool.extend(self.unknown_neighbours(&shares, NEIGHBOURS, reach));
            }
        }
        pool
    }

    fn is_unknown(&self, candidate: &Candidate) -> bool {
        !self.known.contains(&candidate.config.key())
    }

    fn unknown_neighbours(
        &mut self,
        shares: &[f64; Parameter::COUNT],
        count: usize,
        reach: f64,
    ) -> Vec<Candidate> {
        let mut found: Vec<Candidate> = (0..count).map(|_| self.neighbour(shares, reach)).collect();
        found.retain(|candidate| self.is_unknown(candidate));
        found
    }

    /// Moves about a third of the varied axes, at least one: a range by up to about `reach` of its
    /// shares, listed values mostly to the next one.
    fn neighbour(&mut self, shares: &[f64; Parameter::COUNT], reach: f64) -> Candidate {
        let mut moved = *shares;
        let always = self.generator.random_range(0..self.varied.len().max(1));
        for (place, parameter) in self.varied.iter().enumerate() {
            if place != always && self.generator.random::<f64>() > 0.35 {
                continue;
            }
            let share = &mut moved[parameter.index()];
            // The sum of four uniform numbers is about normal, with variance 1/3.
            let normal =
                3_f64.sqrt() * (0..4).map(|_| self.generator.random::<f64>() - 0.5).sum::<f64>();
            let step = match self.space.axis(*parameter).size() {
                Some(size) if size <= 64 => {
                    let steps = if self.generator.random::<f64>() < 0.75 { 1.0 } else { 2.0 };
                    f64::copysign(steps, normal) / size as f64
                }
                _ => reach * normal,
            };
            *share = (*share + step).clamp(1e-6, 1.0 - 1e-6);
        }
        self.candidate(moved)
    }

    fn candidate(&self, shares: [f64; Parameter::COUNT]) -> Candidate {
        Candidate { shares, config: self.space.readable(self.space.sample(&shares)) }
    }
}

fn highest(
    configs: Vec<TrialConfig>,
    may_be: impl Fn(&TrialConfig) -> bool,
    score: impl Fn(&[TrialConfig]) -> Vec<f64>,
) -> Option<TrialConfig> {
    let mut scored: Vec<(f64, TrialConfig)> = score(&configs).into_iter().zip(configs).collect();
    // Stable: of equals the first.
    scored.sort_by(|a, b| b.0.total_cmp(&a.0));
    scored.into_iter().map(|(_, config)| config).find(may_be)
}
