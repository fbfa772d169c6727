//! Sweeps and histories for the tests of planners and pruners.

use std::path::Path;

use spec::{Evaluation, Event, PathKind, Sweep, SweepState, Trial, TrialConfig, TrialId};

/// A sweep from the lines of its file that matter; the rest is filled in.
pub fn sweep(lines: &str) -> Sweep {
    let parameters = if lines.contains("parameters:") { "" } else { "parameters: {}\n" };
    let method = if lines.contains("method:") { "" } else { "method: grid\n" };
    let text = format!("model: base\ndata: {{train: rows.jsonl}}\n{method}{parameters}{lines}");
    let look = |path: &Path| match path.extension() {
        Some(_) => PathKind::File,
        None => PathKind::Folder,
    };
    spec::resolve(&text, Path::new("test.yaml"), &look).unwrap_or_else(|errors| panic!("{errors}"))
}

/// Records proposals in a history.
pub fn propose(history: &mut SweepState, trials: &[Trial]) {
    for trial in trials {
        history.apply(&Event::proposed(trial.clone()));
    }
}

/// A running trial with these validation losses, every rise having this standard error.
pub fn run(history: &mut SweepState, id: u32, losses: &[f64], rise_stderr: f64) {
    let config = sweep("").space.grid_config(0);
    run_config(history, id, config, losses, rise_stderr);
}

/// The same of a trial with this configuration.
pub fn run_config(
    history: &mut SweepState,
    id: u32,
    config: TrialConfig,
    losses: &[f64],
    rise_stderr: f64,
) {
    let id = TrialId(id);
    propose(history, &[Trial { id, config }]);
    let total_steps = 100;
    history.apply(&Event::TrialStarted {
        trial: id,
        device: "cpu".to_owned(),
        from_step: 0,
        total_steps,
        continues: None,
    });
    for (i, eval_loss) in losses.iter().enumerate() {
        let step = i as u32 + 1;
        let evaluation = Evaluation {
            step,
            epoch: f64::from(step),
            eval_loss: *eval_loss,
            eval_loss_stderr: rise_stderr,
            rise_stderr: (i > 0).then_some(rise_stderr),
            group_nll: Vec::new(),
            train_loss: Some(1.0),
            retention_loss: None,
            scores: Vec::new(),
            tokens: u64::from(step),
            seconds: f64::from(step),
        };
        history.apply(&Event::Evaluated { trial: id, evaluation });
    }
}

/// Ends a trial.
pub fn finish(history: &mut SweepState, id: u32) {
    let outcome = spec::Outcome::Completed;
    history.apply(&Event::TrialFinished { trial: TrialId(id), outcome });
}
