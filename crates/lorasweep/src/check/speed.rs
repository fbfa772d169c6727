//! How long a sweep will take: a few steps of it are trained and timed.
//!
//! What was measured is kept for the machine, under a hash of what it depends on: the model's shape and
//! form, the device, and how trials share a step.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use data::PreparedData;
use serde::Serialize;
use spec::{Event, Sweep, Trial, TrialId};
use trainer::plan;

use crate::error::Error;
use crate::inputs::rows;
use crate::plan::devices;
use crate::plan::workload::{self, MemoryPlan, Workload};
use crate::workers::engine;

/// Steps that are timed, after one that is not: it touches weights and memory for the first time.
const STEPS: u32 = 4;
/// With these, fewer are enough.
const ENOUGH: Duration = Duration::from_secs(3);

/// The time that a sweep is predicted to take.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PredictedTime {
    /// The whole sweep, in seconds, unless trials are stopped early.
    pub seconds: f64,
    /// Of it, evaluating.
    pub evaluation_seconds: f64,
    /// A trial, were it alone in its share of the steps: the mean.
    pub seconds_per_trial: f64,
    /// One evaluation of one trial.
    pub seconds_per_evaluation: f64,
    /// Tokens trained a second, of all trials on all devices.
    pub tokens_per_second: f64,
}

/// Predicts the time of `total` trials from `work`, that of all of them or of a sample; `None` where
/// nothing can be measured.
pub fn predict(
    sweep: &Sweep,
    data: PreparedData,
    memory: &MemoryPlan,
    trials: &[Trial],
    work: &Workload,
    total: usize,
) -> Result<Option<PredictedTime>, Error> {
    let count = work.trials().count();
    if count == 0 {
        return Ok(None);
    }
    let evaluated = plan::eval_tokens(&data, &sweep.train);
    let Some(per_unit) = seconds_per_unit(sweep, data, memory, trials, evaluated)? else {
        return Ok(None);
    };
    let workers = devices::of(&sweep.executor)?.len().max(1) as f64;
    let each = |of: fn(&plan::Work) -> f64| {
        work.trials().map(|(_, work)| of(work)).sum::<f64>() / count as f64
    };
    let evaluating = each(workload::evaluation_cost) * per_unit;
    let all = each(workload::cost) * per_unit;
    let train_tokens = each(|work| work.train_tokens as f64);
    Ok(Some(PredictedTime {
        seconds: all * total as f64 / workers,
        evaluation_seconds: evaluating * total as f64 / workers,
        seconds_per_trial: all,
        seconds_per_evaluation: evaluated as f64 * per_unit,
        tokens_per_second: train_tokens * workers / all.max(f64::MIN_POSITIVE),
    }))
}

/// Seconds of a worker for each unit of [`workload::cost`]; kept, or measured.
fn seconds_per_unit(
    sweep: &Sweep,
    data: PreparedData,
    memory: &MemoryPlan,
    trials: &[Trial],
    evaluated: u64,
) -> Result<Option<f64>, Error> {
    let kept = kept_at(sweep, memory);
    if let Some(known) = kept.as_ref().and_then(|path| read(path)) {
        return Ok(Some(known));
    }
    let mut first = devices::on_first_device(sweep)?;
    // Steps are measured, not answers.
    first.metric.answers = None;
    let mut engine = engine::load(&first, data, memory.packing)?.trainer;
    let failed = |source: spec::TrainerError| Error::Measure { source };
    for trial in trials.iter().take(memory.packing.slots) {
        engine.admit(trial, None).map_err(failed)?;
    }
    let mut tokens: BTreeMap<TrialId, u64> = BTreeMap::new();
    let mut count = |events: &[Event]| -> f64 {
        let cost = |event: &Event| match event {
            Event::Trained { trial, point } => {
                let before = tokens.insert(*trial, point.tokens).unwrap_or(0);
                2.0 * point.tokens.saturating_sub(before) as f64
            }
            Event::Evaluated { .. } => evaluated as f64,
            _ => 0.0,
        };
        events.iter().map(cost).sum()
    };
    count(&engine.step().map_err(failed)?);
    let (began, mut done) = (Instant::now(), 0.0);
    for _ in 0..STEPS {
        let events = engine.step().map_err(failed)?;
        done += count(&events);
        if events.is_empty() || began.elapsed() > ENOUGH {
            break;
        }
    }
    let measured = (done > 0.0).then(|| began.elapsed().as_secs_f64() / done);
    if let (Some(measured), Some(path)) = (measured, kept) {
        // A cache that cannot be written is done without.
        let _ = store::write_file(&path, measured.to_string().as_bytes());
    }
    Ok(measured)
}

/// Where the measurement is kept.
fn kept_at(sweep: &Sweep, memory: &MemoryPlan) -> Option<PathBuf> {
    let config = std::fs::read_to_string(sweep.model.join("config.json")).ok()?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let depends_on = format!(
        "{} {} {cores} {config} {:?} {:?} {:?} {:?} {}",
        env!("CARGO_PKG_VERSION"),
        store::this_host(),
        sweep.bases(),
        sweep.executor.device,
        memory.packing,
        sweep.train.dtype,
        sweep.train.max_seq_len,
    );
    let name = store::hash_text(&depends_on);
    Some(rows::cache()?.join("speed").join(format!("{}.txt", &name[..32])))
}

/// A measurement that was kept; a damaged one is measured again.
fn read(path: &std::path::Path) -> Option<f64> {
    let text = String::from_utf8(store::read_own_file(path).ok()?).ok()?;
    text.trim().parse().ok().filter(|it: &f64| it.is_finite() && *it > 0.0)
}
