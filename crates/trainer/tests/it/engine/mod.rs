//! The engine through its public interface: packing, resuming, divergence, evaluation.

#![allow(clippy::disallowed_methods, reason = "a test changes its own files")]

use crate::support;
use std::collections::BTreeMap;
use std::path::Path;

use data::{Dataset, Example};
use spec::{
    BaseForm, BaseSettings, DeviceChoice, Evaluation, Event, ExecutorSettings, LoraVariant,
    LrScheduler, Outcome, Quantization, TargetModule, TrainPoint, TrainSettings, Trainer, Trial,
    TrialConfig, TrialId,
};
use trainer::TrainerError;
use trainer::engine::{self, TrainingSets};
use trainer::plan::Packing;

mod evaluating;
mod limits;
mod loading;
mod packing;
mod resuming;

pub use limits::run_limited;

const INT8: Option<BaseForm> = Some(BaseForm::Quantized(Quantization::Int8));

fn example(seed: u32, len: u32) -> Example {
    let input_ids = (0..len).map(|i| (seed * 7 + i * i * 3 + i) % 61).collect();
    let loss_mask = (0..len).map(|i| i > len / 3).collect();
    Example { input_ids, loss_mask }
}

pub fn sets() -> TrainingSets {
    let of = |from: u32, n: u32| Dataset {
        examples: (from..from + n).map(|i| example(i, 4 + (i * 5) % 9)).collect(),
    };
    TrainingSets {
        train: of(0, 11),
        validation: of(100, 5),
        retention: Some(of(200, 3)),
        test: Some(of(300, 4)),
    }
}

pub fn engine(slots: u32, train: &TrainSettings) -> Box<dyn Trainer> {
    let recompute = train.gradient_checkpointing == Some(true);
    let packing = Packing { slots: slots as usize, recompute, ..Packing::default() };
    load(&support::golden_dir("llama").join("model"), sets(), train, packing)
        .expect("the engine loads")
}

fn load(
    model: &Path,
    data: TrainingSets,
    train: &TrainSettings,
    packing: Packing,
) -> Result<Box<dyn Trainer>, TrainerError> {
    let executor = ExecutorSettings { device: DeviceChoice::Cpu, ..ExecutorSettings::default() };
    let base = BaseSettings::default();
    engine::load(model, &base, data, train, &executor, packing, None).map(|loaded| loaded.trainer)
}

pub fn trial(id: u32) -> Trial {
    Trial {
        id: TrialId(id),
        config: TrialConfig {
            rank: 3,
            lora_alpha: 8.0,
            lora_dropout: 0.0,
            use_rslora: false,
            target_modules: TargetModule::ALL.to_vec(),
            learning_rate: 1e-2,
            batch_size: 4,
            epochs: 2,
            lr_scheduler: LrScheduler::Linear,
            warmup_ratio: 0.1,
            weight_decay: 0.01,
            seed: 1,
            variant: LoraVariant::default(),
            quantization: None,
        },
    }
}

/// What a trial went through.
#[derive(Debug, Clone, Default)]
pub struct History {
    pub points: Vec<TrainPoint>,
    pub evaluations: Vec<Evaluation>,
    pub outcome: Option<Outcome>,
}

pub fn record(histories: &mut BTreeMap<TrialId, History>, events: Vec<Event>) {
    for event in events {
        match event {
            Event::Trained { trial, point } => {
                histories.entry(trial).or_default().points.push(point);
            }
            Event::Evaluated { trial, evaluation } => {
                histories.entry(trial).or_default().evaluations.push(evaluation);
            }
            Event::TrialFinished { trial, outcome } => {
                histories.entry(trial).or_default().outcome = Some(outcome);
            }
            other => panic!("the engine does not emit {other:?}"),
        }
    }
}

/// Trains all trials, admitting as many at a time as there are slots, refilling at once.
fn run(slots: u32, trials: &[Trial], train: &TrainSettings) -> BTreeMap<TrialId, History> {
    let mut engine = engine(slots, train);
    let mut waiting = trials.iter();
    let mut running = Vec::new();
    let mut histories = BTreeMap::new();
    loop {
        while running.len() < engine.capacity()
            && let Some(trial) = waiting.next()
        {
            engine.admit(trial, None).expect("admitted");
            running.push(trial.id);
        }
        if running.is_empty() {
            return histories;
        }
        record(&mut histories, engine.step().expect("a step"));
        running.retain(|id| {
            let ended = histories.get(id).is_some_and(|h| h.outcome.is_some());
            if ended {
                engine.release(*id);
            }
            !ended
        });
    }
}

pub fn assert_same(a: &History, b: &History, tolerance: f64, what: &str) {
    let close = |x: f64, y: f64| (x - y).abs() <= tolerance * y.abs().max(1e-3);
    assert_eq!(a.points.len(), b.points.len(), "{what}: steps");
    for (x, y) in a.points.iter().zip(&b.points) {
        assert_eq!((x.step, x.tokens, x.learning_rate), (y.step, y.tokens, y.learning_rate));
        assert!(close(x.loss, y.loss), "{what}: step {}: {} and {}", x.step, x.loss, y.loss);
    }
    assert_eq!(a.evaluations.len(), b.evaluations.len(), "{what}: evaluations");
    for (x, y) in a.evaluations.iter().zip(&b.evaluations) {
        assert!(close(x.eval_loss, y.eval_loss), "{what}: {} and {}", x.eval_loss, y.eval_loss);
        let train_losses = x.train_loss.zip(y.train_loss);
        assert!(train_losses.is_some_and(|(x, y)| close(x, y)), "{what}: train loss");
    }
    assert_eq!(a.outcome, b.outcome, "{what}");
}
