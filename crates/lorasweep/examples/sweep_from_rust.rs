//! Runs a small sweep from Rust and says which run is best and whether it overfits.
//!
//!     cargo run --release -p lorasweep --example sweep_from_rust

use std::process::ExitCode;

use lorasweep::Sweep;
use lorasweep::spec::{Event, SweepState};

fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    // Workers are this program again.
    if let Some(code) = lorasweep::worker_main_if_asked() {
        return Ok(code);
    }
    let folder = std::env::temp_dir().join("sweep-from-rust");
    if !folder.join(lorasweep::quickstart::SWEEP).exists() {
        lorasweep::quickstart::write(&folder)?;
    }
    let text = "name: ranks\nmethod: grid\nmetric: {name: eval_loss, goal: minimize}\n\
        parameters: {rank: {values: [2, 8]}, learning_rate: {values: [0.002, 0.01]}}\n\
        model: quickstart/base\n\
        data: {train: quickstart/train.jsonl, validation: quickstart/validation.jsonl}\n\
        train: {batch_size: 8, lora_alpha: 16, epochs: 6, max_seq_len: 64}\n";
    std::fs::write(folder.join("ranks.yaml"), text)?;
    let sweep = Sweep::open(folder.join("ranks.yaml"))?.with_results(folder.join("results"));
    sweep.run(&mut |event: &Event, _: &SweepState| {
        if let Event::Evaluated { trial, evaluation, .. } = event {
            println!("trial {trial}: validation loss {:.4}", evaluation.eval_loss);
        }
    })?;
    println!("{}", sweep.report()?.text());
    Ok(ExitCode::SUCCESS)
}
