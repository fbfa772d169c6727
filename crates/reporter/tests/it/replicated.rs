//! Fifteen sets of real runs on two bases under three or four seeds each, with the loss of every
//! validation example (`scripts/bench/replicated.py`).

use std::collections::BTreeMap;

use spec::{Evaluation, Event, ExampleLosses, Outcome, SweepState, Trial, TrialConfig, TrialId};

use crate::sweeps;

const FILES: [&str; 2] =
    [include_str!("../replicated/quickstart.csv"), include_str!("../replicated/diagnoses.csv")];

/// Rank, learning rate and batch size, as written.
type Key = (String, String, String);

/// Runs that were trained and evaluated on the same rows.
pub struct Set {
    pub name: String,
    pub targets: Vec<u32>,
    base: Vec<f64>,
    /// Summed losses of each example, seed by seed.
    pub runs: Vec<(TrialConfig, Vec<Vec<f64>>)>,
}

/// Every set; the first seven are those of `quickstart.csv`.
pub fn sets() -> Vec<Set> {
    let mut sets: Vec<Set> = Vec::new();
    let mut configs: BTreeMap<Key, usize> = BTreeMap::new();
    for line in FILES.iter().flat_map(|file| file.lines().skip(1)) {
        let cells: Vec<&str> = line.split(',').collect();
        let losses: Vec<f64> = cells[5].split(' ').map(|x| x.parse().expect("a loss")).collect();
        if cells[1] == "targets" {
            configs.clear();
            let targets = losses.iter().map(|t| *t as u32).collect();
            sets.push(Set {
                name: cells[0].to_owned(),
                targets,
                base: Vec::new(),
                runs: Vec::new(),
            });
            continue;
        }
        let set = sets.last_mut().expect("targets come first");
        if cells[1] == "base" {
            set.base = losses;
            continue;
        }
        let key = (cells[1].to_owned(), cells[2].to_owned(), cells[3].to_owned());
        let at = *configs.entry(key).or_insert(set.runs.len());
        if at == set.runs.len() {
            let (rank, rate) = (cells[1].parse().expect("rank"), cells[2].parse().expect("rate"));
            let batch_size = cells[3].parse().expect("batch size");
            set.runs
                .push((TrialConfig { batch_size, ..sweeps::config(rank, rate, 6) }, Vec::new()));
        }
        set.runs[at].1.push(losses);
    }
    sets
}

impl Set {
    pub fn seeds(&self) -> usize {
        self.runs[0].1.len()
    }

    /// Loss per target token over some of the rows.
    pub fn loss(&self, nll: &[f64], rows: &[usize]) -> f64 {
        let tokens: u32 = rows.iter().map(|&row| self.targets[row]).sum();
        rows.iter().map(|&row| nll[row]).sum::<f64>() / f64::from(tokens)
    }

    /// The mean loss of a configuration over some seeds and rows.
    pub fn mean(&self, at: usize, seeds: &[usize], rows: &[usize]) -> f64 {
        let losses = seeds.iter().map(|&seed| self.loss(&self.runs[at].1[seed], rows));
        losses.sum::<f64>() / seeds.len() as f64
    }

    /// Variance over rows of the difference of two configurations' mean losses.
    pub fn row_error(&self, a: usize, b: usize, seeds: &[usize], rows: &[usize]) -> f64 {
        let mean = |at: usize, row: usize| {
            let of_seed = seeds.iter().map(|&seed| self.runs[at].1[seed][row]);
            of_seed.sum::<f64>() / seeds.len() as f64
        };
        let rate = self.mean(a, seeds, rows) - self.mean(b, seeds, rows);
        let tokens: f64 = rows.iter().map(|&row| f64::from(self.targets[row])).sum();
        let residual =
            |row: usize| mean(a, row) - mean(b, row) - rate * f64::from(self.targets[row]);
        let squares: f64 = rows.iter().map(|&row| residual(row).powi(2)).sum();
        let count = rows.len() as f64;
        squares * count / (count - 1.0) / tokens.powi(2)
    }

    /// A finished sweep that saw these seeds of these configurations on these rows; trial numbers run
    /// through the seeds of the first configuration, then those of the second, and so on.
    pub fn sweep(&self, configs: &[usize], seeds: &[usize], rows: &[usize]) -> SweepState {
        let measured = |nll: &[f64]| {
            ExampleLosses::collect(rows.iter().map(|&row| (nll[row], self.targets[row] as usize)))
        };
        let evaluation = |step: u32, nll: &[f64]| Evaluation {
            step,
            epoch: f64::from(step),
            eval_loss: self.loss(nll, rows),
            eval_loss_stderr: 0.05,
            rise_stderr: None,
            group_nll: Vec::new(),
            train_loss: Some(self.loss(nll, rows) - 0.1),
            retention_loss: None,
            scores: Vec::new(),
            tokens: 100,
            seconds: 1.0,
        };
        let mut events = vec![
            Event::BaseEvaluated { evaluation: evaluation(0, &self.base) },
            Event::ExamplesEvaluated {
                trial: TrialId::BASE,
                step: 0,
                examples: measured(&self.base),
            },
        ];
        let runs = configs.iter().flat_map(|&at| seeds.iter().map(move |&seed| (at, seed)));
        for (number, (at, seed)) in (1..).zip(runs) {
            let (trial, nll) = (TrialId(number), &self.runs[at].1[seed]);
            let config = TrialConfig { seed: seed as u64, ..self.runs[at].0.clone() };
            events.extend([
                Event::proposed(Trial { id: trial, config }),
                Event::Evaluated { trial, evaluation: evaluation(1, nll) },
                Event::ExamplesEvaluated { trial, step: 1, examples: measured(nll) },
                Event::TrialFinished { trial, outcome: Outcome::Completed },
            ]);
        }
        events.push(Event::SweepFinished);
        SweepState::from_events(&events)
    }
}
