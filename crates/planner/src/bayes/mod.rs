//! Bayesian optimisation: a Gaussian process over everything that was measured, and the trial with
//! the highest expected improvement.
//!
//! Each trial of a batch is chosen as if alone, with the outcomes of those before it (and of what
//! still runs) drawn from the model; a batch is thus the same as so many single proposals.

mod acquisition;
mod candidates;
mod cost;
mod earlier;
mod explain;
mod features;
mod fit;
mod forecast;
mod kernel;
mod observations;
mod posterior;

use std::collections::HashSet;

use spec::{
    BayesSettings, ConfigKey, Parameter, SearchSpace, Sweep, SweepState, Trial, TrialConfig,
    TrialId,
};

use crate::draws::Draws;
use crate::sobol;
use crate::suggest::{Ending, next_trials};
use crate::{Fits, Knowledge, Planner};
use acquisition::{log_expected_improvement, log_mean_exp};
use candidates::Search;
use cost::Cost;
pub use earlier::Earlier;
pub use explain::{Expectation, expectation, expectations};
use features::{Features, Point, USUAL_RATE};
pub(crate) use forecast::{Asked, Forecast, Forecaster};
use kernel::Kernel;
use observations::Observations;
use posterior::Posterior;

/// Trials before the model is asked, when nothing is known beforehand.
const SPREAD_TRIALS: u64 = 4;
/// Length scales are shortened by this for proposals. The most probable ones are longer than most
/// that are likely, and a model too sure of what lies between its points never looks there.
const BOLDNESS: f64 = 0.7;
/// What is expected before the data counts as much as the improvement's logarithm when so many
/// trials were observed, and ever less afterwards (Hvarfner et al. 2022, arXiv:2204.11051).
const PRIOR_TRIALS: f64 = 2.0;
/// At most this share of a sweep's trials is in training at a time: trials that are proposed
/// together learn nothing from each other (results/bench/planner.txt has regret by batch size).
const PENDING_SHARE: usize = 4;
/// Configurations drawn in search of some that fit.
const MOST_DRAWS: usize = 10_000;
/// Good trials whose neighbours are candidates.
const GOOD_TRIALS: usize = 5;
/// The same of each earlier sweep.
const GOOD_EARLIER_TRIALS: usize = 2;

/// Proposes by expected improvement.
pub(crate) struct Bayes {
    space: SearchSpace,
    seed: u64,
    ending: Ending,
    settings: BayesSettings,
    features: Features,
    first: Vec<TrialConfig>,
    earlier: Vec<Earlier>,
    fits: Option<Fits>,
}

impl Bayes {
    pub fn new(sweep: &Sweep) -> Self {
        Self::knowing(sweep, Knowledge::default())
    }

    /// Begins from what earlier sweeps measured, and leaves out what does not fit.
    pub fn knowing(sweep: &Sweep, Knowledge { earlier, fits }: Knowledge) -> Self {
        let space = sweep.space.clone();
        let objective = sweep.metric.objective();
        let earlier: Vec<Earlier> =
            earlier.into_iter().map(|e| e.in_costs_of(&objective).within(&space)).collect();
        let is_known = |e: &Earlier| e.is_same_problem && !e.history.trials.is_empty();
        let is_new = !earlier.iter().any(is_known);
        let mut first = first_trials(&space, sweep.seed, sweep.bayes.lora_prior);
        first.retain(|config| fits.as_ref().is_none_or(|fits| fits(config)));
        Self {
            seed: sweep.seed,
            ending: Ending::new(sweep),
            settings: sweep.bayes.clone(),
            features: Features::new(&space, sweep.bayes.lora_prior),
            first: if is_new { first } else { Vec::new() },
            earlier,
            space,
            fits,
        }
    }
}

impl Bayes {
    /// Whether a configuration can be trained, as far as is known.
    fn fits(&self, config: &TrialConfig) -> bool {
        self.fits.as_ref().is_none_or(|fits| fits(config))
    }

    /// How many trials may be proposed beside those that have not ended: at least one at a time.
    fn room_beside_pending(&self, history: &SweepState) -> usize {
        let Some(total) = self.total() else { return usize::MAX };
        let pending = history.trials.values().filter(|trial| trial.outcome().is_none()).count();
        total.div_ceil(PENDING_SHARE).saturating_sub(pending)
    }

    /// Trials before anything was measured: after the usual one, evenly spread over what is
    /// likely.
    fn spread(&self, history: &SweepState, count: usize) -> Vec<Trial> {
        let draw = |number: u64| {
            let Some(index) = number.checked_sub(self.first.len() as u64) else {
                return self.first[number as usize].clone();
            };
            let shares = sobol::shares(self.seed, index);
            let config = self.space.sample(&shares);
            let likely = self.features.likely_rate(config.clone(), shares[RATE]);
            let nearest = self.space.nearest(&likely);
            // At the edge of the space likely rates would pile up.
            let is_inside = (nearest.learning_rate / likely.learning_rate).ln().abs() < 0.1;
            if is_inside { nearest } else { self.space.readable(config) }
        };
        // In an endless space there may be none that fits.
        let drawn = Draws::new(&self.space, 0, draw).take(MOST_DRAWS);
        next_trials(drawn.filter(|config| self.fits(config)), self.ending, history, count)
    }
}

/// Place of the learning rate among the shares.
const RATE: usize = Parameter::LearningRate.index();

/// The trials that need no model: the usual configuration, and without LoRA knowledge a few more,
/// evenly spread.
fn first_trials(space: &SearchSpace, seed: u64, lora_prior: bool) -> Vec<TrialConfig> {
    let usual = usual(space, lora_prior);
    if lora_prior {
        // At the rate that its batch size and alpha call for.
        return vec![space.nearest(&features::likely_rate(usual, 0.5))];
    }
    let spread = (0..SPREAD_TRIALS).map(|i| space.readable(sobol::config(space, seed, i)));
    std::iter::once(usual).chain(spread).collect()
}

/// The configuration nearest to what people use; without LoRA knowledge the middle of the space.
pub(crate) fn usual(space: &SearchSpace, lora_prior: bool) -> TrialConfig {
    let middle = space.sample(&[0.5; Parameter::COUNT]);
    if !lora_prior {
        return space.readable(middle);
    }
    let wanted = TrialConfig {
        rank: 16,
        lora_alpha: 32.0,
        lora_dropout: 0.0,
        learning_rate: USUAL_RATE,
        batch_size: 16,
        epochs: 3,
        warmup_ratio: 0.03,
        weight_decay: 0.0,
        target_modules: spec::TargetModule::ALL.to_vec(),
        use_rslora: false,
        lr_scheduler: spec::LrScheduler::Linear,
        ..middle
    };
    space.nearest(&wanted)
}

impl Planner for Bayes {
    fn suggest(&self, history: &SweepState, count: usize) -> Vec<Trial> {
        let count = count.min(self.ending.room(history)).min(self.room_beside_pending(history));
        let mut known: HashSet<ConfigKey> =
            history.trials.values().map(|t| t.trial.config.key()).collect();
        let last = history.trials.keys().next_back().copied().unwrap_or(TrialId::BASE);
        let mut proposed: Vec<Trial> = Vec::new();
        for config in &self.first {
            if proposed.len() < count && known.insert(config.key()) {
                let id = TrialId(last.0 + 1 + proposed.len() as u32);
                proposed.push(Trial { id, config: config.clone() });
            }
        }
        if proposed.len() == count {
            return proposed;
        }
        let model = Model::new(self, history, BOLDNESS);
        if model.observed.points.is_empty() {
            return self.spread(history, count);
        }
        let mut posterior = model.with_pending(history);
        for trial in &proposed {
            model.expect(&mut posterior, trial);
        }
        while proposed.len() < count {
            let id = TrialId(last.0 + 1 + proposed.len() as u32);
            let Some(config) = model.propose(&posterior, history, &known, id) else { break };
            known.insert(config.key());
            let trial = Trial { id, config };
            model.expect(&mut posterior, &trial);
            proposed.push(trial);
        }
        proposed
    }

    fn is_adaptive(&self) -> bool {
        true
    }

    fn total(&self) -> Option<usize> {
        self.ending.total(&self.space)
    }
}

/// The model of one history.
struct Model<'a> {
    bayes: &'a Bayes,
    observed: Observations,
    kernel: Kernel,
}

impl<'a> Model<'a> {
    /// `stretch` multiplies the length scales that were fitted.
    fn new(bayes: &'a Bayes, history: &SweepState, stretch: f64) -> Self {
        let features = &bayes.features;
        let observed = Observations::new(history, &bayes.earlier, features);
        let coordinates = features.coordinates();
        let mut hyper = fit::fit(&observed.points, &observed.losses, coordinates);
        hyper.lengths.iter_mut().for_each(|length| *length *= stretch);
        let kernel = Kernel::new(hyper, coordinates);
        Self { bayes, observed, kernel }
    }

    /// Given what was measured, with an outcome drawn for every trial that has not ended.
    fn with_pending(&self, history: &SweepState) -> Posterior<'_> {
        let Observations { points, losses, .. } = &self.observed;
        let mut posterior = Posterior::with_paths(&self.kernel, points, losses);
        for trial in history.trials.values().filter(|trial| trial.outcome().is_none()) {
            self.expect(&mut posterior, &trial.trial);
        }
        posterior
    }

    fn expect(&self, posterior: &mut Posterior, trial: &Trial) {
        posterior.fantasise(self.end_of(&trial.config, trial.id), self.bayes.seed);
    }

    fn end_of(&self, config: &TrialConfig, id: TrialId) -> Point {
        self.bayes.features.point(config, f64::from(config.epochs), id.0)
    }

    /// How many trials of this sweep those of earlier ones are worth.
    fn earlier_trials(&self) -> f64 {
        let worth = |earlier: &Earlier| {
            let alike = if earlier.is_same_problem { 1.0 } else { self.kernel.hyper.related };
            alike * alike * earlier.history.trials.len() as f64
        };
        self.bayes.earlier.iter().map(worth).sum()
    }

    /// Where this sweep has measured or will: what earlier ones found is to be had here, too.
    fn places(&self, posterior: &Posterior) -> Vec<Point> {
        let (own, earlier) = (self.observed.origins.len(), self.observed.points.len());
        let points = posterior.points();
        points[..own].iter().chain(&points[earlier..]).cloned().collect()
    }

    /// The most promising configuration that is not known.
    fn propose(
        &self,
        posterior: &Posterior,
        history: &SweepState,
        known: &HashSet<ConfigKey>,
        id: TrialId,
    ) -> Option<TrialConfig> {
        let measured = self.places(posterior);
        let at_points = posterior.predict(&measured);
        // On every path the lowest expected loss of what is (or will be) there.
        let best: Vec<f64> = (0..at_points.mean.ncols())
            .map(|s| {
                let means = (0..at_points.mean.nrows()).map(|i| at_points.mean[(i, s)]);
                means.fold(f64::INFINITY, f64::min)
            })
            .collect();
        let observed: HashSet<TrialId> = self.observed.origins.iter().map(|o| o.trial).collect();
        let trust = PRIOR_TRIALS / (observed.len() as f64 + self.earlier_trials()).max(1.0);
        let cost = self.bayes.settings.cost_aware.then(|| Cost::new(history));
        let score = |configs: &[TrialConfig]| {
            let ends: Vec<Point> = configs.iter().map(|config| self.end_of(config, id)).collect();
            let predicted = posterior.predict(&ends);
            (0..ends.len())
                .map(|i| {
                    let variance = predicted.variance[i];
                    let improvement = |s: usize| {
                        let best = if best[s].is_finite() { best[s] } else { 0.0 };
                        log_expected_improvement(predicted.mean[(i, s)], variance, best)
                    };
                    let improvement = log_mean_exp((0..best.len()).map(improvement));
                    let price = cost.map_or(0.0, |cost| cost.log_seconds(&configs[i]));
                    improvement + trust * self.bayes.features.log_prior(&configs[i]) - price
                })
                .collect()
        };
        let mut order: Vec<usize> = (0..self.observed.origins.len()).collect();
        order.sort_by(|&a, &b| at_points.average(a).total_cmp(&at_points.average(b)));
        let mut good: Vec<&TrialConfig> = Vec::new();
        for index in order {
            let config = &history.trials[&self.observed.origins[index].trial].trial.config;
            if good.len() < GOOD_TRIALS && !good.contains(&config) {
                good.push(config);
            }
        }
        good.extend(
            self.bayes.earlier.iter().flat_map(|earlier| earlier.best(GOOD_EARLIER_TRIALS)),
        );
        let may_be = |config: &TrialConfig| self.bayes.fits(config);
        Search::new(&self.bayes.space, known, self.bayes.seed, id.0).best(&good, may_be, score)
    }
}

/// The evaluation with the lowest expected loss among those measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Incumbent {
    /// Its trial.
    pub trial: TrialId,
    /// Epochs trained.
    pub epoch: f64,
    /// The loss that the model expects there, in nats.
    pub expected_loss: f64,
}

/// Which measured evaluation is expected to be the best: the minimum of the model's mean, which,
/// unlike the lowest loss, was not chosen for its luck.
pub fn incumbent(sweep: &Sweep, history: &SweepState) -> Option<Incumbent> {
    let bayes = Bayes::new(sweep);
    let history = &*history.within_space();
    let model = Model::new(&bayes, history, 1.0);
    let Observations { points, losses, origins, scale } = &model.observed;
    let posterior = Posterior::new(&model.kernel, points, losses, 1);
    let predicted = posterior.predict(points);
    // A run that got lost later on is not one to be had again.
    let cap = history.highest_base_loss().unwrap_or(f64::INFINITY);
    let is_sound = |id: TrialId| history.trials[&id].last().is_some_and(|l| l.eval_loss < cap);
    (0..origins.len())
        .filter(|&i| is_sound(origins[i].trial))
        .filter_map(|i| Some((origins[i].trial, origins[i].epoch?, predicted.average(i))))
        .min_by(|a, b| a.2.total_cmp(&b.2))
        .map(|(trial, epoch, mean)| Incumbent { trial, epoch, expected_loss: scale.to_loss(mean) })
}
