//! Replays tables of real runs: a planner chooses among the configurations that were run.
//!
//! A table is a CSV file with a row for each run at each epoch's end: `rank` (or `lora_rank`),
//! `learning_rate`, `eval_loss` (or `test_nll`), and where there are several `model`, `batch_size`,
//! `epochs` and `seed`. Runs that it lacks have diverged.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use planner::for_sweep;
use spec::{Event, Outcome, Trial};

use super::runner::{begun, evaluation, finish, resolve, start};

/// A configuration without its epochs; the learning rate as written.
type Key = (u32, String, u32);

/// A model's runs.
#[derive(Debug, Default)]
pub struct Runs {
    /// Losses by configuration, by seed, by epoch from 1.
    curves: BTreeMap<Key, BTreeMap<u64, BTreeMap<u32, f64>>>,
}

/// What a table without such a column was run with.
const ONLY_BATCH: u32 = 128;

/// Reads a table by model; an error says where it is wrong.
pub fn read(path: &Path) -> Result<BTreeMap<String, Runs>, String> {
    let shown = path.display();
    let mut reader = csv::Reader::from_path(path).map_err(|e| format!("{shown}: {e}"))?;
    let headers = reader.headers().map_err(|e| format!("{shown}: {e}"))?.clone();
    let place = |names: &[&str]| headers.iter().position(|header| names.contains(&header));
    let needed = |names: &[&str]| {
        place(names).ok_or_else(|| format!("{shown}: there is no column `{}`", names[0]))
    };
    let rank = needed(&["rank", "lora_rank"])?;
    let rate = needed(&["learning_rate"])?;
    let loss = needed(&["eval_loss", "test_nll"])?;
    let [model, batch, epochs, seed] =
        [["model"], ["batch_size"], ["epochs"], ["seed"]].map(|names| place(&names));
    let mut models: BTreeMap<String, Runs> = BTreeMap::new();
    for (line, record) in (2..).zip(reader.records()) {
        let record = record.map_err(|e| format!("{shown}: {e}"))?;
        let text = |column: usize| record.get(column).unwrap_or_default();
        let number = |column: usize| {
            let wrong = || format!("{shown}:{line}: `{}` is not a number", text(column));
            text(column).parse::<f64>().ok().filter(|x| x.is_finite()).ok_or_else(wrong)
        };
        let whole = |column: Option<usize>, only: u32| {
            column.map_or(Ok(only), |column| number(column).map(|x| x as u32))
        };
        number(rate)?;
        let key = (whole(Some(rank), 0)?, text(rate).to_owned(), whole(batch, ONLY_BATCH)?);
        let runs = models.entry(model.map(text).unwrap_or_default().to_owned()).or_default();
        let curve = runs.curves.entry(key).or_default().entry(whole(seed, 0)?.into()).or_default();
        curve.insert(whole(epochs, 1)?, number(loss)?);
    }
    Ok(models)
}

/// The expected loss of the best choice after every run of a sweep over a model's configurations, as
/// a share above that of the best one. A diverged run costs a planner like any other.
pub fn regrets(runs: &Runs, method: &str, settings: &str, seed: u64, trials: u32) -> Vec<f64> {
    let ranks: BTreeSet<u32> = runs.curves.keys().map(|key| key.0).collect();
    let rates: BTreeSet<&str> = runs.curves.keys().map(|key| key.1.as_str()).collect();
    let batches: BTreeSet<u32> = runs.curves.keys().map(|key| key.2).collect();
    let losses: Vec<f64> = runs.all().collect();
    let sweep = resolve(&format!(
        "method: {method}\nrun_cap: {trials}\nseed: {seed}\nmodel: base\n\
         data: {{train: rows.jsonl}}\n{settings}parameters:\n  rank: {:?}\n  \
         learning_rate: [{}]\n  batch_size: {:?}\n  lora_alpha: 32\n  epochs: {:?}\n  \
         lr_scheduler: constant\n",
        Vec::from_iter(ranks),
        Vec::from_iter(rates).join(", "),
        Vec::from_iter(batches),
        (1..=runs.most_epochs()).collect::<Vec<_>>(),
    ));
    let planner = for_sweep(&sweep);
    let best = runs.lowest_expected();
    let (low, worst) =
        losses.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), x| (l.min(*x), h.max(*x)));
    // The table does not have the base model's loss: somewhat above the worst run's.
    let mut history = begun(worst + (worst - low));
    let mut chosen = (f64::INFINITY, worst);
    let mut regrets = Vec::new();
    while let [trial] = &planner.suggest(&history, 1)[..] {
        start(&mut history, trial);
        let expected = |epoch| runs.expected(&runs.key(trial)?, epoch);
        let curve = runs.curve(trial, seed);
        for (&epoch, &loss) in curve.iter().flat_map(|c| c.range(..=trial.config.epochs)) {
            let evaluation = evaluation(epoch, loss, loss, f64::from(epoch));
            history.apply(&Event::Evaluated { trial: trial.id, evaluation });
            if let Some(expected) = expected(epoch).filter(|_| loss < chosen.0) {
                chosen = (loss, expected);
            }
        }
        if curve.is_some_and(|curve| curve.contains_key(&trial.config.epochs)) {
            finish(&mut history, trial.id);
        } else {
            let outcome = Outcome::Diverged { step: 1, reason: "not in the table".to_owned() };
            history.apply(&Event::TrialFinished { trial: trial.id, outcome });
        }
        regrets.push(chosen.1 / best - 1.0);
    }
    regrets
}

impl Runs {
    fn all(&self) -> impl Iterator<Item = f64> {
        self.curves.values().flat_map(BTreeMap::values).flat_map(BTreeMap::values).copied()
    }

    fn most_epochs(&self) -> u32 {
        let curves = self.curves.values().flat_map(BTreeMap::values);
        curves.filter_map(|curve| curve.keys().next_back()).copied().max().unwrap_or(1)
    }

    fn key(&self, trial: &Trial) -> Option<Key> {
        let config = &trial.config;
        let is_same = |(rank, rate, batch): &&Key| {
            (*rank, *batch) == (config.rank, config.batch_size)
                && rate.parse() == Ok(config.learning_rate)
        };
        self.curves.keys().find(is_same).cloned()
    }

    /// What the trial's run was like; sweeps of different seeds see different runs.
    fn curve(&self, trial: &Trial, seed: u64) -> Option<&BTreeMap<u32, f64>> {
        let seeds = &self.curves[&self.key(trial)?];
        seeds.values().nth(seed as usize % seeds.len())
    }

    /// Mean over the seeds, if none of them was lost.
    fn expected(&self, key: &Key, epoch: u32) -> Option<f64> {
        let losses: Option<Vec<f64>> =
            self.curves[key].values().map(|curve| curve.get(&epoch).copied()).collect();
        losses.map(|losses| losses.iter().sum::<f64>() / losses.len() as f64)
    }

    fn lowest_expected(&self) -> f64 {
        let epochs = 1..=self.most_epochs();
        let all = epochs.flat_map(|epoch| self.curves.keys().map(move |key| (key, epoch)));
        all.filter_map(|(key, epoch)| self.expected(key, epoch)).fold(f64::INFINITY, f64::min)
    }
}
