//! Slots that share a step on the candle backend, where they are computed in groups.

use crate::support::{Adapter, decoder, golden, relative_error};
use candle_core::{DType, Device};
use spec::TargetModule;
use trainer::adapter::AdapterLayout;
use trainer::backend::Backend;
use trainer::backend::candle::CandleBackend;
use trainer::decoder::{ActiveAdapter, Rows, SlotDropout};

const DROPOUT: SlotDropout =
    SlotDropout { probability: 0.3, seed: 11, step: 4, first_row: 0, first_target: 0 };

/// Slots with these ranks, scales and numbers of sequences; `None`: rows without an adapter.
const COMPANY: [Option<(usize, f64, usize)>; 7] = [
    Some((4, 2.0, 1)),
    Some((4, 0.5, 3)),
    None,
    Some((2, 2.0, 1)),
    Some((4, 2.0, 9)),
    Some((8, 1.0, 2)),
    Some((4, 2.0, 2)),
];

fn candle() -> CandleBackend {
    CandleBackend::new(Device::Cpu, DType::F32)
}

/// The gradient of each slot of [`COMPANY`], all in one step or each in its
/// own. The values of slot `broken` are not finite.
pub fn gradients_of_company<B: Backend>(
    backend: B,
    together: bool,
    broken: Option<usize>,
) -> Vec<Vec<f32>> {
    let (golden, _) = golden("llama");
    let decoder = decoder(backend, "llama");
    let (mut rows, mut slots) = (Rows::default(), Vec::new());
    for (slot, of_slot) in COMPANY.into_iter().enumerate() {
        let mut alone = Rows::default();
        let (rank, scale, sequences) = of_slot.unwrap_or((0, 0.0, 1));
        let begin = rows.len();
        for i in 0..sequences {
            let sequence = &golden.sequences[(slot + i) % golden.sequences.len()];
            for rows in [&mut rows, &mut alone] {
                rows.push(&sequence.input_ids, &sequence.mask(), 0.1);
            }
        }
        if of_slot.is_some() {
            let modules = &TargetModule::ALL;
            let layout = AdapterLayout::new(&decoder.model.config, rank, scale, modules);
            let mut values: Vec<f32> =
                (0..layout.len).map(|i| 0.05 * ((i * 37 + slot) as f32).sin()).collect();
            if broken == Some(slot) {
                values[..64].fill(f32::INFINITY);
            }
            let dropout = (slot % 2 == 1).then_some(DROPOUT);
            slots.push((
                Adapter::new(&decoder, layout, &values),
                begin..rows.len(),
                dropout,
                alone,
            ));
        }
    }
    if together {
        let zeros = |a: &Adapter<_>| decoder.backend.zeros(1, a.layout.len).expect("zeros");
        let mut grads: Vec<_> = slots.iter().map(|(adapter, ..)| zeros(adapter)).collect();
        let active: Vec<_> = slots
            .iter()
            .map(|(adapter, rows, dropout, _)| ActiveAdapter {
                dropout: *dropout,
                ..adapter.active(rows.clone())
            })
            .collect();
        let mut grads_of: Vec<_> = grads.iter_mut().collect();
        decoder.train(&rows, &active, &mut grads_of, false).expect("a training pass");
        return grads.iter().map(|g| decoder.backend.values(g).expect("values")).collect();
    }
    let mut gradients = Vec::new();
    for (adapter, _, dropout, alone) in &mut slots {
        adapter.train(&decoder, alone, *dropout, false);
        gradients.push(adapter.grad_values(&decoder));
    }
    gradients
}

#[test]
fn candle_slots_of_any_rank_scale_length_and_dropout_have_the_gradients_they_have_alone() {
    let (together, alone) =
        (gradients_of_company(candle(), true, None), gradients_of_company(candle(), false, None));
    for (slot, (together, alone)) in together.iter().zip(&alone).enumerate() {
        let error = relative_error(together, alone);
        assert!(error < 1e-5, "slot {slot}: off by {error}");
    }
}

#[test]
fn what_is_not_finite_in_a_candle_slot_stays_in_it() {
    let whole = gradients_of_company(candle(), true, None);
    // The second slot shares its products with the last, which is shorter.
    for (slot, gradient) in gradients_of_company(candle(), true, Some(1)).iter().enumerate() {
        if slot == 1 {
            assert!(gradient.iter().any(|g| !g.is_finite()), "slot {slot} did not break");
        } else {
            assert_eq!(gradient, &whole[slot], "slot {slot}");
        }
    }
}
