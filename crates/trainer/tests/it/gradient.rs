//! The explicit backward pass against finite differences, in double precision.

use crate::support;
use crate::support::{Adapter, decoder, golden, relative_error, rows};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use trainer::backend::Backend;
use trainer::backend::cpu::Cpu;
use trainer::decoder::{Decoder, Rows, SlotDropout};

const DROPOUT: SlotDropout =
    SlotDropout { probability: 0.3, seed: 11, step: 4, first_row: 0, first_target: 0 };

/// The objective and its gradient at the adapter's values plus `shift`.
fn objective(
    decoder: &Decoder<Cpu<f64>>,
    adapter: &mut Adapter<Cpu<f64>>,
    values: &[f64],
    rows: &Rows,
    dropout: Option<SlotDropout>,
) -> f64 {
    adapter.params.as_mut_slice().copy_from_slice(values);
    adapter.grad.as_mut_slice().fill(0.0);
    let nll = adapter.train(decoder, rows, dropout, false);
    nll.iter().zip(&rows.targets).map(|(x, t)| f64::from(*x) * f64::from(t.weight)).sum()
}

fn directional_derivative_agrees(architecture: &str, dropout: Option<SlotDropout>) {
    let (golden, _) = golden(architecture);
    let decoder = decoder(Cpu::<f64>::new(), architecture);
    let rows = rows(&golden.sequences.iter().collect::<Vec<_>>());
    let mut adapter = Adapter::golden(&decoder, architecture, "adapter");
    let start = adapter.params.as_slice().to_vec();
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    for trial in 0..4 {
        // A direction of its own for every trial, so that each matrix is looked at from all sides.
        let direction: Vec<f64> = start.iter().map(|_| rng.random_range(-1.0..1.0)).collect();
        let step = 4e-4;
        let mut at = |sign: f64| {
            let values: Vec<f64> =
                start.iter().zip(&direction).map(|(x, d)| x + sign * step * d).collect();
            objective(&decoder, &mut adapter, &values, &rows, dropout)
        };
        // Five-point stencil: the losses come back in f32, so a larger step is needed.
        let (plus, minus, plus2, minus2) = (at(1.0), at(-1.0), at(2.0), at(-2.0));
        let numeric = (8.0 * (plus - minus) - (plus2 - minus2)) / (12.0 * step);
        objective(&decoder, &mut adapter, &start, &rows, dropout);
        let exact: f64 = adapter.grad.as_slice().iter().zip(&direction).map(|(g, d)| g * d).sum();
        let error = (numeric - exact).abs() / exact.abs().max(0.1);
        assert!(error < 2e-3, "{architecture} direction {trial}: {numeric} against {exact}");
    }
}

#[test]
fn the_gradient_is_the_derivative_of_the_loss() {
    for architecture in support::ARCHITECTURES {
        directional_derivative_agrees(architecture, None);
    }
}

#[test]
fn the_gradient_through_dropout_is_the_derivative_of_the_loss_under_the_same_masks() {
    directional_derivative_agrees("llama", Some(DROPOUT));
    directional_derivative_agrees("qwen3", Some(DROPOUT));
}

#[test]
fn recomputing_activations_gives_the_same_gradient() {
    for architecture in ["qwen3", "gemma2", "olmo2"] {
        let (golden, _) = golden(architecture);
        let decoder = decoder(Cpu::<f32>::new(), architecture);
        let rows = rows(&golden.sequences.iter().collect::<Vec<_>>());
        let gradient = |recompute: bool| {
            let mut adapter = Adapter::golden(&decoder, architecture, "adapter");
            let nll = adapter.train(&decoder, &rows, Some(DROPOUT), recompute);
            (nll, adapter.grad_values(&decoder))
        };
        assert_eq!(gradient(false), gradient(true), "{architecture}");
    }
}

#[test]
fn dropout_masks_agree_between_backends() {
    use trainer::backend::candle::CandleBackend;
    fn gradient<B: Backend>(backend: B) -> Vec<f32> {
        let (golden, _) = golden("llama");
        let decoder = decoder(backend, "llama");
        let rows = rows(&golden.sequences.iter().collect::<Vec<_>>());
        let mut adapter = Adapter::golden(&decoder, "llama", "adapter");
        adapter.train(&decoder, &rows, Some(DROPOUT), false);
        adapter.grad_values(&decoder)
    }
    let candle = CandleBackend::new(candle_core::Device::Cpu, candle_core::DType::F32);
    let error = relative_error(&gradient(Cpu::<f32>::new()), &gradient(candle));
    assert!(error < 1e-5, "off by {error}");
}

#[test]
fn however_many_threads_share_a_step_its_gradient_and_dropout_masks_are_the_same() {
    use trainer::backend::candle::CandleBackend;
    let (golden, _) = golden("llama");
    let some: Vec<_> = golden.sequences.iter().collect();
    let many = [&some[..]; 12].concat();
    let rows = rows(&many);
    let gradient_of = |decoder: &Decoder<Cpu<f32>>| {
        let mut adapter = Adapter::golden(decoder, "llama", "adapter");
        let nll = adapter.train(decoder, &rows, Some(DROPOUT), false);
        (nll, adapter.grad_values(decoder))
    };
    let with_threads = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
        pool.install(|| gradient_of(&decoder(Cpu::<f32>::new(), "llama")))
    };
    let (nll, alone) = with_threads(1);
    for threads in [2, 3, 7] {
        let (nll_shared, shared) = with_threads(threads);
        assert!(relative_error(&shared, &alone) < 1e-6, "{threads} threads");
        assert!(relative_error(&nll_shared, &nll) < 1e-6, "{threads} threads");
    }
    // The oracle computes all rows at once.
    let oracle =
        decoder(CandleBackend::new(candle_core::Device::Cpu, candle_core::DType::F32), "llama");
    let mut adapter = Adapter::golden(&oracle, "llama", "adapter");
    adapter.train(&oracle, &rows, Some(DROPOUT), false);
    let error = relative_error(&alone, &adapter.grad_values(&oracle));
    assert!(error < 1e-5, "off by {error}");
}

#[test]
fn two_adapters_that_share_a_step_have_the_gradients_they_have_alone_in_every_architecture() {
    for architecture in support::ARCHITECTURES {
        let (golden, _) = golden(architecture);
        let decoder = decoder(Cpu::<f32>::new(), architecture);
        let sequences: Vec<_> = golden.sequences.iter().collect();
        let (first, second) = sequences.split_at(3);
        let (first, second) = (rows(first), rows(second));
        let mut a = Adapter::golden(&decoder, architecture, "adapter");
        let mut b = Adapter::golden(&decoder, architecture, "adapter_rslora");
        a.train(&decoder, &first, None, false);
        b.train(&decoder, &second, None, false);
        let alone = [a.grad_values(&decoder), b.grad_values(&decoder)];

        let mut both = first.clone();
        for (sequence, range) in sequences[3..].iter().zip(&second.sequences) {
            let weight = second.targets.iter().find(|t| range.contains(&t.row));
            let weight = weight.expect("a sequence with targets").weight;
            both.push(&sequence.input_ids, &sequence.mask(), weight);
        }
        let grads =
            [&a, &b].map(|adapter| decoder.backend.zeros(1, adapter.layout.len).expect("zeros"));
        let [mut grad_a, mut grad_b] = grads;
        let active = [a.active(0..first.len()), b.active(first.len()..both.len())];
        decoder
            .train(&both, &active, &mut [&mut grad_a, &mut grad_b], false)
            .expect("a training pass");
        for (grad, alone) in [grad_a, grad_b].iter().zip(&alone) {
            let packed = decoder.backend.values(grad).expect("values");
            let error = relative_error(&packed, alone);
            assert!(error < 1e-5, "{architecture}: off by {error}");
        }
    }
}
