//! How fast answers are written, and in how much memory: the adapters of PEFT folders on one base, 16
//! prompts each, all together.
//!
//!     cargo run --release -p lorasweep-trainer --example answers MODEL ADAPTER...
//!
//! `scripts/bench/generate.sh` makes the folders and runs the same in transformers + peft.

use std::error::Error;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Instant;

use spec::BaseSettings;
use trainer::generate::{GenerateOptions, Generator, Prompt};
use trainer::model::DecoderConfig;

const PROMPTS: u32 = 16;
const NEW_TOKENS: usize = 40;
const ROUNDS: usize = 3;

fn main() -> Result<(), Box<dyn Error>> {
    let mut folders = std::env::args_os().skip(1).map(PathBuf::from);
    let model = folders.next().ok_or("usage: answers MODEL ADAPTER...")?;
    let vocabulary = DecoderConfig::read(&model)?.vocab_size as u32;
    let mut generator = Generator::load(&model, &BaseSettings::default(), None)?;
    let mut adapters = Vec::new();
    for folder in folders {
        adapters.push(generator.add_adapter(&folder)?);
    }
    // 53 to 68 tokens.
    let tokens = |prompt: u32| -> Vec<u32> {
        (0..53 + prompt).map(|i| (i * i * 31 + i * prompt * 7 + prompt) % vocabulary).collect()
    };
    let prompts: Vec<Prompt> = adapters
        .iter()
        .flat_map(|adapter| (0..PROMPTS).map(move |prompt| (adapter, prompt)))
        .map(|(adapter, prompt)| Prompt { tokens: tokens(prompt), adapter: Some(*adapter) })
        .collect();
    let options = GenerateOptions { max_new_tokens: NEW_TOKENS, ..GenerateOptions::default() };
    let mut seconds = Vec::new();
    for _ in 0..ROUNDS {
        let started = Instant::now();
        generator.generate(&prompts, &options, &mut |_, _| ControlFlow::Continue(()))?;
        seconds.push(started.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    let peak = trainer::memory::peak().unwrap_or(0) / 1_000_000;
    println!(
        "lorasweep: {} adapters x {PROMPTS} prompts: {:.2} s (median of {ROUNDS}), peak {peak} MB",
        adapters.len(),
        seconds[ROUNDS / 2]
    );
    Ok(())
}
