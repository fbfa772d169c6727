//! Are the kernels right on this machine? A small training pass is compared with the oracle's.
//!
//! The tests compare many more cases, but on the machine that built the program. A processor with
//! another instruction set, or a GPU and its driver, is first met where the program runs.

use std::path::Path;

use candle_core::DType;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use spec::{BaseSettings, Quantization, TargetModule};

use crate::adapter::AdapterLayout;
use crate::backend::Backend;
use crate::backend::candle::CandleBackend;
use crate::backend::cpu::Cpu;
use crate::backend::cuda::{Cuda, Numbers};
use crate::decoder::{ActiveAdapter, Decoder, Rows};
use crate::device::Device;
use crate::error::Result;
use crate::model::Model;

/// The base model's weights as its file has them, and decoded from 4 bits at each use.
const FORMS: [Option<Quantization>; 2] = [None, Some(Quantization::Nf4)];
/// The ranks of the adapters that share the pass.
const RANKS: [usize; 2] = [8, 3];
/// Tokens of each sequence; two sequences for each adapter.
const TOKENS: [usize; 2] = [21, 9];
/// Matrices of the model and its activations take at most this many bytes.
const LIMIT: usize = 1 << 30;

/// How far a device is from the oracle: the largest difference, relative to the largest value.
#[derive(Debug, Clone, PartialEq)]
pub struct KernelCheck {
    /// The device's own name for what computes: an instruction set, or a GPU's model.
    pub computes: String,
    /// Of the losses.
    pub loss_error: f64,
    /// Of the adapters' gradients.
    pub gradient_error: f64,
    /// Why the device is slower than it could be, if so.
    pub note: Option<String>,
}

impl KernelCheck {
    /// The largest error of a loss, as in the tests against transformers and peft.
    pub const LOSS_TOLERANCE: f64 = 1e-5;
    /// The largest error of a gradient, likewise.
    pub const GRADIENT_TOLERANCE: f64 = 1e-4;

    /// Whether both errors are within their tolerance.
    pub fn agrees(&self) -> bool {
        // An error that is no number is not within it.
        self.loss_error <= Self::LOSS_TOLERANCE && self.gradient_error <= Self::GRADIENT_TOLERANCE
    }
}

/// Trains one step of two adapters on the model in `model_dir`, on the device and with the oracle, and
/// compares losses and gradients. A GPU computes in f32 here, whatever the device asks for.
pub fn check_kernels(device: &Device, model_dir: &Path) -> Result<KernelCheck> {
    match device {
        Device::Cpu => {
            let computes = crate::real::instruction_set().to_owned();
            compare(&Cpu::<f32>::with_limit(LIMIT), model_dir, computes, None)
        }
        Device::Cuda { index, .. } => {
            let gpu = Cuda::new(*index, Numbers::F32, LIMIT)?;
            compare(&gpu, model_dir, gpu.gpu().name(), gpu.note())
        }
    }
}

fn compare<B: Backend>(
    backend: &B,
    model_dir: &Path,
    computes: String,
    note: Option<String>,
) -> Result<KernelCheck> {
    let oracle = CandleBackend::new(candle_core::Device::Cpu, DType::F32);
    let mut check = KernelCheck { computes, loss_error: 0.0, gradient_error: 0.0, note };
    for quantization in FORMS {
        let base = BaseSettings { quantization, ..BaseSettings::default() };
        let (losses, gradients) = train(backend, model_dir, &base)?;
        let (oracle_losses, oracle_gradients) = train(&oracle, model_dir, &base)?;
        check.loss_error = worse(check.loss_error, relative_error(&losses, &oracle_losses));
        for (ours, theirs) in gradients.iter().zip(&oracle_gradients) {
            check.gradient_error = worse(check.gradient_error, relative_error(ours, theirs));
        }
    }
    Ok(check)
}

/// Losses of all targets, and each adapter's gradient.
fn train<B: Backend>(
    backend: &B,
    model_dir: &Path,
    base: &BaseSettings,
) -> Result<(Vec<f32>, Vec<Vec<f32>>)> {
    let model = Model::load(backend, model_dir, base)?;
    let decoder = Decoder { backend: backend.clone(), model };
    let config = &decoder.model.config;
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let layouts = RANKS.map(|rank| AdapterLayout::new(config, rank, 2.0, &TargetModule::ALL));
    let (mut params, mut grads) = (Vec::new(), Vec::new());
    for layout in &layouts {
        // Neither A nor B is zero, so that every matrix has a gradient.
        let values: Vec<f32> = (0..layout.len).map(|_| rng.random_range(-0.05..0.05)).collect();
        params.push(backend.tensor(&values, 1, layout.len)?);
        grads.push(backend.zeros(1, layout.len)?);
    }
    let mut rows = Rows::default();
    let mut adapters = Vec::new();
    for (layout, params) in layouts.iter().zip(&params) {
        let first = rows.len();
        for tokens in TOKENS {
            push_sequence(&mut rows, &mut rng, tokens, config.vocab_size);
        }
        adapters.push(ActiveAdapter { layout, params, rows: first..rows.len(), dropout: None });
    }
    let losses =
        decoder.train(&rows, &adapters, &mut grads.iter_mut().collect::<Vec<_>>(), false)?;
    let gradients = grads.iter().map(|grad| backend.values(grad)).collect::<Result<_>>()?;
    Ok((losses, gradients))
}

/// A sequence of random tokens, of which the first third is a prompt that is not learnt.
fn push_sequence(rows: &mut Rows, rng: &mut impl Rng, tokens: usize, vocabulary: usize) {
    let ids: Vec<u32> = (0..tokens).map(|_| rng.random_range(0..vocabulary as u32)).collect();
    let mask: Vec<bool> = (0..tokens).map(|place| place >= tokens / 3).collect();
    rows.push(&ids, &mask, 1.0 / tokens as f32);
}

/// The larger one; one that is no number stays.
fn worse(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }
}

/// The largest difference, relative to the oracle's largest value.
fn relative_error(ours: &[f32], oracle: &[f32]) -> f64 {
    if ours.len() != oracle.len() {
        return f64::NAN;
    }
    let largest = oracle.iter().fold(f32::MIN_POSITIVE, |largest, x| largest.max(x.abs()));
    let differences = ours.iter().zip(oracle).map(|(x, y)| f64::from((x - y).abs()));
    differences.fold(0.0, worse) / f64::from(largest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(loss_error: f64, gradient_error: f64) -> KernelCheck {
        KernelCheck { computes: String::new(), loss_error, gradient_error, note: None }
    }

    #[test]
    fn an_error_above_its_tolerance_or_that_is_no_number_does_not_agree() {
        assert!(check(1e-6, 1e-5).agrees());
        assert!(!check(2e-5, 1e-5).agrees());
        assert!(!check(1e-6, 2e-4).agrees());
        assert!(!check(f64::NAN, 0.0).agrees());
        assert!(!check(0.0, f64::NAN).agrees());
    }

    #[test]
    fn one_wrong_value_among_right_ones_is_the_error() {
        assert_eq!(relative_error(&[1.0, 2.0, -4.0], &[1.0, 2.0, -4.0]), 0.0);
        assert_eq!(relative_error(&[1.0, 3.0, -4.0], &[1.0, 2.0, -4.0]), 0.25);
        assert!(relative_error(&[1.0, f32::NAN], &[1.0, 2.0]).is_nan());
        assert!(relative_error(&[1.0], &[1.0, 2.0]).is_nan());
    }
}
