//! Events and identities for the tests of this crate.

use std::collections::BTreeMap;

use serde_json::json;
use spec::{
    Evaluation, Event, LrScheduler, Outcome, TargetModule, TrainPoint, Trial, TrialConfig, TrialId,
};
use store::Identity;

/// The sweep `s` with a seed that makes it this sweep and no other.
pub fn identity(seed: u32) -> Identity {
    Identity::new("s", format!("print-{seed}"), BTreeMap::new(), json!({ "seed": seed }))
}

pub fn proposed(id: u32) -> Event {
    let config = TrialConfig {
        rank: 8,
        lora_alpha: 16.0,
        lora_dropout: 0.0,
        use_rslora: false,
        target_modules: TargetModule::ALL.to_vec(),
        learning_rate: 3.1e-4,
        batch_size: 4,
        epochs: 1,
        lr_scheduler: LrScheduler::Linear,
        warmup_ratio: 0.0,
        weight_decay: 0.0,
        seed: 1,
        variant: spec::LoraVariant::default(),
        quantization: None,
    };
    Event::proposed(Trial { id: TrialId(id), config })
}

pub fn trained(id: u32, step: u32) -> Event {
    let point = TrainPoint {
        step,
        epoch: f64::from(step) / 7.0,
        loss: 1.0 / f64::from(step),
        grad_norm: Some(0.1),
        learning_rate: 1e-3,
        tokens: u64::from(step) * 100,
        seconds: f64::from(step) * 0.3,
    };
    Event::Trained { trial: TrialId(id), point }
}

pub fn evaluated(id: u32, step: u32, eval_loss: f64) -> Event {
    let evaluation = Evaluation {
        step,
        epoch: f64::from(step) / 7.0,
        eval_loss,
        eval_loss_stderr: 0.01,
        rise_stderr: None,
        group_nll: Vec::new(),
        train_loss: None,
        retention_loss: None,
        scores: Vec::new(),
        tokens: u64::from(step) * 100,
        seconds: f64::from(step) * 0.3,
    };
    Event::Evaluated { trial: TrialId(id), evaluation }
}

pub fn finished(id: u32) -> Event {
    Event::TrialFinished { trial: TrialId(id), outcome: Outcome::Completed }
}
