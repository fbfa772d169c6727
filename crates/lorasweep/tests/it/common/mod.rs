//! The binary as a person runs it, and a small sweep that has already run.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use spec::{
    DataSettings, Evaluation, Event, LrScheduler, Outcome, ReportSettings, TargetModule,
    TrainPoint, TrainSettings, Trial, TrialConfig, TrialId, ValidationSource,
};
use store::{Identity, SweepDir};

/// What a command gave.
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// Runs `lorasweep` in `dir`. Whatever it says, the options that it names must be there.
pub fn lorasweep(dir: &Path, args: &[&str]) -> Ran {
    lorasweep_with(dir, args, Stdio::null())
}

/// Runs `lorasweep` with these lines on its stdin.
pub fn lorasweep_told(dir: &Path, args: &[&str], lines: &str) -> Ran {
    let input = dir.join("lines.txt");
    fs::write(&input, lines).unwrap();
    lorasweep_with(dir, args, fs::File::open(input).unwrap().into())
}

fn lorasweep_with(dir: &Path, args: &[&str], input: Stdio) -> Ran {
    let output = Command::new(env!("CARGO_BIN_EXE_lorasweep"))
        .args(args)
        .current_dir(dir)
        .env_remove("NO_COLOR")
        .stdin(input)
        .output()
        .unwrap();
    let ran = Ran::from(output);
    assert_options_exist(args, &ran.stderr);
    ran
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self {
            code: output.status.code().expect("an exit code"),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }
}

fn config(learning_rate: f64) -> TrialConfig {
    TrialConfig {
        rank: 8,
        lora_alpha: 16.0,
        lora_dropout: 0.0,
        use_rslora: false,
        target_modules: TargetModule::ALL.to_vec(),
        learning_rate,
        batch_size: 4,
        epochs: 1,
        lr_scheduler: LrScheduler::Linear,
        warmup_ratio: 0.0,
        weight_decay: 0.0,
        seed: 1,
        variant: spec::LoraVariant::default(),
        quantization: None,
    }
}

fn evaluation(step: u32, eval_loss: f64) -> Evaluation {
    Evaluation {
        step,
        epoch: f64::from(step) / 10.0,
        eval_loss,
        eval_loss_stderr: 0.01,
        rise_stderr: (step > 5).then_some(0.01),
        group_nll: Vec::new(),
        train_loss: Some(eval_loss - 0.2),
        retention_loss: None,
        scores: Vec::new(),
        tokens: u64::from(step) * 100,
        seconds: f64::from(step),
    }
}

fn trial(id: u32, learning_rate: f64, losses: [f64; 2], outcome: Option<Outcome>) -> Vec<Event> {
    let trial = TrialId(id);
    let point = |step: u32| TrainPoint {
        step,
        epoch: f64::from(step) / 10.0,
        loss: 2.0 - f64::from(step) / 10.0,
        grad_norm: Some(1.0),
        learning_rate,
        tokens: u64::from(step) * 100,
        seconds: f64::from(step),
    };
    let mut events = vec![
        Event::proposed(Trial { id: trial, config: config(learning_rate) }),
        Event::TrialStarted {
            trial,
            device: "cpu".into(),
            from_step: 0,
            total_steps: 10,
            continues: None,
        },
    ];
    for (step, loss) in [5, 10].into_iter().zip(losses) {
        events.push(Event::Trained { trial, point: point(step) });
        events.push(Event::Evaluated { trial, evaluation: evaluation(step, loss) });
    }
    events.extend(outcome.map(|outcome| Event::TrialFinished { trial, outcome }));
    events
}

/// A folder of results with a base model beside it: trial 1 ended, trial 2 ended and is better,
/// trial 3 has not ended. Returns the sweep's folder.
pub fn interrupted_sweep(dir: &Path) -> PathBuf {
    let model = dir.join("model");
    fs::create_dir(&model).unwrap();
    fs::write(model.join("tokenizer.json"), "{}").unwrap();
    let data = DataSettings::new(dir.join("train.jsonl"), ValidationSource::Fraction(0.5));
    let sweep = json!({
        "model": model,
        "data": data,
        "train": TrainSettings::default(),
        "report": ReportSettings::default(),
    });
    let mut identity = Identity::new("small", "print", [].into(), sweep);
    identity.planned_trials = Some(4);
    let mut opened = SweepDir::open(&dir.join("results"), &identity, "name: small\n").unwrap();
    let started = Event::SweepStarted {
        name: "small".into(),
        fingerprint: "print".into(),
        version: "0".into(),
        objective: spec::Objective::default(),
    };
    let base = Event::BaseEvaluated { evaluation: evaluation(0, 3.0) };
    opened.dir.record(&[started, base]).unwrap();
    opened.dir.record(&trial(1, 1e-4, [2.0, 1.9], Some(Outcome::Completed))).unwrap();
    opened.dir.record(&trial(2, 1e-3, [1.5, 1.7], Some(Outcome::Completed))).unwrap();
    opened.dir.record(&trial(3, 1e-2, [1.1, 1.0], None)).unwrap();
    for id in [1, 2] {
        let adapter = |dir: &Path| {
            let config = json!({ "r": 8, "base_model_name_or_path": "model" });
            fs::write(dir.join("adapter_config.json"), config.to_string())?;
            fs::write(dir.join("adapter_model.safetensors"), format!("weights {id}"))?;
            Ok(true)
        };
        opened.dir.save_adapter(TrialId(id), adapter).unwrap();
    }
    dir.join("results/small")
}

const LONGEST: Duration = Duration::from_secs(120);

/// The quickstart's model and data, and a sweep that takes `epochs`.
pub fn prepare(dir: &Path, epochs: u32, executor: &str) {
    assert_eq!(lorasweep(dir, &["init", "--quickstart", "."]).code, 0);
    let sweep = format!(
        "name: s\nmethod: grid\nmetric: {{name: eval_loss, goal: minimize}}\n\
         parameters: {{learning_rate: {{values: [0.001, 0.002]}}}}\n\
         model: quickstart/base\ndata:\n  train: quickstart/train.jsonl\n  \
         validation: quickstart/validation.jsonl\n\
         train: {{rank: 4, batch_size: 8, lora_alpha: 16, epochs: {epochs}, max_seq_len: 64}}\n\
         executor: {{device: cpu, {executor}}}\n"
    );
    fs::write(dir.join("s.yaml"), sweep).unwrap();
}

/// Starts the sweep of [`prepare`].
pub fn start(dir: &Path) -> Child {
    Command::new(env!("CARGO_BIN_EXE_lorasweep"))
        .args(["run", "s.yaml", "--quiet"])
        .current_dir(dir)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// What `status --json` says of it.
pub fn status(dir: &Path) -> Value {
    let ran = lorasweep(dir, &["status", "results/s", "--json"]);
    serde_json::from_str::<Value>(&ran.stdout).map_or(Value::Null, |all| all[0].clone())
}

/// Waits until `is_so`, and fails when that takes too long.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < LONGEST, "waited too long until {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Whether a trial of it has taken a step.
pub fn is_training(dir: &Path) -> bool {
    let has_steps = |trial: &Value| trial["step"].as_u64() > Some(0);
    status(dir)["trials"].as_array().is_some_and(|trials| trials.iter().any(has_steps))
}

/// Fails when a message names an option that its command lacks. What stands in backquotes and begins
/// with another program, or with `lorasweep` and another command, is looked for there.
fn assert_options_exist(args: &[&str], stderr: &str) {
    // What clap says quotes the command line.
    let Some(own) = args.first().filter(|_| !stderr.contains("Usage:")) else { return };
    for (number, part) in stderr.split('`').enumerate() {
        let quoted = number % 2 == 1;
        let words: Vec<&str> = part.split_whitespace().collect();
        let command = match words[..] {
            ["lorasweep", command, ..] if quoted => command,
            [first, ..] if quoted && !first.starts_with("--") => continue,
            _ => own,
        };
        for word in words.iter().filter(|word| word.starts_with("--")) {
            let is_of_name = |c: char| c.is_ascii_lowercase() || c == '-';
            let option = word.split(|c| !is_of_name(c)).next().unwrap_or_default();
            let is_there = option == "--" || options(command).contains(option);
            assert!(is_there, "`{command}` has no {option}: {stderr}");
        }
    }
}

/// The options of a command.
pub fn options(command: &str) -> BTreeSet<String> {
    static KNOWN: Mutex<BTreeMap<String, BTreeSet<String>>> = Mutex::new(BTreeMap::new());
    let mut known = KNOWN.lock().unwrap();
    let read = || {
        let help = Command::new(env!("CARGO_BIN_EXE_lorasweep")).args([command, "--help"]).output();
        let help = String::from_utf8(help.unwrap().stdout).unwrap();
        let words = help.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
        words.filter(|word| word.starts_with("--")).map(str::to_owned).collect()
    };
    known.entry(command.to_owned()).or_insert_with(read).clone()
}
