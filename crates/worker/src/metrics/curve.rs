//! A trial's curve as another trainer reports it, line by line.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use spec::{Evaluation, Event, Objective, Outcome, ScoredAnswers, TrainPoint, TrialId, TrialState};

use super::line::{Line, Loss};

const ADAPTER_CONFIG: &str = "adapter_config.json";

/// Why a folder is no adapter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` was named as the adapter, but {problem}", path.display())]
pub struct AdapterError {
    /// What was named.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: &'static str,
}

/// What is known of a trial's curve.
#[derive(Debug, Clone)]
pub(crate) struct Curve {
    trial: TrialId,
    learning_rate: f64,
    /// The step from which it went on.
    from: u32,
    /// The last step that was named or counted.
    step: u32,
    evaluations: Vec<Evaluation>,
    /// What trials are compared by.
    objective: Objective,
}

/// What a line means.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Meant {
    /// A point of the curve.
    pub point: Option<Event>,
    /// The scores of the single examples, where the evaluation is the best one.
    pub answers: Option<Event>,
    /// The trial is lost.
    pub end: Option<Outcome>,
    /// The evaluation, by its place in the curve, whose adapter the line names.
    pub adapter: Option<(usize, String)>,
    /// From what the trainer can go on, and at which step.
    pub checkpoint: Option<(u32, String)>,
}

impl Curve {
    /// The curve of a trial, up to `step` when it goes on from there.
    pub fn of(trial: &TrialState) -> Self {
        let trained = trial.train_points.last().map_or(0, |point| point.step);
        let evaluated = trial.last().map_or(0, |last| last.step);
        Self {
            trial: trial.trial.id,
            learning_rate: trial.trial.config.learning_rate,
            from: 0,
            step: trained.max(evaluated),
            evaluations: trial.evaluations.clone(),
            objective: trial.objective.clone(),
        }
    }

    /// The curve of a trial that has taken `from` steps and was evaluated in them.
    pub fn begun(
        trial: &spec::Trial,
        from: u32,
        evaluations: Vec<Evaluation>,
        objective: Objective,
    ) -> Self {
        let learning_rate = trial.config.learning_rate;
        Self { trial: trial.id, learning_rate, from, step: from, evaluations, objective }
    }

    /// The evaluations up to `step`.
    pub fn up_to(&self, step: u32) -> &[Evaluation] {
        let count = self.evaluations.partition_point(|evaluation| evaluation.step <= step);
        &self.evaluations[..count]
    }

    /// Whether there is any evaluation.
    pub fn is_evaluated(&self) -> bool {
        !self.evaluations.is_empty()
    }

    /// The place of the best evaluation by the sweep's metric.
    pub fn best(&self) -> Option<usize> {
        let evaluations = self.evaluations.iter().enumerate();
        evaluations.min_by(|a, b| self.objective.compare(a.1, b.1)).map(|(place, _)| place)
    }

    /// The evaluation with the lowest validation loss.
    fn lowest(&self) -> Option<&Evaluation> {
        self.evaluations.iter().min_by(|a, b| a.eval_loss.total_cmp(&b.eval_loss))
    }

    /// Takes a line in; `seconds` is the trial's time where the line does not tell. An error says
    /// what is wrong with the line, and changes nothing.
    pub fn take(&mut self, line: &Line, seconds: f64) -> Result<Meant, String> {
        let mut meant = Meant::default();
        let is_measured = line.eval_loss.is_some() || line.train_loss.is_some();
        let step = match line.step {
            Some(step) => step,
            None if is_measured => self.step + 1,
            None => self.step,
        };
        let losses = [("eval_loss", line.eval_loss), ("train_loss", line.train_loss)];
        if let Some((which, _)) = losses.iter().find(|(_, l)| *l == Some(Loss::NotANumber)) {
            let reason = format!("its trainer reported a {which} that is not a number");
            meant.end = Some(Outcome::Diverged { step, reason });
            return Ok(meant);
        }
        let seconds = line.seconds.unwrap_or(seconds);
        let train_loss = line.train_loss.and_then(Loss::finite);
        match (line.eval_loss.and_then(Loss::finite), train_loss) {
            (Some(eval_loss), _) => {
                let evaluation = self.evaluation(line, step, eval_loss, seconds)?;
                self.evaluations.push(evaluation.clone());
                let is_best = self.best() == Some(self.evaluations.len() - 1);
                meant.answers = is_best.then(|| self.answers(line, step)).flatten();
                meant.point = Some(Event::Evaluated { trial: self.trial, evaluation });
            }
            (None, Some(loss)) if step > self.step => {
                let point = self.train_point(line, step, loss, seconds);
                meant.point = Some(Event::Trained { trial: self.trial, point });
            }
            // A step that was told before: trainers log the end of an epoch twice.
            (None, Some(_) | None) => {}
        }
        if let Some(path) = &line.adapter {
            meant.adapter = Some((self.named(line)?, path.clone()));
        }
        meant.checkpoint = line.checkpoint.clone().map(|checkpoint| (step, checkpoint));
        self.step = self.step.max(step);
        Ok(meant)
    }

    /// What a line says of the single examples.
    fn answers(&self, line: &Line, step: u32) -> Option<Event> {
        let examples = line.examples(&self.objective)?;
        let scores = examples.iter().map(|score| *score as f32).collect();
        let scores = BTreeMap::from([(self.objective.metric.clone(), scores)]);
        let answers = ScoredAnswers { step, scores, ..ScoredAnswers::default() };
        Some(Event::AnswersScored { trial: self.trial, answers })
    }

    fn evaluation(
        &self,
        line: &Line,
        step: u32,
        eval_loss: f64,
        seconds: f64,
    ) -> Result<Evaluation, String> {
        let known = self.evaluations.last().filter(|last| last.step >= step);
        if step < self.from || (step == self.from && known.is_some()) {
            return Err(format!(
                "the trial goes on from step {}, whose checkpoint is in LORASWEEP_RESUME, but an \
                 evaluation at step {step} was reported: begin there and count on, or name no \
                 `checkpoint`",
                self.from
            ));
        }
        if let Some(last) = known {
            return Err(format!("an evaluation at step {} was reported before", last.step));
        }
        let epoch = match (line.epoch, line.step) {
            (Some(epoch), _) => epoch,
            (None, Some(_)) => return Err("an evaluation needs its `epoch`".to_owned()),
            // Who counts nothing evaluates once an epoch.
            (None, None) => (self.evaluations.len() + 1) as f64,
        };
        if let Some(last) = self.evaluations.last().filter(|last| last.epoch > epoch) {
            return Err(format!(
                "an evaluation at epoch {epoch} after one at epoch {}: epochs count up",
                last.epoch
            ));
        }
        Ok(Evaluation {
            step,
            epoch,
            eval_loss,
            eval_loss_stderr: line.eval_loss_stderr.unwrap_or(0.0),
            rise_stderr: self.rise_stderr(line),
            group_nll: Vec::new(),
            train_loss: line.train_loss.and_then(Loss::finite),
            retention_loss: line.retention_loss,
            scores: line.scores(&self.objective)?,
            tokens: line.tokens.unwrap_or(0),
            seconds,
        })
    }

    /// The error of a rise since the lowest loss, at most: as if the two were not paired.
    fn rise_stderr(&self, line: &Line) -> Option<f64> {
        let lowest = self.lowest()?;
        line.eval_loss_stderr.map(|own| own.hypot(lowest.eval_loss_stderr))
    }

    fn train_point(&self, line: &Line, step: u32, loss: f64, seconds: f64) -> TrainPoint {
        TrainPoint {
            step,
            epoch: line.epoch.unwrap_or(0.0),
            loss,
            grad_norm: line.grad_norm,
            learning_rate: line.learning_rate.unwrap_or(self.learning_rate),
            tokens: line.tokens.unwrap_or(0),
            seconds,
        }
    }

    /// The evaluation that a line names: by its step, by its epoch, or the last one.
    fn named(&self, line: &Line) -> Result<usize, String> {
        let is_meant = |e: &Evaluation| match (line.step, line.epoch) {
            (Some(step), _) => e.step == step,
            (None, Some(epoch)) => e.epoch == epoch,
            (None, None) => true,
        };
        self.evaluations
            .iter()
            .rposition(is_meant)
            .ok_or_else(|| "it names the adapter of an evaluation that was not reported".to_owned())
    }
}

/// An error unless `path` is a folder in PEFT's format.
pub(crate) fn check_adapter(path: &Path) -> Result<(), AdapterError> {
    let problem = if !path.is_dir() {
        "there is no such folder"
    } else if !path.join(ADAPTER_CONFIG).is_file() {
        "it holds no adapter_config.json"
    } else {
        return Ok(());
    };
    Err(AdapterError { path: path.to_owned(), problem })
}

/// Copies the files of an adapter, and of a tokenizer beside it, into the folder `dir`.
pub(crate) fn copy_adapter(adapter: &Path, dir: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(adapter)? {
        let entry = entry?;
        if entry.file_type()?.is_file() && store::is_kept_in_adapter(Path::new(&entry.file_name()))
        {
            std::fs::copy(entry.path(), dir.join(entry.file_name()))?;
        }
    }
    Ok(())
}
