//! Sweeps that stop trials early: how soon they come close to the best configuration, and how often a
//! rule stops a trial that would have been the best.

use planner::{Decision, Planner, Promotion, Pruner, for_sweep, pruner_for};
use spec::{Event, Outcome, StopReason, Sweep, SweepState, Trial, TrialId};

use super::runner::{self, begun, evaluation, finish, setting, start};
use super::surrogate::{Instance, Optimum, Run};

/// A sweep in slots that take an epoch at a time.
struct Simulation<'a> {
    instance: &'a Instance,
    seed: u64,
    state: SweepState,
    /// Trials in training, with their whole curves.
    running: Vec<(Trial, Run)>,
    /// Trials that were stopped.
    stopped: Vec<(Trial, Run)>,
    /// Epochs trained by all trials.
    epochs: u32,
}

impl<'a> Simulation<'a> {
    fn new(instance: &'a Instance, seed: u64) -> Self {
        Self {
            instance,
            seed,
            state: begun(instance.base_loss),
            running: Vec::new(),
            stopped: Vec::new(),
            epochs: 0,
        }
    }

    /// Fills the free slots: with stopped trials that are to go on, then with new ones.
    fn fill(&mut self, planner: &dyn Planner, pruner: Option<&dyn Pruner>, slots: usize) {
        while self.running.len() < slots
            && let Some(promotion) = pruner.and_then(|pruner| pruner.promote(&self.state))
        {
            self.promote(promotion);
        }
        let trials = planner.suggest(&self.state, slots - self.running.len());
        for trial in trials {
            start(&mut self.state, &trial);
            let run = self.instance.run(setting(&trial.config), self.seed);
            self.running.push((trial, run));
        }
    }

    fn promote(&mut self, Promotion { trial, reason }: Promotion) {
        let is_it = |(stopped, _): &(Trial, Run)| stopped.id == trial;
        let place = self.stopped.iter().position(is_it).expect("it was stopped");
        self.running.push(self.stopped.remove(place));
        self.state.apply(&Event::TrialPromoted { trial, reason, at: None });
        let from_step = self.state.trials[&trial].checkpoint_step.unwrap_or(0);
        let device = "cpu".to_owned();
        let (total_steps, continues) = (from_step, None);
        self.state.apply(&Event::TrialStarted { trial, device, from_step, total_steps, continues });
    }

    /// Stops the trial in a slot.
    fn stop(&mut self, slot: usize, reason: StopReason) {
        let (trial, run) = self.running.remove(slot);
        let id = trial.id;
        let step = self.state.trials[&id].last().map_or(0, |last| last.step);
        self.stopped.push((trial, run));
        self.state.apply(&Event::CheckpointKept { trial: id, step });
        let outcome = Outcome::Stopped { reason };
        self.state.apply(&Event::TrialFinished { trial: id, outcome });
    }

    /// Trains the trial in a slot for an epoch; true when it has ended.
    fn advance(&mut self, slot: usize) -> bool {
        let (trial, run) = &self.running[slot];
        let epoch = self.state.trials[&trial.id].evaluations.len();
        let seconds = run.seconds * (epoch + 1) as f64 / run.eval.len() as f64;
        let evaluation = evaluation(epoch as u32 + 1, run.eval[epoch], run.train[epoch], seconds);
        self.state.apply(&Event::Evaluated { trial: trial.id, evaluation });
        self.epochs += 1;
        epoch + 1 == run.eval.len()
    }
}

/// Epochs until the sweep's choice is within 1% of the best of the coarse grid; `None` if it is not
/// when `budget` epochs are trained.
pub fn epochs_to_close(
    sweep: &Sweep,
    instance: &Instance,
    optimum: Optimum,
    (seed, slots, budget): (u64, usize, u32),
) -> Option<u32> {
    let (planner, pruner) = (for_sweep(sweep), pruner_for(sweep));
    let mut world = Simulation::new(instance, seed);
    while world.epochs < budget {
        world.fill(&*planner, pruner.as_deref(), slots);
        if world.running.is_empty() {
            return None;
        }
        for slot in (0..world.running.len()).rev() {
            let id = world.running[slot].0.id;
            let is_over = world.advance(slot);
            if runner::score(sweep, &world.state, instance, optimum).is_close {
                return Some(world.epochs);
            }
            if is_over {
                finish(&mut world.state, id);
                world.running.remove(slot);
            } else if let Some(Decision::Stop { reason }) =
                pruner.as_ref().map(|pruner| pruner.judge(&world.state, id))
            {
                world.stop(slot, reason);
            }
        }
    }
    None
}

/// What a rule did to the trials of a sweep.
#[derive(Debug, Default, Clone, Copy)]
pub struct Toll {
    pub trials: usize,
    /// Trials that were stopped and did not go on.
    pub stopped: usize,
    /// The sweep's best trial, had all been trained to their ends, was stopped before it was as good
    /// as the best that was left.
    pub lost_best: bool,
    /// How much worse the best that is left is than that one.
    pub regret: f64,
    pub epochs: u32,
    pub all_epochs: u32,
}

/// Runs a sweep whose choice of trials does not depend on what is stopped.
pub fn toll(sweep: &Sweep, instance: &Instance, seed: u64, slots: usize) -> Toll {
    let (planner, pruner) = (for_sweep(sweep), pruner_for(sweep));
    let mut world = Simulation::new(instance, seed);
    let mut ended: Vec<(Trial, Run)> = Vec::new();
    loop {
        world.fill(&*planner, pruner.as_deref(), slots);
        if world.running.is_empty() {
            break;
        }
        for slot in (0..world.running.len()).rev() {
            let id = world.running[slot].0.id;
            let is_over = world.advance(slot);
            let stop = pruner.as_ref().map(|pruner| pruner.judge(&world.state, id));
            match stop {
                _ if is_over => {
                    finish(&mut world.state, id);
                    ended.push(world.running.remove(slot));
                }
                Some(Decision::Stop { reason }) => world.stop(slot, reason),
                _ => {}
            }
        }
    }
    let stopped = world.stopped.len();
    ended.append(&mut world.stopped);
    let lowest = |run: &Run| run.eval.iter().copied().fold(f64::INFINITY, f64::min);
    let would: Vec<(f64, TrialId)> =
        ended.iter().map(|(trial, run)| (lowest(run), trial.id)).collect();
    let reached =
        |id: TrialId| world.state.trials[&id].best().map_or(f64::INFINITY, |b| b.eval_loss);
    let left = would.iter().map(|(_, id)| reached(*id)).fold(f64::INFINITY, f64::min);
    let best = would.iter().map(|(loss, _)| *loss).fold(f64::INFINITY, f64::min);
    Toll {
        trials: would.len(),
        stopped,
        all_epochs: ended.iter().map(|(_, run)| run.eval.len() as u32).sum(),
        epochs: world.epochs,
        lost_best: left > best,
        regret: left / best - 1.0,
    }
}
