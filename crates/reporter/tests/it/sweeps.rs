//! Synthetic sweeps: learning curves from a closed formula that shows what real ones show, with
//! a little noise that is the same on every machine.

use spec::{
    Evaluation, Event, LrScheduler, Outcome, SweepState, TargetModule, TrainPoint, Trial,
    TrialConfig, TrialId,
};

const STEPS_PER_EPOCH: u32 = 60;
const BASE_LOSS: f64 = 2.9;

pub fn config(rank: u32, learning_rate: f64, epochs: u32) -> TrialConfig {
    TrialConfig {
        rank,
        lora_alpha: 2.0 * f64::from(rank),
        lora_dropout: 0.0,
        use_rslora: false,
        target_modules: TargetModule::ALL.to_vec(),
        learning_rate,
        batch_size: 8,
        epochs,
        lr_scheduler: LrScheduler::Constant,
        warmup_ratio: 0.03,
        weight_decay: 0.0,
        seed: 42,
        variant: spec::LoraVariant::default(),
        quantization: None,
    }
}

pub fn base() -> Evaluation {
    Evaluation {
        step: 0,
        epoch: 0.0,
        eval_loss: BASE_LOSS,
        eval_loss_stderr: 0.03,
        rise_stderr: None,
        group_nll: Vec::new(),
        train_loss: Some(BASE_LOSS + 0.02),
        retention_loss: Some(1.4),
        scores: Vec::new(),
        tokens: 0,
        seconds: 0.0,
    }
}

/// A number in `[-1, 1)` that depends on both arguments only.
fn noise(trial: u32, step: u32) -> f64 {
    let mut x = u64::from(trial) << 32 | u64::from(step);
    x = (x ^ (x >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    ((x >> 11) as f64 / (1_u64 << 52) as f64) - 1.0
}

/// Losses after `epoch` epochs: an exponential approach to a floor that the rank sets, and
/// memorisation that lowers train loss and raises validation loss.
fn losses(trial: u32, config: &TrialConfig, step: u32) -> Evaluation {
    let epoch = f64::from(step) / f64::from(STEPS_PER_EPOCH);
    let speed = (config.learning_rate / 3e-4).powf(0.9);
    let rank = f64::from(config.rank);
    let floor = 0.95 + 0.75 / rank.sqrt();
    let left = (-epoch * speed * 1.1).exp();
    let memory = 1.0 - (-0.05 * rank.powf(0.4) * speed * epoch).exp();
    let jitter = 0.006 * noise(trial, step) * (1.0 + speed);
    Evaluation {
        step,
        epoch,
        eval_loss: floor + (BASE_LOSS - floor) * left + 0.9 * memory * memory + jitter,
        eval_loss_stderr: 0.03,
        rise_stderr: (epoch > 0.75).then_some(0.008),
        group_nll: Vec::new(),
        train_loss: Some(
            (floor - 0.05) * (1.0 - 0.85 * memory)
                + (BASE_LOSS - floor + 0.07) * left
                + 0.5 * jitter,
        ),
        retention_loss: Some(1.4 + 0.12 * (1.0 + speed * epoch).ln()),
        scores: Vec::new(),
        tokens: u64::from(step) * 8 * 96,
        seconds: 0.21 * f64::from(step),
    }
}

fn train_point(trial: u32, config: &TrialConfig, step: u32) -> TrainPoint {
    let at = losses(trial, config, step);
    TrainPoint {
        step,
        epoch: at.epoch,
        loss: at.train_loss.unwrap_or_default() + 0.1 * noise(trial + 1000, step),
        grad_norm: Some(0.8),
        learning_rate: config.learning_rate,
        tokens: at.tokens,
        seconds: at.seconds,
    }
}

/// The events of one run, evaluated twice an epoch. Above 5e-3 it diverges.
pub fn run(number: u32, config: &TrialConfig) -> Vec<Event> {
    let trial = TrialId(number);
    let total_steps = config.epochs * STEPS_PER_EPOCH;
    let mut events = vec![
        Event::proposed(Trial { id: trial, config: config.clone() }),
        Event::TrialStarted {
            trial,
            device: "cpu".to_owned(),
            from_step: 0,
            total_steps,
            continues: None,
        },
    ];
    let diverges = config.learning_rate > 5e-3;
    for step in 1..=total_steps {
        if step % 20 == 0 {
            let point = train_point(number, config, step);
            events.push(Event::Trained { trial, point });
        }
        if step % (STEPS_PER_EPOCH / 2) == 0 {
            let mut evaluation = losses(number, config, step);
            if diverges {
                evaluation.eval_loss = 2.4 * f64::from(step / 30).exp();
                evaluation.train_loss = Some(2.5 * f64::from(step / 30).exp());
            }
            events.push(Event::Evaluated { trial, evaluation });
        }
        if diverges && step == 100 {
            let reason = "train loss 57.3 is 19.8 times the base model's".to_owned();
            let outcome = Outcome::Diverged { step, reason };
            events.push(Event::TrialFinished { trial, outcome });
            return events;
        }
    }
    events.push(Event::TrialFinished { trial, outcome: Outcome::Completed });
    events
}

pub fn sweep(name: &str, configs: &[TrialConfig]) -> SweepState {
    let mut events = vec![
        Event::SweepStarted {
            name: name.to_owned(),
            fingerprint: "f00d".to_owned(),
            version: "0.1.0".to_owned(),
            objective: spec::Objective::default(),
        },
        Event::BaseEvaluated { evaluation: base() },
    ];
    for (number, config) in (1..).zip(configs) {
        events.extend(run(number, config));
    }
    events.push(Event::SweepFinished);
    SweepState::from_events(&events)
}

/// Four ranks by five learning rates; the highest rate diverges.
pub fn quickstart() -> SweepState {
    let mut configs = Vec::new();
    for rank in [2, 8, 32, 128] {
        for learning_rate in [3e-5, 1e-4, 3e-4, 1e-3, 1e-2] {
            configs.push(config(rank, learning_rate, 8));
        }
    }
    // Two combinations were never tried.
    configs.retain(|c| !(c.rank == 128 && c.learning_rate < 2e-4));
    sweep("quickstart", &configs)
}

/// Random search: 200 runs, every learning rate different.
pub fn large() -> SweepState {
    let configs: Vec<TrialConfig> = (0..200)
        .map(|n| {
            let rank = [4, 8, 16, 32, 64][n as usize % 5];
            let exponent = -4.6 + 2.6 * f64::midpoint(noise(n, 7), 1.0);
            config(rank, 10_f64.powf(exponent), 3 + n % 4)
        })
        .collect();
    sweep("large", &configs)
}
