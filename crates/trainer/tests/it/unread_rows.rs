//! After its attention the last block computes the rows alone that some loss reads.

use crate::support::{ARCHITECTURES, Adapter, decoder, golden, relative_error, rows};
use candle_core::{DType, Device};
use trainer::backend::candle::CandleBackend;
use trainer::backend::cpu::Cpu;
use trainer::backend::{Backend, Target};
use trainer::decoder::{Decoder, Rows};

fn candle() -> CandleBackend {
    CandleBackend::new(Device::Cpu, DType::F32)
}

/// The same rows with a target in each but the last of a sequence: those that were not there have
/// no weight, but have to be computed.
fn with_weightless_targets(rows: &Rows) -> Rows {
    let has_next = |row: &usize| !rows.sequences.iter().any(|sequence| sequence.end == row + 1);
    let target = |row: usize| {
        let given = rows.targets.iter().find(|target| target.row == row).copied();
        given.unwrap_or(Target { row, token: rows.ids[row + 1], weight: 0.0 })
    };
    Rows { targets: (0..rows.len()).filter(has_next).map(target).collect(), ..rows.clone() }
}

fn losses_and_gradient<B: Backend>(
    decoder: &Decoder<B>,
    (architecture, case): (&str, &str),
    rows: &Rows,
) -> (Vec<f32>, Vec<f32>) {
    let mut adapter = Adapter::golden(decoder, architecture, case);
    let nll = adapter.train(decoder, rows, None, false);
    let evaluated = decoder.losses(rows, &[adapter.active(0..rows.len())]).expect("losses");
    assert!(relative_error(&evaluated, &nll) < 1e-6, "{architecture}: evaluation");
    (nll, adapter.grad_values(decoder))
}

fn leaving_rows_out_changes_nothing<B: Backend>(
    make: impl Fn() -> B,
    (architecture, case): (&str, &str),
) {
    let (golden, _) = golden(architecture);
    let decoder = decoder(make(), architecture);
    let read = rows(&golden.sequences.iter().collect::<Vec<_>>());
    let all = with_weightless_targets(&read);
    assert!(read.targets.len() < all.targets.len(), "{architecture}: every row is read");
    let (nll, gradient) = losses_and_gradient(&decoder, (architecture, case), &read);
    let (nll_of_all, gradient_of_all) = losses_and_gradient(&decoder, (architecture, case), &all);
    let weighty = all.targets.iter().zip(&nll_of_all).filter(|(target, _)| target.weight > 0.0);
    let expected: Vec<f32> = weighty.map(|(_, nll)| *nll).collect();
    let error = relative_error(&nll, &expected);
    assert!(error < 1e-6, "{architecture}: losses are off by {error}");
    let error = relative_error(&gradient, &gradient_of_all);
    assert!(error < 1e-5, "{architecture}: the gradient is off by {error}");
}

#[test]
fn losses_and_gradients_are_those_of_computing_every_row_in_every_architecture() {
    for architecture in ARCHITECTURES {
        leaving_rows_out_changes_nothing(Cpu::<f32>::new, (architecture, "adapter"));
        leaving_rows_out_changes_nothing(candle, (architecture, "adapter"));
    }
}

#[test]
fn they_are_with_magnitudes_too() {
    leaving_rows_out_changes_nothing(Cpu::<f32>::new, ("llama_variants", "dora"));
    leaving_rows_out_changes_nothing(candle, ("llama_variants", "dora"));
}

fn an_adapter_without_targets_disturbs_nobody<B: Backend>(backend: B) {
    let (golden, _) = golden("llama");
    let decoder = decoder(backend, "llama");
    let sequences: Vec<_> = golden.sequences.iter().collect();
    let (silent, own) = (rows(&sequences[..1]), rows(&sequences[2..3]));
    let mut alone = Adapter::golden(&decoder, "llama", "adapter");
    alone.train(&decoder, &own, None, false);

    let mut both = Rows { targets: Vec::new(), ..silent.clone() };
    both.push(&sequences[2].input_ids, &sequences[2].mask(), own.targets[0].weight);
    let (a, b) = (
        Adapter::golden(&decoder, "llama", "adapter_rslora"),
        Adapter::golden(&decoder, "llama", "adapter"),
    );
    let [mut grad_a, mut grad_b] =
        [&a, &b].map(|adapter| decoder.backend.zeros(1, adapter.layout.len).expect("zeros"));
    let active = [a.active(0..silent.len()), b.active(silent.len()..both.len())];
    decoder.train(&both, &active, &mut [&mut grad_a, &mut grad_b], false).expect("a pass");
    let values = |grad: &B::Tensor| decoder.backend.values(grad).expect("values");
    assert!(values(&grad_a).iter().all(|g| *g == 0.0));
    assert!(relative_error(&values(&grad_b), &alone.grad_values(&decoder)) < 1e-5);

    let none = Rows { targets: Vec::new(), ..silent };
    let nll = alone.train(&decoder, &none, None, false);
    assert!(nll.is_empty());
}

#[test]
fn an_adapter_whose_rows_nobody_reads_has_no_gradient_and_disturbs_nobody() {
    an_adapter_without_targets_disturbs_nobody(Cpu::<f32>::new());
    an_adapter_without_targets_disturbs_nobody(candle());
}
