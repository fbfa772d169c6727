//! Slots that share a step on a CUDA device, and what a step asks of it.

use std::fmt::Write as _;

use spec::{BaseSettings, TargetModule};
use trainer::adapter::AdapterLayout;
use trainer::backend::cpu::Cpu;
use trainer::backend::cuda::{Counts, Cuda, Numbers};
use trainer::backend::{AdamWStep, AdamWUpdate, Backend};
use trainer::decoder::{Decoder, Rows};
use trainer::model::Model;

use super::device::Device;
use crate::candle_slots::gradients_of_company;
use crate::memory::{Case, SMALL};
use crate::support::{Adapter, relative_error};

#[test]
fn cuda_slots_of_any_rank_scale_length_and_dropout_have_the_gradients_of_the_processor_alone() {
    let Some(mut device) = Device::take() else { return };
    let alone = gradients_of_company(Cpu::<f32>::new(), false, None);
    for seed in 1..4 {
        device.set("SEED", seed);
        let together = gradients_of_company(device.f32(), true, None);
        for (slot, (together, alone)) in together.iter().zip(&alone).enumerate() {
            let error = relative_error(together, alone);
            assert!(error < 1e-5, "slot {slot}: off by {error}");
        }
    }
}

#[test]
fn what_is_not_finite_in_a_cuda_slot_stays_in_it() {
    let Some(device) = Device::take() else { return };
    let whole = gradients_of_company(device.f32(), true, None);
    for (slot, gradient) in gradients_of_company(device.f32(), true, Some(1)).iter().enumerate() {
        if slot == 1 {
            assert!(gradient.iter().any(|g| !g.is_finite()), "slot {slot} did not break");
        } else {
            assert_eq!(gradient, &whole[slot], "slot {slot}");
        }
    }
}

/// This many slots of mixed ranks, one short sequence each, on a Llama of this many blocks.
struct Company {
    decoder: Decoder<Cuda>,
    slots: Vec<Adapter<Cuda>>,
    moments: Vec<[<Cuda as Backend>::Tensor; 2]>,
    rows: Rows,
    of_slots: Vec<std::ops::Range<usize>>,
}

impl Company {
    fn new(backend: Cuda, slots: usize, layers: usize) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let case = Case { layers, hidden: 32, ffn: 48, vocab: 64, ..SMALL };
        case.write_model(dir.path());
        let model =
            Model::load(&backend, dir.path(), &BaseSettings::default()).expect("the model loads");
        let decoder = Decoder { backend, model };
        let (mut rows, mut of_slots) = (Rows::default(), Vec::new());
        let slots: Vec<_> = (0..slots)
            .map(|slot| {
                let rank = [2, 4, 3, 8][slot % 4];
                let layout =
                    AdapterLayout::new(&decoder.model.config, rank, 2.0, &TargetModule::ALL);
                let values: Vec<f32> =
                    (0..layout.len).map(|i| 0.05 * ((i * 37 + slot) as f32).sin()).collect();
                let ids: Vec<u32> =
                    (0..5 + slot % 3).map(|i| ((slot * 7 + i) % 64) as u32).collect();
                let mask: Vec<bool> = (0..ids.len()).map(|i| i > 2).collect();
                of_slots.push(rows.push(&ids, &mask, 0.1));
                Adapter::new(&decoder, layout, &values)
            })
            .collect();
        let zeros =
            |slot: &Adapter<Cuda>| decoder.backend.zeros(1, slot.layout.len).expect("zeros");
        let moments = slots.iter().map(|slot| [zeros(slot), zeros(slot)]).collect();
        Self { decoder, slots, moments, rows, of_slots }
    }

    /// What the third pass and the third optimizer step ask for, and every later one: by then the
    /// pool has a buffer for every moment of a step.
    fn steady(mut self, recompute: bool) -> [Counts; 2] {
        for _ in 0..2 {
            self.pass(recompute);
            self.update();
        }
        [self.pass(recompute), self.update()]
    }

    /// What a pass forward and backward asks of the device.
    fn pass(&mut self, recompute: bool) -> Counts {
        let before = self.counts();
        let (mut active, mut grads) = (Vec::new(), Vec::new());
        for (Adapter { layout, params, grad }, rows) in self.slots.iter_mut().zip(&self.of_slots) {
            let rows = rows.clone();
            active.push(trainer::decoder::ActiveAdapter { layout, params, rows, dropout: None });
            grads.push(grad);
        }
        self.decoder.train(&self.rows, &active, &mut grads, recompute).expect("a pass");
        self.counts() - before
    }

    fn counts(&self) -> Counts {
        self.decoder.backend.gpu().counts().expect("the counters")
    }

    /// The same of the optimizer's step.
    fn update(&mut self) -> Counts {
        let before = self.counts();
        let backend = &self.decoder.backend;
        let step = AdamWStep {
            learning_rate: 1e-3,
            weight_decay: 0.0,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            step: 1,
            grad_scale: 1.0,
        };
        let gradients: Vec<_> = self.slots.iter().map(|slot| &slot.grad).collect();
        backend.norms(&gradients).expect("norms");
        let mut updates: Vec<_> = (self.slots.iter_mut().zip(&mut self.moments))
            .map(|(slot, [first_moment, second_moment])| AdamWUpdate {
                params: &mut slot.params,
                grad: &mut slot.grad,
                first_moment,
                second_moment,
                rate_factors: None,
                step,
            })
            .collect();
        backend.adamw(&mut updates).expect("adamw");
        self.counts() - before
    }
}

const fn launched(counts: &Counts) -> u64 {
    counts.launches + counts.products
}

/// Launches of the candle path before this backend, by its code: of a block, of a slot in a block,
/// and of a slot in `AdamW`.
const CANDLE: [usize; 3] = [380, 14, 16];

#[test]
fn a_step_of_many_slots_asks_a_gpu_for_no_more_than_one_of_a_single_slot() {
    let Some(_device) = Device::take() else { return };
    let mut table = String::from(
        "numbers  slots  recompute  launches a block  of them cuBLAS's  the rest of a pass  uploads  \
         waits  allocations  optimizer: launches  waits  candle: launches a block  optimizer\n",
    );
    for (numbers, narrow) in [(Numbers::F32, false), (Numbers::Bf16, true)] {
        let gpu = || Cuda::new(0, numbers, usize::MAX).expect("a device");
        let mut of_one = [0; 2];
        // A hundred are slow in software: their tables are the same ones in both numbers.
        let most: &[usize] = if narrow { &[] } else { &[100] };
        for &slots in [1, 8, 32].iter().chain(most) {
            for recompute in [false, true] {
                let steady = |layers| Company::new(gpu(), slots, layers).steady(recompute);
                let ([small, _], [large, update]) = (steady(3), steady(5));
                // Two blocks more: the first and the last ask for less than those between them.
                let of_a_block = (launched(&large) - launched(&small)) / 2;
                writeln!(
                    table,
                    "{:7}  {slots:5}  {recompute:9}  {of_a_block:16}  {:16}  {:18}  {:7}  {:5}  {:11}  \
                     {:19}  {:5}  {:24}  {:9}",
                    if narrow { "bf16" } else { "f32" },
                    (large.products - small.products) / 2,
                    launched(&large) - 5 * of_a_block,
                    large.uploads,
                    large.synchronisations,
                    large.allocations + update.allocations,
                    launched(&update),
                    update.synchronisations,
                    CANDLE[0] + CANDLE[1] * slots,
                    CANDLE[2] * slots,
                )
                .expect("written");
                let place = format!("{slots} slots, recompute {recompute}");
                assert_eq!(large.allocations + update.allocations, 0, "{place}: a steady step");
                assert_eq!(large.synchronisations, 1, "{place}: the losses are read once");
                assert_eq!(large.uploads, 1, "{place}: the tables are copied once");
                assert_eq!([launched(&update), update.synchronisations], [2, 1], "{place}");
                let limit = if recompute { 28 } else { 20 };
                if slots == 1 {
                    of_one[usize::from(recompute)] = of_a_block;
                }
                if slots <= 32 {
                    assert!(of_a_block <= limit, "{place}: {of_a_block}");
                    assert_eq!(of_a_block, of_one[usize::from(recompute)], "{place}");
                } else {
                    // The jobs of this many slots do not always fit into one table.
                    assert!(of_a_block <= limit + 4, "{place}: {of_a_block}");
                }
            }
        }
    }
    println!("{table}");
}
