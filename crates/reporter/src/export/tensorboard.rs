//! TensorBoard event files: the curves of every run, and its settings for the HParams tab.
//!
//! A file is a series of records (TensorFlow's `TFRecord`: length, masked CRC-32C of it, bytes,
//! masked CRC-32C of them), each an `Event` message of `event.proto`; settings are the messages of
//! the HParams plugin (`plugins/hparams/plugin_data.proto`).

use std::borrow::Cow;

use spec::{Outcome, SweepState, TrialState};

use super::ExportFile;
use super::protobuf::Message;
use crate::parameters;

/// The files below TensorBoard's log folder: one for the base model, in each of its forms, and one
/// for every run that has begun. A run of which the time is not known begins at time 0.
pub fn tensorboard(state: &SweepState) -> Vec<ExportFile> {
    let begin = |bounds: Option<(u64, u64)>| bounds.unwrap_or_default().0 as f64 / 1000.0;
    let mut files = Vec::new();
    let start = begin(state.timeline.whole());
    let usual = state.base.iter().filter(|_| state.quantized_bases.is_empty());
    let usual = usual.map(|base| ("base".to_owned(), base));
    let forms = state.quantized_bases.iter();
    let forms = forms.map(|base| (format!("base-{}", base.quantization), &base.evaluation));
    for (name, base) in usual.chain(forms) {
        let mut file = Records::new(start);
        file.scalars(start, 0, &evaluated(base));
        files.push(file.into_file(&name, start));
    }
    for (&id, trial) in &state.trials {
        if trial.evaluations.is_empty() && trial.train_points.is_empty() {
            continue;
        }
        let start = begin(state.timeline.bounds(id));
        files.push(run(trial, start).into_file(&format!("trial-{id}"), start));
    }
    files
}

fn evaluated(e: &spec::Evaluation) -> Vec<(Cow<'static, str>, f64)> {
    let measured = [
        ("eval/loss", Some(e.eval_loss)),
        ("eval/train_loss", e.train_loss),
        ("eval/gap", e.gap()),
        ("eval/retention_loss", e.retention_loss),
    ];
    let losses = measured.into_iter().filter_map(|(name, value)| Some((name.into(), value?)));
    let scores = e.scores.iter().map(|s| (format!("eval/{}", s.metric).into(), s.value));
    losses.chain(scores).collect()
}

fn run(trial: &TrialState, start: f64) -> Records {
    let mut file = Records::new(start);
    file.plugin(start, "_hparams_/session_start_info", started(trial, start));
    for p in &trial.train_points {
        let mut scalars =
            vec![("train/loss".into(), p.loss), ("train/learning_rate".into(), p.learning_rate)];
        scalars.extend(p.grad_norm.map(|norm| ("train/grad_norm".into(), norm)));
        file.scalars(start + p.seconds, p.step, &scalars);
    }
    for e in &trial.evaluations {
        file.scalars(start + e.seconds, e.step, &evaluated(e));
    }
    let end = start + trial.last().map_or(0.0, |last| last.seconds);
    // The value that the HParams table compares runs by: the best, not the last.
    if let Some(best) = trial.best() {
        let mut scalars = vec![("best/eval_loss".into(), best.eval_loss)];
        scalars.extend(best.gap().map(|gap| ("best/gap".into(), gap)));
        let scores = best.scores.iter();
        scalars.extend(scores.map(|s| (format!("best/{}", s.metric).into(), s.value)));
        file.scalars(end, best.step, &scalars);
    }
    file.plugin(end, "_hparams_/session_end_info", ended(trial, end));
    file
}

/// `HParamsPluginData { session_start_info: SessionStartInfo { hparams, group_name, start } }`.
fn started(trial: &TrialState, start: f64) -> Message {
    let config = &trial.trial.config;
    let mut info = Message::new();
    for (parameter, text) in parameters::given(config) {
        // `google.protobuf.Value`: a number, a truth value or a string.
        let value = match (text.parse::<f64>(), text.parse::<bool>()) {
            (Ok(number), _) => Message::new().double(2, number),
            (_, Ok(truth)) => Message::new().integer(4, truth.into()),
            _ => Message::new().bytes(3, text.as_bytes()),
        };
        let entry = Message::new().bytes(1, parameter.name.as_bytes()).message(2, value);
        info = info.message(1, entry);
    }
    let name = format!("trial-{}", trial.trial.id);
    Message::new().integer(1, 0).message(3, info.bytes(4, name.as_bytes()).double(5, start))
}

/// `HParamsPluginData { session_end_info: SessionEndInfo { status, end } }`.
fn ended(trial: &TrialState, end: f64) -> Message {
    const SUCCESS: u64 = 1;
    const FAILURE: u64 = 2;
    const RUNNING: u64 = 3;
    let status = match trial.outcome() {
        None => RUNNING,
        Some(Outcome::Completed | Outcome::Stopped { .. }) => SUCCESS,
        Some(Outcome::Diverged { .. } | Outcome::Failed { .. }) => FAILURE,
    };
    Message::new().integer(1, 0).message(4, Message::new().integer(1, status).double(2, end))
}

/// Records of one file.
struct Records(Vec<u8>);

impl Records {
    fn new(start: f64) -> Self {
        let mut records = Self(Vec::new());
        records.event(Message::new().double(1, start).bytes(3, b"brain.Event:2"));
        records
    }

    fn into_file(self, run: &str, start: f64) -> ExportFile {
        let path = format!("{run}/events.out.tfevents.{:010}.lorasweep", start as u64);
        ExportFile { path, bytes: self.0 }
    }

    fn event(&mut self, event: Message) {
        let bytes = event.into_bytes();
        let length = (bytes.len() as u64).to_le_bytes();
        self.0.extend(length);
        self.0.extend(masked_crc(&length).to_le_bytes());
        self.0.extend(&bytes);
        self.0.extend(masked_crc(&bytes).to_le_bytes());
    }

    fn scalars(&mut self, at: f64, step: u32, scalars: &[(Cow<'static, str>, f64)]) {
        let summary = scalars.iter().fold(Message::new(), |summary, (tag, value)| {
            let value = Message::new().bytes(1, tag.as_bytes()).float(2, *value as f32);
            summary.message(1, value)
        });
        self.event(Message::new().double(1, at).integer(2, step.into()).message(5, summary));
    }

    /// A summary that carries a plugin's message in its metadata, with a tensor of nothing.
    fn plugin(&mut self, at: f64, tag: &str, content: Message) {
        const FLOAT: u64 = 1;
        let data = Message::new().bytes(1, b"hparams").message(2, content);
        let nothing = Message::new().integer(1, FLOAT).message(2, Message::new()).float(5, 0.0);
        let value = Message::new()
            .bytes(1, tag.as_bytes())
            .message(8, nothing)
            .message(9, Message::new().message(1, data));
        self.event(Message::new().double(1, at).message(5, Message::new().message(1, value)));
    }
}

/// The checksum as `TFRecord` stores it: rotated and shifted, so that a checksum of data that hold
/// checksums is still one.
fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}
