//! The decoder against transformers + peft: logits, losses, LoRA gradients and a training run.
//!
//! The golden values come from `scripts/golden/make_golden.py`. Every backend is held to them.

use crate::support;
use crate::support::{ARCHITECTURES, Adapter, close, decoder, golden, relative_error, rows};
use candle_core::{DType, Device};
use spec::LrScheduler;
use trainer::backend::candle::CandleBackend;
use trainer::backend::cpu::Cpu;
use trainer::backend::{AdamWStep, AdamWUpdate, Backend};
use trainer::decoder::Decoder;
use trainer::schedule::Schedule;

/// Every folder of `golden/`.
fn all() -> impl Iterator<Item = &'static str> {
    ARCHITECTURES.into_iter().chain(["llama_variants"])
}

fn candle() -> CandleBackend {
    CandleBackend::new(Device::Cpu, DType::F32)
}

pub fn logits_and_losses_agree<B: Backend>(make: impl Fn() -> B) {
    for architecture in all() {
        let (golden, tensors) = golden(architecture);
        let decoder = decoder(make(), architecture);
        let all = rows(&golden.sequences.iter().collect::<Vec<_>>());
        let ours = mean_loss(&decoder, &all, &[]);
        assert!(close(ours, golden.base.loss, 1e-5), "{architecture}: base loss {ours}");
        check_logits(&decoder, &all, &[], &tensors, "base", architecture);
        for case in golden.cases.keys().map(String::as_str) {
            let adapter = Adapter::golden(&decoder, architecture, case);
            let active = [adapter.active(0..all.len())];
            let (ours, theirs) = (mean_loss(&decoder, &all, &active), golden.cases[case].loss);
            assert!(close(ours, theirs, 1e-5), "{architecture} {case}: {ours} against {theirs}");
            check_logits(&decoder, &all, &active, &tensors, case, architecture);
        }
    }
}

fn check_logits<B: Backend>(
    decoder: &Decoder<B>,
    all: &trainer::decoder::Rows,
    active: &[trainer::decoder::ActiveAdapter<'_, B::Tensor>],
    tensors: &support::GoldenTensors,
    case: &str,
    architecture: &str,
) {
    let mut compared = 0;
    for (i, sequence) in all.sequences.iter().enumerate() {
        // Of the smaller models the longest sequence's alone are stored.
        let Some(theirs) = tensors.stored(&format!("{case}.logits.{i}")) else { continue };
        let which: Vec<usize> = sequence.clone().collect();
        let ours = decoder.logits(all, active, &which).expect("logits");
        let error = relative_error(&ours, &theirs);
        assert!(error < 1e-5, "{architecture} {case}: logits of sequence {i} are off by {error}");
        compared += 1;
    }
    assert!(compared > 0, "{architecture} {case}: no logits are stored");
}

fn mean_loss<B: Backend>(
    decoder: &Decoder<B>,
    rows: &trainer::decoder::Rows,
    active: &[trainer::decoder::ActiveAdapter<'_, B::Tensor>],
) -> f64 {
    let nll = decoder.losses(rows, active).expect("losses");
    nll.iter().map(|x| f64::from(*x)).sum::<f64>() / nll.len() as f64
}

pub fn gradients_agree<B: Backend>(make: impl Fn() -> B) {
    for architecture in all() {
        let (golden, tensors) = golden(architecture);
        let decoder = decoder(make(), architecture);
        let all = rows(&golden.sequences.iter().collect::<Vec<_>>());
        for case in golden.cases.keys().map(String::as_str) {
            let mut adapter = Adapter::golden(&decoder, architecture, case);
            adapter.train(&decoder, &all, None, false);
            let ours = adapter.grad_values(&decoder);
            let theirs = tensors.adapter(&format!("{case}.grad"), &adapter.layout);
            for (index, site) in adapter.layout.sites.iter().enumerate() {
                for range in [adapter.layout.a_range(index), adapter.layout.b_range(index)] {
                    let (ours, theirs) = (&ours[range.clone()], &theirs[range]);
                    assert!(ours.iter().any(|g| *g != 0.0), "{architecture} {site:?}: no gradient");
                    let error = relative_error(ours, theirs);
                    assert!(error < 1e-4, "{architecture} {case} {site:?}: off by {error}");
                }
            }
        }
    }
}

pub fn training_agrees<B: Backend>(make: impl Fn() -> B) {
    for architecture in all() {
        let (golden, tensors) = golden(architecture);
        for case in golden.cases.keys().map(String::as_str) {
            let decoder = decoder(make(), architecture);
            let mut adapter = Adapter::golden(&decoder, architecture, case);
            let Adapter { layout, params, grad } = &mut adapter;
            let t = &golden.cases[case].training;
            let want = &golden.cases[case].trajectory;
            let zeros = || decoder.backend.zeros(1, layout.len).expect("zeros");
            let (mut m, mut v) = (zeros(), zeros());
            let factors = t.loraplus_lr_ratio.map(|ratio| {
                let factors = layout.factors_of_b(ratio as f32);
                decoder.backend.tensor(&factors, 1, layout.len).expect("factors")
            });
            let warmup = f64::from(t.warmup_steps) / f64::from(t.total_steps);
            let schedule =
                Schedule::new(LrScheduler::Linear, t.learning_rate, t.total_steps, warmup, 0.2);
            for (step, batch) in golden.batches.iter().enumerate() {
                let of_batch = || batch.iter().flatten().map(|i| &golden.sequences[*i]);
                let targets: usize = of_batch().map(support::Sequence::targets).sum();
                let mut loss = 0.0;
                for micro_batch in batch {
                    let mut rows = trainer::decoder::Rows::default();
                    for s in micro_batch.iter().map(|i| &golden.sequences[*i]) {
                        rows.push(&s.input_ids, &s.mask(), 1.0 / targets as f32);
                    }
                    let active = trainer::decoder::ActiveAdapter {
                        layout,
                        params,
                        rows: 0..rows.len(),
                        dropout: None,
                    };
                    let nll = decoder.train(&rows, &[active], &mut [grad], false).expect("a pass");
                    loss += nll.iter().map(|x| f64::from(*x)).sum::<f64>() / targets as f64;
                }
                let norm = decoder.backend.norms(&[&*grad]).expect("norm")[0];
                let learning_rate = schedule.learning_rate(step as u32);
                let place = format!("{architecture} {case} step {step}");
                assert!(close(loss, want.loss[step], 1e-4), "{place}: loss {loss}");
                assert!(close(norm, want.grad_norm[step], 1e-4), "{place}: norm {norm}");
                let off = (learning_rate - want.learning_rate[step]).abs();
                assert!(off < 1e-12, "{place}: learning rate {learning_rate}");
                let step = AdamWStep {
                    learning_rate,
                    weight_decay: t.weight_decay,
                    beta1: t.beta1,
                    beta2: t.beta2,
                    epsilon: t.epsilon,
                    step: step as u32 + 1,
                    grad_scale: (t.max_grad_norm / (norm + 1e-6)).min(1.0),
                };
                let update = AdamWUpdate {
                    params,
                    grad,
                    first_moment: &mut m,
                    second_moment: &mut v,
                    rate_factors: factors.as_ref(),
                    step,
                };
                decoder.backend.adamw(&mut [update]).expect("adamw");
            }
            let ours = decoder.backend.values(params).expect("values");
            let error = relative_error(&ours, &tensors.adapter(&format!("{case}.final"), layout));
            assert!(error < 1e-4, "{architecture} {case}: the trained adapter is off by {error}");
        }
    }
}

/// Cosine of the angle between two gradients, and the ratio of their lengths.
fn agreement(ours: &[f32], theirs: &[f32]) -> (f64, f64) {
    let dot = |a: &[f32], b: &[f32]| {
        a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>()
    };
    let (a, b) = (dot(ours, ours).sqrt(), dot(theirs, theirs).sqrt());
    (dot(ours, theirs) / (a * b), a / b)
}

/// Losses and gradients in bf16, within what its seven bits of mantissa allow.
pub fn bf16_agrees<B: Backend>(make: impl Fn() -> B) {
    for architecture in all() {
        let (golden, tensors) = golden(architecture);
        let decoder = decoder(make(), architecture);
        let all = rows(&golden.sequences.iter().collect::<Vec<_>>());
        for (case, of_case) in &golden.cases {
            let mut adapter = Adapter::golden(&decoder, architecture, case);
            let nll = adapter.train(&decoder, &all, None, false);
            let loss = nll.iter().map(|x| f64::from(*x)).sum::<f64>() / nll.len() as f64;
            let place = format!("{architecture} {case}");
            let theirs = of_case.loss;
            assert!((loss / theirs - 1.0).abs() < 2e-2, "{place}: loss {loss} against {theirs}");
            let theirs = tensors.adapter(&format!("{case}.grad"), &adapter.layout);
            let (cosine, ratio) = agreement(&adapter.grad_values(&decoder), &theirs);
            // transformers + peft in bf16 are no nearer to their own values in f32: 0.958 and 24 % for
            // YaRN, 0.987 and 7 % at worst for the others.
            let yarn = architecture == "llama_rope_yarn";
            let (turn, stretch) = if yarn { (0.95, 0.25) } else { (0.98, 0.1) };
            assert!(cosine > turn, "{place}: the gradient turns, cosine {cosine}");
            assert!(
                (ratio - 1.0).abs() < stretch,
                "{place}: the gradient's length is off by {ratio}"
            );
        }
    }
}

#[test]
fn cpu_logits_and_losses_equal_transformers_and_peft() {
    logits_and_losses_agree(Cpu::<f32>::new);
}

#[test]
fn cpu_gradients_of_every_lora_matrix_equal_peft() {
    gradients_agree(Cpu::<f32>::new);
}

#[test]
fn cpu_training_follows_peft_for_twenty_steps() {
    training_agrees(Cpu::<f32>::new);
}

#[test]
fn candle_logits_and_losses_equal_transformers_and_peft() {
    logits_and_losses_agree(candle);
}

#[test]
fn candle_gradients_of_every_lora_matrix_equal_peft() {
    gradients_agree(candle);
}

#[test]
fn candle_training_follows_peft_for_twenty_steps() {
    training_agrees(candle);
}
