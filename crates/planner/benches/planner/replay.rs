//! Replays a table of real runs: a planner chooses among the configurations that were run.

use std::collections::BTreeMap;
use std::path::Path;

use planner::for_sweep;
use spec::{Event, Outcome, Trial};

use super::runner::{begun, evaluation, finish, resolve, start};

/// A model's runs: loss by rank and learning rate (as written).
pub type Runs = BTreeMap<(u32, String), f64>;

/// Reads the table; an error says where it is wrong.
pub fn read(path: &Path) -> Result<BTreeMap<String, Runs>, String> {
    let mut reader =
        csv::Reader::from_path(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let headers = reader.headers().map_err(|e| e.to_string())?.clone();
    let column = |name: &str| {
        let found = headers.iter().position(|header| header == name);
        found.ok_or_else(|| format!("{}: there is no column `{name}`", path.display()))
    };
    let columns =
        [column("model")?, column("learning_rate")?, column("lora_rank")?, column("test_nll")?];
    let mut models: BTreeMap<String, Runs> = BTreeMap::new();
    for (line, record) in (2..).zip(reader.records()) {
        let record = record.map_err(|e| format!("{}: {e}", path.display()))?;
        let [model, rate, rank, loss] = columns.map(|c| record.get(c).unwrap_or_default());
        let wrong = |what: &str| format!("{}:{line}: `{what}` is not a number", path.display());
        let rank = rank.parse().map_err(|_| wrong(rank))?;
        let value = loss.parse().map_err(|_| wrong(loss))?;
        models.entry(model.to_owned()).or_default().insert((rank, rate.to_owned()), value);
    }
    Ok(models)
}

/// The lowest loss after every run of a sweep over a model's configurations, as a share above the
/// best one. Configurations that the table lacks have diverged; a planner pays for them like for
/// any other.
pub fn regrets(runs: &Runs, method: &str, settings: &str, seed: u64, trials: u32) -> Vec<f64> {
    let mut ranks: Vec<u32> = runs.keys().map(|(rank, _)| *rank).collect();
    ranks.sort_unstable();
    ranks.dedup();
    let mut rates: Vec<&str> = runs.keys().map(|(_, rate)| rate.as_str()).collect();
    rates.sort_unstable();
    rates.dedup();
    let sweep = resolve(&format!(
        "method: {method}\nrun_cap: {trials}\nseed: {seed}\nmodel: base\n\
         data: {{train: rows.jsonl}}\n{settings}parameters:\n  rank: {ranks:?}\n  \
         learning_rate: [{}]\n  batch_size: 128\n  lora_alpha: 32\n  epochs: 1\n",
        rates.join(", "),
    ));
    let planner = for_sweep(&sweep);
    let best = runs.values().copied().fold(f64::INFINITY, f64::min);
    let worst = runs.values().copied().fold(f64::NEG_INFINITY, f64::max);
    // The table does not have the base model's loss: somewhat above the worst run's.
    let mut history = begun(worst + (worst - best));
    let mut lowest = worst;
    let mut regrets = Vec::new();
    while let [trial] = &planner.suggest(&history, 1)[..] {
        start(&mut history, trial);
        if let Some(loss) = loss_of(runs, trial) {
            let evaluation = evaluation(1, loss, loss, 1.0);
            history.apply(&Event::Evaluated { trial: trial.id, evaluation });
            finish(&mut history, trial.id);
            lowest = lowest.min(loss);
        } else {
            let outcome = Outcome::Diverged { step: 1, reason: "not in the table".to_owned() };
            history.apply(&Event::TrialFinished { trial: trial.id, outcome });
        }
        regrets.push(lowest / best - 1.0);
    }
    regrets
}

fn loss_of(runs: &Runs, trial: &Trial) -> Option<f64> {
    let config = &trial.config;
    let same = |(rank, rate): &(u32, String)| {
        *rank == config.rank && rate.parse() == Ok(config.learning_rate)
    };
    runs.iter().find(|(key, _)| same(key)).map(|(_, loss)| *loss)
}
