//! A sweep as the report sees it: the runs of one regime and seed up to an epoch, with the losses
//! on one validation set.

use spec::{
    Evaluation, Event, ExampleLosses, LoraVariant, LrScheduler, Outcome, SweepState, TargetModule,
    TrainPoint, Trial, TrialConfig, TrialId,
};

use crate::table::{Point, Run};

/// Target tokens of every group; only their being equal matters.
const TARGETS: u32 = 4;

/// The sweep at evaluation `end` of its runs. Trial n is run n - 1.
pub fn state(runs: &[&Run], set: usize, end: usize) -> SweepState {
    let mut state = SweepState::default();
    for (number, run) in (1..).zip(runs) {
        let trial = TrialId(number);
        let end = end.min(run.points.len() - 1);
        let mut evaluations = evaluations(run, set, end).into_iter();
        let base = evaluations.next();
        if let (1, Some(evaluation)) = (number, base) {
            state.apply(&Event::BaseEvaluated { evaluation });
            let groups = run.groups[set];
            let examples = ExampleLosses { nll: vec![0.0; groups], targets: vec![TARGETS; groups] };
            state.apply(&Event::ExamplesEvaluated { trial: TrialId::BASE, step: 0, examples });
        }
        state.apply(&Event::proposed(Trial { id: trial, config: config(run, end) }));
        state.apply(&Event::TrialStarted {
            trial,
            device: "cpu".to_owned(),
            from_step: 0,
            total_steps: run.points[end].step,
            continues: None,
        });
        for pair in run.points[..=end].windows(2) {
            for point in train_points(&pair[0], &pair[1]) {
                state.apply(&Event::Trained { trial, point });
            }
        }
        for evaluation in evaluations {
            state.apply(&Event::Evaluated { trial, evaluation });
        }
        state.apply(&Event::TrialFinished { trial, outcome: Outcome::Completed });
    }
    state
}

fn config(run: &Run, end: usize) -> TrialConfig {
    TrialConfig {
        rank: run.rank,
        lora_alpha: 32.0,
        lora_dropout: 0.0,
        use_rslora: false,
        target_modules: TargetModule::ALL.to_vec(),
        learning_rate: run.learning_rate,
        batch_size: run.batch_size,
        epochs: end as u32,
        lr_scheduler: LrScheduler::Constant,
        warmup_ratio: 0.03,
        weight_decay: 0.0,
        seed: run.seed,
        variant: LoraVariant::default(),
        quantization: None,
    }
}

fn train_points(before: &Point, here: &Point) -> Vec<TrainPoint> {
    let first = before.step + 1;
    let points = (first..).zip(&here.steps).map(|(step, &loss)| TrainPoint {
        step,
        epoch: here.epoch,
        loss,
        grad_norm: None,
        learning_rate: 0.0,
        tokens: 0,
        seconds: 0.0,
    });
    points.collect()
}

/// Evaluations whose groups have the losses and the covariance of the table. With the Cholesky
/// factor C of the covariance and G groups, the rests of evaluation i are row i of C in a basis of
/// the directions in which groups can differ without their sum changing (Helmert's).
pub fn evaluations(run: &Run, set: usize, end: usize) -> Vec<Evaluation> {
    let covariance = run.noise[set].leading(end + 1);
    let factor = covariance.cholesky(0.0);
    let groups = run.groups[set];
    let total = f64::from(TARGETS) * groups as f64;
    let scale = total * ((groups - 1) as f64 / groups as f64).sqrt();
    let mut lowest = 1;
    (0..=end)
        .map(|i| {
            let point = &run.points[i];
            let rests = helmert(&factor.row(i)[..=i], groups);
            let level = point.losses[set] * f64::from(TARGETS);
            let paired = (i > 1).then(|| covariance.variance_of_difference(i, lowest).sqrt());
            if i > 0 && point.losses[set] < run.points[lowest].losses[set] {
                lowest = i;
            }
            Evaluation {
                step: point.step,
                epoch: point.epoch,
                eval_loss: point.losses[set],
                eval_loss_stderr: covariance.at(i, i).sqrt(),
                rise_stderr: paired,
                group_nll: rests.iter().map(|rest| (level + scale * rest) as f32).collect(),
                train_loss: Some(point.train),
                retention_loss: None,
                scores: Vec::new(),
                tokens: 0,
                seconds: 0.0,
            }
        })
        .collect()
}

/// `Σ_k a_k h_k`, where `h_k` is the orthonormal vector of k + 1 equal numbers followed by one that makes
/// their sum 0.
fn helmert(shares: &[f64], groups: usize) -> Vec<f64> {
    let mut sum = vec![0.0; groups];
    for (k, share) in (1..groups).zip(shares) {
        let length = ((k * (k + 1)) as f64).sqrt();
        sum[..k].iter_mut().for_each(|x| *x += share / length);
        sum[k] -= share * k as f64 / length;
    }
    sum
}
