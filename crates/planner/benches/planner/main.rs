//! How many trials the planners need to come close to the best configuration, on instances whose
//! optimum is known and on tables of real runs.

mod numpy;
mod options;
mod replay;
mod runner;
mod surrogate;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use options::Options;
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

/// Runs the sweeps of one line and prints it.
fn line(options: &Options) {
    let began = Instant::now();
    let Options { first, instances, seeds, .. } = *options;
    let prepared: Vec<(Instance, Optimum)> = (first..first + instances)
        .map(|number| {
            let instance = Instance::new(number).shifted(options.shift);
            let optimum = instance.optimum();
            (instance, optimum)
        })
        .collect();
    let (next, scores) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..options.threads {
            scope.spawn(|| {
                loop {
                    let job = next.fetch_add(1, Ordering::Relaxed) as u64;
                    let Some((instance, optimum)) = prepared.get((job / seeds) as usize) else {
                        return;
                    };
                    let score = score(options, instance, *optimum, job % seeds);
                    scores.lock().expect("no thread panicked").push(score);
                }
            });
        }
    });
    let scores = scores.into_inner().expect("no thread panicked");
    let mut regrets: Vec<f64> = scores.iter().map(|score| score.regret).collect();
    regrets.sort_by(f64::total_cmp);
    let count = scores.len() as f64;
    let close = scores.iter().filter(|score| score.is_close).count() as f64 / count;
    println!(
        "{:<8}{:<29} batch {:<2} instances {first:>2} to {:<3} {:<12} regret: median {:.3}, mean \
         {:.3}; within 1%: {:>3.0}% +- {:.0}; {:.0} s",
        options.method,
        options.settings.trim(),
        options.batch,
        first + instances - 1,
        format!("{:?}", options.shift),
        regrets[regrets.len() / 2],
        regrets.iter().sum::<f64>() / count,
        100.0 * close,
        100.0 * (close * (1.0 - close) / count).sqrt(),
        began.elapsed().as_secs_f64(),
    );
}

fn score(options: &Options, instance: &Instance, optimum: Optimum, seed: u64) -> Score {
    let Options { method, settings, trials, batch, .. } = options;
    // A planner that limits the trials in training to a share of all would make the batch smaller.
    let cap = (*trials).max(4 * *batch as u32);
    let sweep = runner::sweep(method, settings, seed, cap, instance.decays);
    let state = runner::run(&sweep, instance, seed, *trials, *batch);
    runner::score(&sweep, &state, instance, optimum)
}

/// Mean regret over a table's models after 3, 5 and 8 runs.
fn replay_table(path: &Path, options: &Options) -> Result<(), String> {
    const AFTER: [usize; 3] = [3, 5, 8];
    let models = replay::read(path)?;
    for (method, settings) in
        [("bayes", ""), ("bayes", "bayes: {lora_prior: false}\n"), ("random", ""), ("sobol", "")]
    {
        let mut means = Vec::new();
        for seed in 0..options.seeds {
            let all: Vec<Vec<f64>> = models
                .values()
                .map(|runs| replay::regrets(runs, method, settings, seed, 8))
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
