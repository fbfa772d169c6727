//! The sweep as whoever minimises sees it: the one place where a metric becomes something that is to
//! be low.

use std::borrow::Cow;

use crate::evaluation::Evaluation;
use crate::example_losses::ExampleLosses;
use crate::metric::Objective;
use crate::scores::ScoredAnswers;
use crate::state::{SweepState, TrialState};

impl SweepState {
    /// The same sweep with the cost of its metric ([`Objective::cost_of`]) in the place of the
    /// validation loss, so that planners and stopping rules minimise whatever the metric is. Evaluations
    /// at which the metric was not measured are not there, nor are the losses on the training and the
    /// retention set. `objective` still says what the costs are of.
    ///
    /// A sweep that compares validation losses is returned as it is.
    pub fn costs(&self) -> Cow<'_, Self> {
        if self.objective.is_loss() {
            return Cow::Borrowed(self);
        }
        let mut costs = self.clone();
        let objective = &self.objective;
        costs.base = costs.base.and_then(|base| of_evaluation(objective, &base));
        costs.base_examples = self.base_example_costs();
        let bases = std::mem::take(&mut costs.quantized_bases).into_iter();
        costs.quantized_bases = bases
            .filter_map(|mut base| {
                base.evaluation = of_evaluation(objective, &base.evaluation)?;
                base.examples = of_answers(objective, base.answers.as_ref());
                Some(base)
            })
            .collect();
        for trial in costs.trials.values_mut() {
            trial.examples = trial.example_costs();
            let evaluations = std::mem::take(&mut trial.evaluations).into_iter();
            trial.evaluations = evaluations.filter_map(|e| of_evaluation(objective, &e)).collect();
            trial.objective = Objective::default();
        }
        Cow::Owned(costs)
    }

    /// The same sweep as if trials were compared by their validation loss: what judges the curves of the
    /// losses sees.
    pub fn by_loss(&self) -> Cow<'_, Self> {
        self.compared_by(&Objective::default())
    }

    /// The same sweep as if trials were compared by `objective`.
    pub fn compared_by(&self, objective: &Objective) -> Cow<'_, Self> {
        if self.objective == *objective {
            return Cow::Borrowed(self);
        }
        let mut compared = self.clone();
        compared.objective.clone_from(objective);
        for trial in compared.trials.values_mut() {
            trial.objective.clone_from(objective);
        }
        Cow::Owned(compared)
    }

    /// The cost of each example that the base model was measured on, by the sweep's metric.
    pub fn base_example_costs(&self) -> Option<ExampleLosses> {
        if self.objective.is_loss() {
            return self.base_examples.clone();
        }
        of_answers(&self.objective, self.base_answers.as_ref())
    }
}

impl TrialState {
    /// The best evaluation by the sweep's metric: by default the one with the lowest validation loss.
    /// Of equals the one with the lower loss, then the earliest.
    pub fn best(&self) -> Option<&Evaluation> {
        let measured = self.evaluations.iter().filter(|e| self.objective.value(e).is_some());
        measured.min_by(|a, b| self.objective.compare(a, b))
    }

    /// The cost of the best evaluation ([`Objective::cost`]): the lower the better.
    pub fn best_cost(&self) -> Option<f64> {
        self.objective.cost(self.best()?)
    }

    /// Whether its best evaluation is as good as `target`.
    pub fn reaches(&self, target: f64) -> bool {
        let value = self.best().and_then(|best| self.objective.value(best));
        value.is_some_and(|value| self.objective.reaches(value, target))
    }

    /// The evaluation with the lowest validation loss, whatever trials are compared by; the earliest
    /// of equals.
    pub fn lowest(&self) -> Option<&Evaluation> {
        self.evaluations.iter().min_by(|a, b| a.eval_loss.total_cmp(&b.eval_loss))
    }

    /// The cost of each example at the best evaluation, by the sweep's metric.
    pub fn example_costs(&self) -> Option<ExampleLosses> {
        if self.objective.is_loss() {
            return self.examples.clone();
        }
        let best = self.best()?.step;
        let answers = self.answers.as_ref().filter(|answers| answers.step == best);
        of_answers(&self.objective, answers)
    }
}

fn of_evaluation(objective: &Objective, evaluation: &Evaluation) -> Option<Evaluation> {
    let score = evaluation.score(&objective.metric)?;
    Some(Evaluation {
        eval_loss: objective.cost_of(score.value),
        eval_loss_stderr: score.stderr,
        rise_stderr: score.rise_stderr,
        group_nll: Vec::new(),
        train_loss: None,
        retention_loss: None,
        scores: Vec::new(),
        ..*evaluation
    })
}

/// Every example counts once.
fn of_answers(objective: &Objective, answers: Option<&ScoredAnswers>) -> Option<ExampleLosses> {
    let scores = answers?.scores.get(&objective.metric)?;
    let costs = scores.iter().map(|score| (objective.cost_of(f64::from(*score)), 1));
    Some(ExampleLosses::collect(costs))
}
