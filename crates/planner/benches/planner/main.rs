//! How many trials the planners need to come close to the best configuration, on instances whose
//! optimum is known and on tables of real runs.

mod numpy;
mod options;
mod replay;
mod runner;
mod stopping;
mod surrogate;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use options::Options;
use planner::Earlier;
use runner::Score;
use surrogate::{Instance, Optimum, Shift};

fn main() -> ExitCode {
    // Cargo passes `--bench` on.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    if arguments.iter().any(|a| a == "--help") {
        println!("{}", options::HELP);
        return ExitCode::SUCCESS;
    }
    let done = match Options::parse(&arguments) {
        Ok(given) if arguments.iter().step_by(2).all(|name| name == "--seeds") => {
            for options in standard_lines() {
                line(&Options { seeds: given.seeds, ..options });
            }
            Ok(())
        }
        Ok(options) => {
            if let Some(table) = &options.table {
                replay_table(Path::new(table), &options)
            } else if options.times {
                [20, 200, 2000].into_iter().for_each(time_line);
                Ok(())
            } else if options.rules {
                for rule in RULES {
                    rule_line(&options, rule);
                }
                Ok(())
            } else if let Some(budget) = options.budget {
                budget_line(&options, budget);
                Ok(())
            } else {
                line(&options);
                Ok(())
            }
        }
        Err(error) => Err(error),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}\n\n{}", options::HELP);
            ExitCode::FAILURE
        }
    }
}

/// With and without LoRA knowledge, alone and in batches, and with the optimum elsewhere.
fn standard_lines() -> Vec<Options> {
    let mut lines = Vec::new();
    for first in [0, 20] {
        for settings in ["", "bayes: {lora_prior: false}\n"] {
            for batch in [1, 8] {
                let settings = settings.to_owned();
                lines.push(Options { settings, batch, first, ..Options::default() });
            }
        }
    }
    for method in ["random", "sobol"] {
        lines.push(Options { method: method.to_owned(), ..Options::default() });
    }
    for shift in [Shift::Rate(0.1), Shift::Rate(10.0), Shift::LowRank] {
        lines.push(Options { shift, ..Options::default() });
    }
    lines
}

/// How long a proposal of 8 takes after so many trials, at best of three.
fn time_line(trials: u32) {
    let instance = Instance::new(20);
    let random = runner::sweep("random", "", 1, trials, instance.decays);
    let history = runner::run(&random, &instance, 1, (trials, 8), Vec::new());
    let sweep = runner::sweep("bayes", "", 1, trials + 100, instance.decays);
    let times = (0..3).map(|_| {
        let began = Instant::now();
        assert_eq!(planner::for_sweep(&sweep).suggest(&history, 8).len(), 8);
        began.elapsed().as_secs_f64()
    });
    println!("a proposal of 8 after {trials} trials: {:.3} s", times.fold(f64::INFINITY, f64::min));
}

/// Rules of early stops, as in a sweep file.
const RULES: [&str; 10] = [
    "early_terminate: {type: median}\n",
    "early_terminate: {type: median, promote: true}\n",
    "early_terminate: {type: hyperband, min_iter: 1, eta: 3}\n",
    "early_terminate: {type: asha, min_iter: 1, eta: 3, promote: true}\n",
    "early_terminate: {type: hyperband, min_iter: 2, eta: 2}\n",
    "early_terminate: {type: asha, min_iter: 2, eta: 2, promote: true}\n",
    "early_terminate: {type: overfit}\n",
    "early_terminate: {type: curve}\n",
    "early_terminate: {type: curve, promote: true}\n",
    "early_terminate: {type: curve, chance: 0.01}\n",
];

/// What a rule stops of random trials of 8 epochs.
fn rule_line(options: &Options, rule: &str) {
    let tolls = each_sweep(options, &|instance, _, seed| {
        let sweep = runner::sweep("random", rule, seed, options.trials, instance.decays);
        stopping::toll(&sweep, instance, seed, options.batch)
    });
    let sum = |of: fn(&stopping::Toll) -> f64| tolls.iter().map(of).sum::<f64>();
    println!(
        "{:<66} {} slots: stopped {:>2.0}% of the trials, saved {:>2.0}% of the epochs; stopped the \
         best {:>2.0}% of the time, which cost {:.2}% of its loss on average",
        rule.trim(),
        options.batch,
        100.0 * sum(|t| t.stopped as f64) / sum(|t| t.trials as f64),
        100.0 * (1.0 - sum(|t| t.epochs.into()) / sum(|t| t.all_epochs.into())),
        100.0 * sum(|t| f64::from(u8::from(t.lost_best))) / tolls.len() as f64,
        100.0 * sum(|t| t.regret) / tolls.len() as f64,
    );
}

/// How many epochs a sweep needs to come within 1% of the best of the coarse grid.
fn budget_line(options: &Options, budget: u32) {
    let began = Instant::now();
    let mut epochs = each_sweep(options, &|instance, optimum, seed| {
        let Options { method, settings, batch, .. } = options;
        let sweep = runner::sweep(method, settings, seed, budget, instance.decays);
        stopping::epochs_to_close(&sweep, instance, optimum, (seed, *batch, budget))
    });
    let reached = epochs.iter().flatten().count();
    epochs.sort_by_key(|epochs| epochs.unwrap_or(u32::MAX));
    let at = |share: f64| {
        let place = (share * (epochs.len() - 1) as f64).round() as usize;
        epochs[place].map_or_else(|| format!("over {budget}"), |epochs| epochs.to_string())
    };
    println!(
        "{:<8}{:<70} {} slots: within 1% after {} epochs in the median ({} to {}); {:.0}% within \
         {budget}; {:.0} s",
        options.method,
        options.settings.trim().replace('\n', " "),
        options.batch,
        at(0.5),
        at(0.25),
        at(0.75),
        100.0 * reached as f64 / epochs.len() as f64,
        began.elapsed().as_secs_f64(),
    );
}

/// Runs the sweeps of one line and prints it.
fn line(options: &Options) {
    let began = Instant::now();
    let scores =
        each_sweep(options, &|instance, optimum, seed| score(options, instance, optimum, seed));
    report(options, &scores, began);
}
/// The result of a sweep of every instance with every seed, in any order.
fn each_sweep<T: Send>(
    options: &Options,
    run: &(dyn Fn(&Instance, Optimum, u64) -> T + Sync),
) -> Vec<T> {
    let Options { first, instances, seeds, .. } = *options;
    let prepared: Vec<(Instance, Optimum)> = (first..first + instances)
        .map(|number| {
            let instance = Instance::new(number).shifted(options.shift);
            let optimum = instance.optimum();
            (instance, optimum)
        })
        .collect();
    let (next, results) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..options.threads {
            scope.spawn(|| {
                loop {
                    let job = next.fetch_add(1, Ordering::Relaxed) as u64;
                    let Some((instance, optimum)) = prepared.get((job / seeds) as usize) else {
                        return;
                    };
                    let result = run(instance, *optimum, job % seeds);
                    results.lock().expect("no thread panicked").push(result);
                }
            });
        }
    });
    results.into_inner().expect("no thread panicked")
}

fn report(options: &Options, scores: &[Score], began: Instant) {
    let Options { first, instances, .. } = *options;
    let mut regrets: Vec<f64> = scores.iter().map(|score| score.regret).collect();
    regrets.sort_by(f64::total_cmp);
    let count = scores.len() as f64;
    let close = scores.iter().filter(|score| score.is_close).count() as f64 / count;
    println!(
        "{:<8}{:<29} batch {:<2} {}instances {first:>2} to {:<3} {:<12} regret: median {:.3}, mean \
         {:.3}; within 1%: {:>3.0}% +- {:.0}; {:.0} s",
        options.method,
        options.settings.trim(),
        options.batch,
        options.warm.map_or_else(String::new, |shift| format!("after {shift:?} ")),
        first + instances - 1,
        format!("{:?}", options.shift),
        regrets[regrets.len() / 2],
        regrets.iter().sum::<f64>() / count,
        100.0 * close,
        100.0 * (close * (1.0 - close) / count).sqrt(),
        began.elapsed().as_secs_f64(),
    );
}

/// Trials of the sweep that a warm start begins from.
const EARLIER_TRIALS: u32 = 24;

fn score(options: &Options, instance: &Instance, optimum: Optimum, seed: u64) -> Score {
    let Options { method, settings, trials, batch, .. } = options;
    // A planner that limits the trials in training to a share of all would make the batch smaller.
    let cap = (*trials).max(4 * *batch as u32);
    let sweep = runner::sweep(method, settings, seed, cap, instance.decays);
    let earlier = options.warm.map(|shift| {
        // Another seed of the same problem, or of one whose optimum lies elsewhere.
        let other = instance.clone().shifted(shift);
        let history =
            runner::run(&sweep, &other, seed + 1000, (EARLIER_TRIALS, *batch), Vec::new());
        Earlier { history, is_same_problem: shift == Shift::None }
    });
    let earlier = Vec::from_iter(earlier);
    let state = runner::run(&sweep, instance, seed, (*trials, *batch), earlier);
    runner::score(&sweep, &state, instance, optimum)
}

/// Mean regret over a table's models after a few runs.
fn replay_table(path: &Path, options: &Options) -> Result<(), String> {
    const AFTER: [usize; 5] = [3, 5, 8, 16, 32];
    let models = replay::read(path)?;
    for (method, settings) in
        [("bayes", ""), ("bayes", "bayes: {lora_prior: false}\n"), ("random", ""), ("sobol", "")]
    {
        let mut means = Vec::new();
        for seed in 0..options.seeds {
            let all: Vec<Vec<f64>> = models
                .values()
                .map(|runs| replay::regrets(runs, method, settings, seed, 32))
                .collect();
            means.push(AFTER.map(|n| {
                let after = all.iter().filter_map(|r| r.get(n - 1).or(r.last()));
                after.sum::<f64>() / all.len() as f64
            }));
        }
        let count = means.len() as f64;
        print!("{method:<8}{:<29}", settings.trim());
        for (place, after) in AFTER.iter().enumerate() {
            let mean = means.iter().map(|m| m[place]).sum::<f64>() / count;
            let variance = means.iter().map(|m| (m[place] - mean).powi(2)).sum::<f64>() / count;
            let error = 1.96 * (variance / count).sqrt();
            print!(" after {after}: {:.3}% +- {:.3};", 100.0 * mean, 100.0 * error);
        }
        println!(" {} models, {} seeds", models.len(), options.seeds);
    }
    Ok(())
}
