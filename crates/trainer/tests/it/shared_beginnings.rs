//! Sequences that begin alike compute their beginning once, and nothing else changes.

use crate::support::{ARCHITECTURES, Adapter, decoder, golden, relative_error};
use candle_core::{DType, Device};
use trainer::backend::Backend;
use trainer::backend::candle::CandleBackend;
use trainer::backend::cpu::Cpu;
use trainer::decoder::{Rows, SlotDropout};

/// Answers to prompts that begin with the same tokens, one that begins otherwise among them.
fn rows_with_a_system_prompt(architecture: &str) -> Rows {
    let (golden, _) = golden(architecture);
    let tokens: Vec<u32> = golden.sequences.iter().flat_map(|s| s.input_ids.clone()).collect();
    let (system, rest) = tokens.split_at(13);
    let mut rows = Rows::default();
    for (i, own) in rest.chunks(7).enumerate() {
        let ids = if i == 3 { own.repeat(2) } else { [system, own].concat() };
        let mask: Vec<bool> = (0..ids.len()).map(|t| t + 4 >= ids.len()).collect();
        rows.push(&ids, &mask, 0.02);
    }
    rows
}

/// Losses in training and in evaluation, and the gradient.
fn pass<B: Backend>(
    backend: B,
    (architecture, case): (&str, &str),
    dropout: Option<SlotDropout>,
) -> [Vec<f32>; 3] {
    let decoder = decoder(backend, architecture);
    let rows = rows_with_a_system_prompt(architecture);
    let mut adapter = Adapter::golden(&decoder, architecture, case);
    let nll = adapter.train(&decoder, &rows, dropout, false);
    let evaluated = decoder.losses(&rows, &[adapter.active(0..rows.len())]).expect("losses");
    [nll, evaluated, adapter.grad_values(&decoder)]
}

fn agrees_with_the_oracle(model: (&str, &str), dropout: Option<SlotDropout>) {
    let oracle = CandleBackend::new(Device::Cpu, DType::F32);
    let (ours, theirs) = (pass(Cpu::<f32>::new(), model, dropout), pass(oracle, model, dropout));
    for (name, (ours, theirs)) in
        ["losses", "losses in evaluation", "the gradient"].iter().zip(ours.iter().zip(&theirs))
    {
        let error = relative_error(ours, theirs);
        assert!(error < 1e-5, "{model:?}: {name} off by {error}");
    }
}

#[test]
fn losses_and_gradients_are_those_of_an_oracle_that_shares_nothing_in_every_architecture() {
    for architecture in ARCHITECTURES {
        agrees_with_the_oracle((architecture, "adapter"), None);
    }
    agrees_with_the_oracle(("llama_variants", "dora"), None);
}

#[test]
fn under_dropout_every_sequence_keeps_masks_of_its_own() {
    let dropout =
        SlotDropout { probability: 0.3, seed: 11, step: 4, first_row: 0, first_target: 0 };
    agrees_with_the_oracle(("llama", "adapter"), Some(dropout));
}

/// The most memory that a pass takes on one thread: on several it depends on how far their shares
/// overlap in time.
fn peak_bytes(system: &[u32], own: usize) -> usize {
    let backend = Cpu::<f32>::new();
    let decoder = decoder(backend.clone(), "llama");
    let mut rows = Rows::default();
    for i in 0..16 {
        let ids: Vec<u32> =
            system.iter().copied().chain((0..own).map(|t| (i + t) as u32)).collect();
        let mask: Vec<bool> = (0..ids.len()).map(|t| t > system.len()).collect();
        rows.push(&ids, &mask, 0.1);
    }
    let mut adapter = Adapter::golden(&decoder, "llama", "adapter");
    let before = backend.peak_bytes();
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a pool");
    one.install(|| adapter.train(&decoder, &rows, None, false));
    backend.peak_bytes() - before
}

#[test]
fn a_long_beginning_that_all_share_takes_the_memory_of_one() {
    let system: Vec<u32> = (0..96).map(|t| t % 7).collect();
    let (shared, short) = (peak_bytes(&system, 8), peak_bytes(&[], 8));
    // Two halves of 96 + 8 x 8 rows, and two of 8 x 8.
    assert!(shared < 4 * short, "{shared} bytes, {short} without the beginning");
}
