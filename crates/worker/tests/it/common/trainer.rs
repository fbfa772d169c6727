//! A trainer without a model: its curves are formulas, its checkpoints small JSON files.

use std::cell::Cell;
use std::fs;
use std::panic::resume_unwind;
use std::path::Path;
use std::rc::Rc;

use serde_json::json;
use spec::{
    Admission, BaseForm, Evaluation, Event, LrScheduler, Outcome, Steps, TrainPoint, Trainer,
    TrainerError, Trial, TrialConfig, TrialId,
};

/// Optimizer steps of an epoch.
pub const STEPS_PER_EPOCH: u32 = 6;
/// Steps of the final decay of `warmup_stable_decay`.
pub const DECAY_STEPS: u32 = 3;
/// Evaluations come every so many steps.
pub const EVAL_EVERY: u32 = 2;
/// Ranks that make the fake misbehave.
pub const REFUSED_RANK: u32 = 99;
pub const FAILING_RANK: u32 = 13;
/// It ends the whole worker at its third step.
pub const DEADLY_RANK: u32 = 66;

/// What a killed process unwinds with.
pub struct Killed;

/// Kills the process (unwinds the test) after so many moments.
#[derive(Clone)]
pub struct Fuse(Rc<Cell<u32>>);

impl Fuse {
    pub fn never() -> Self {
        Self::after(u32::MAX)
    }

    pub fn after(moments: u32) -> Self {
        Self(Rc::new(Cell::new(moments)))
    }

    pub fn burn(&self) {
        match self.0.get() {
            0 => resume_unwind(Box::new(Killed)),
            left => self.0.set(left - 1),
        }
    }

    /// Moments that have passed since the fuse was made with `never`.
    pub fn burnt(&self) -> u32 {
        u32::MAX - self.0.get()
    }
}

struct Slot {
    trial: Trial,
    step: u32,
    /// The fake's whole training state, so that a wrong resume shows in every later number.
    weight: f64,
    best: Option<(u32, f64)>,
    ended: bool,
    held: bool,
}

pub struct FakeTrainer {
    capacity: usize,
    slots: Vec<Slot>,
    fuse: Fuse,
    steps: u32,
    pub occupancy: Vec<usize>,
    pub fail_shared_step: Option<u32>,
    pub lose_device_at_step: Option<u32>,
}

impl FakeTrainer {
    pub fn new(capacity: usize, fuse: Fuse) -> Self {
        let (slots, occupancy) = (Vec::new(), Vec::new());
        Self {
            capacity,
            slots,
            fuse,
            steps: 0,
            occupancy,
            fail_shared_step: None,
            lose_device_at_step: None,
        }
    }

    /// Whether its process has died of a trial.
    pub fn is_dead(&self) -> bool {
        self.slots.iter().any(|slot| slot.trial.config.rank == DEADLY_RANK && slot.step >= 3)
    }

    fn slot(&self, trial: TrialId) -> &Slot {
        self.slots.iter().find(|slot| slot.trial.id == trial).expect("the trial has a slot")
    }
}

fn total_steps(trial: &Trial) -> u32 {
    trial.config.epochs * STEPS_PER_EPOCH
}

/// How many steps a trial takes.
pub fn steps(trial: &TrialConfig) -> Steps {
    let total = trial.epochs * STEPS_PER_EPOCH;
    let shared = match trial.lr_scheduler {
        LrScheduler::Constant => Some(total),
        LrScheduler::WarmupStableDecay => Some(total - DECAY_STEPS),
        LrScheduler::Linear | LrScheduler::Cosine => None,
    };
    Steps { total, shared, micro_batches: trial.batch_size.div_ceil(4) }
}

fn evaluation(step: u32, eval_loss: f64) -> Evaluation {
    Evaluation {
        step,
        epoch: f64::from(step) / f64::from(STEPS_PER_EPOCH),
        eval_loss,
        eval_loss_stderr: 0.01,
        rise_stderr: None,
        group_nll: Vec::new(),
        train_loss: Some(eval_loss - 0.1),
        retention_loss: None,
        scores: Vec::new(),
        tokens: u64::from(step) * 64,
        seconds: f64::from(step),
    }
}

impl Slot {
    fn step(&mut self) -> Vec<Event> {
        let id = self.trial.id;
        let c = &self.trial.config;
        let decays = c.lr_scheduler == LrScheduler::WarmupStableDecay
            && self.step + DECAY_STEPS >= total_steps(&self.trial);
        let learning_rate = if decays { 0.5 * c.learning_rate } else { c.learning_rate };
        self.step += 1;
        self.weight -= learning_rate * (self.weight - 1.0) / f64::from(self.step).sqrt();
        let loss = (self.weight - 1.0).abs();
        if self.trial.config.rank == FAILING_RANK && self.step == 3 {
            self.ended = true;
            let outcome = Outcome::Failed { error: "out of memory".into() };
            return vec![Event::TrialFinished { trial: id, outcome }];
        }
        if loss > 100.0 {
            self.ended = true;
            let outcome = Outcome::Diverged { step: self.step, reason: format!("loss {loss}") };
            return vec![Event::TrialFinished { trial: id, outcome }];
        }
        let point = TrainPoint {
            step: self.step,
            epoch: f64::from(self.step) / f64::from(STEPS_PER_EPOCH),
            loss,
            grad_norm: Some(loss),
            learning_rate,
            tokens: u64::from(self.step) * 64,
            seconds: f64::from(self.step),
        };
        let mut events = vec![Event::Trained { trial: id, point }];
        if self.step.is_multiple_of(EVAL_EVERY) {
            let evaluation = evaluation(self.step, loss + 0.5);
            if self.best.is_none_or(|(_, best)| evaluation.eval_loss < best) {
                self.best = Some((self.step, evaluation.eval_loss));
            }
            events.push(Event::Evaluated { trial: id, evaluation });
        }
        if self.step == total_steps(&self.trial) {
            self.ended = true;
            events.push(Event::TrialFinished { trial: id, outcome: Outcome::Completed });
        }
        events
    }
}

impl Trainer for FakeTrainer {
    fn device(&self) -> String {
        "fake".into()
    }

    fn check_device(&self) -> Result<(), TrainerError> {
        match self.lose_device_at_step {
            Some(step) if self.steps >= step => Err("the GPU fell off the bus".into()),
            _ => Ok(()),
        }
    }

    fn capacity(&self) -> usize {
        self.capacity
    }

    fn evaluate_base(&mut self, _: Option<BaseForm>) -> Result<Evaluation, TrainerError> {
        self.fuse.burn();
        Ok(evaluation(0, 4.0))
    }

    fn admit(&mut self, trial: &Trial, from: Option<&Path>) -> Result<Admission, TrainerError> {
        self.fuse.burn();
        assert!(self.slots.len() < self.capacity, "admitted without a free slot");
        assert!(self.slots.iter().all(|s| s.trial.id != trial.id), "admitted twice");
        if trial.config.rank == REFUSED_RANK {
            return Err("rank 99 does not fit".into());
        }
        let (trial, mut slot) = (trial.clone(), (0, 3.0, None));
        if let Some(path) = from {
            slot = serde_json::from_str(&fs::read_to_string(path)?)?;
        }
        let (step, weight, best) = slot;
        let admitted = Admission::Admitted { from_step: step, total_steps: total_steps(&trial) };
        self.slots.push(Slot { trial, step, weight, best, ended: false, held: false });
        Ok(admitted)
    }

    fn step(&mut self) -> Result<Vec<Event>, TrainerError> {
        self.fuse.burn();
        self.steps += 1;
        self.occupancy.push(self.slots.len());
        if self.fail_shared_step == Some(self.steps) {
            return Err("the device ran out of memory".into());
        }
        self.check_device()?;
        let active = self.slots.iter_mut().filter(|slot| !slot.ended && !slot.held);
        Ok(active.flat_map(Slot::step).collect())
    }

    fn hold(&mut self, trial: TrialId, held: bool) -> bool {
        for slot in self.slots.iter_mut().filter(|slot| slot.trial.id == trial) {
            slot.held = held;
        }
        true
    }

    fn save_checkpoint(&self, trial: TrialId, path: &Path) -> Result<u32, TrainerError> {
        self.check_device()?;
        let slot = self.slot(trial);
        fs::write(path, "half a che")?;
        self.fuse.burn();
        fs::write(path, json!([slot.step, slot.weight, slot.best]).to_string())?;
        self.fuse.burn();
        Ok(slot.step)
    }

    fn save_best(&self, trial: TrialId, dir: &Path) -> Result<bool, TrainerError> {
        self.fuse.burn();
        let Some((step, eval_loss)) = self.slot(trial).best else { return Ok(false) };
        fs::write(dir.join("adapter_model.safetensors"), "weights")?;
        fs::write(dir.join("adapter_config.json"), json!([step, eval_loss]).to_string())?;
        self.fuse.burn();
        Ok(true)
    }

    fn save_last(&self, trial: TrialId, dir: &Path) -> Result<bool, TrainerError> {
        let slot = self.slot(trial);
        fs::write(dir.join("adapter_model.safetensors"), "weights")?;
        fs::write(dir.join("adapter_config.json"), "half an ada")?;
        self.fuse.burn();
        fs::write(dir.join("adapter_config.json"), json!([slot.step, slot.weight]).to_string())?;
        self.fuse.burn();
        Ok(true)
    }

    fn release(&mut self, trial: TrialId) {
        self.fuse.burn();
        self.slots.retain(|slot| slot.trial.id != trial);
    }
}
