//! Slots that share a step on a CUDA device, and what a step asks of it.

use std::fmt::Write as _;

use spec::TargetModule;
use trainer::adapter::AdapterLayout;
use trainer::backend::cpu::Cpu;
use trainer::backend::cuda::{Counts, Cuda};
use trainer::backend::{AdamWStep, Backend};
use trainer::decoder::{Decoder, Rows};

use super::device::Device;
use crate::candle_slots::gradients_of_company;
use crate::support::{Adapter, decoder, golden, relative_error};

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

/// So many slots of mixed ranks, one short sequence each, on the golden Llama.
struct Company {
    decoder: Decoder<Cuda>,
    slots: Vec<Adapter<Cuda>>,
    moments: Vec<[<Cuda as Backend>::Tensor; 2]>,
    rows: Rows,
    of_slots: Vec<std::ops::Range<usize>>,
}

impl Company {
    fn new(device: &Device, slots: usize) -> Self {
        let (golden, _) = golden("llama");
        let decoder = decoder(device.f32(), "llama");
        let (mut rows, mut of_slots) = (Rows::default(), Vec::new());
        let slots: Vec<_> = (0..slots)
            .map(|slot| {
                let rank = [2, 4, 3, 8][slot % 4];
                let layout =
                    AdapterLayout::new(&decoder.model.config, rank, 2.0, &TargetModule::ALL);
                let values: Vec<f32> =
                    (0..layout.len).map(|i| 0.05 * ((i * 37 + slot) as f32).sin()).collect();
                let sequence = &golden.sequences[slot % 2];
                of_slots.push(rows.push(&sequence.input_ids, &sequence.mask(), 0.1));
                Adapter::new(&decoder, layout, &values)
            })
            .collect();
        let zeros =
            |slot: &Adapter<Cuda>| decoder.backend.zeros(1, slot.layout.len).expect("zeros");
        let moments = slots.iter().map(|slot| [zeros(slot), zeros(slot)]).collect();
        Self { decoder, slots, moments, rows, of_slots }
    }

    /// What a pass forward and backward asks of the device.
    fn pass(&mut self, recompute: bool) -> Counts {
        let before = self.decoder.backend.gpu().counts();
        let (mut active, mut grads) = (Vec::new(), Vec::new());
        for (Adapter { layout, params, grad }, rows) in self.slots.iter_mut().zip(&self.of_slots) {
            let rows = rows.clone();
            active.push(trainer::decoder::ActiveAdapter { layout, params, rows, dropout: None });
            grads.push(grad);
        }
        self.decoder.train(&self.rows, &active, &mut grads, recompute).expect("a pass");
        self.decoder.backend.gpu().counts() - before
    }

    /// The same of the optimizer's step.
    fn update(&mut self) -> Counts {
        let backend = &self.decoder.backend;
        let before = backend.gpu().counts();
        let step = AdamWStep {
            learning_rate: 1e-3,
            weight_decay: 0.0,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            step: 1,
            grad_scale: 1.0,
        };
        for (slot, [m, v]) in self.slots.iter_mut().zip(&mut self.moments) {
            backend.norm(&slot.grad).expect("norm");
            backend.adamw(&mut slot.params, &mut slot.grad, m, v, None, &step).expect("adamw");
        }
        backend.gpu().counts() - before
    }
}

const fn launched(counts: &Counts) -> u64 {
    counts.launches + counts.products + counts.cleared
}

#[test]
fn a_step_of_many_slots_asks_a_gpu_for_no_more_than_one_of_a_single_slot() {
    let Some(device) = Device::take() else { return };
    let blocks = decoder(device.f32(), "llama").model.layers.len() as u64;
    let mut table = String::from(
        "slots  recompute  launches a pass  a block (about)  products  clears  uploads  waits  \
         allocations  optimizer: launches  waits\n",
    );
    let mut of_one = [0; 2];
    for slots in [1, 8, 32, 100] {
        for recompute in [false, true] {
            let mut company = Company::new(&device, slots);
            for _ in 0..2 {
                company.pass(recompute);
                company.update();
            }
            // What the third step asks for is what every later one does: by then the pool has a
            // buffer for every moment of a step.
            let counts = company.pass(recompute);
            let update = company.update();
            writeln!(
                table,
                "{slots:5}  {recompute:9}  {:15}  {:15}  {:8}  {:6}  {:7}  {:5}  {:11}  {:19}  {:5}",
                launched(&counts),
                launched(&counts) / blocks,
                counts.products,
                counts.cleared,
                counts.uploads,
                counts.synchronisations,
                counts.allocations,
                launched(&update),
                update.synchronisations,
            )
            .expect("written");
            assert_eq!(
                counts.allocations + update.allocations,
                0,
                "a steady step allocates nothing"
            );
            assert_eq!(counts.synchronisations, 1, "the losses are read once");
            if slots == 1 {
                of_one[usize::from(recompute)] = launched(&counts);
            } else if slots <= 32 {
                assert_eq!(launched(&counts), of_one[usize::from(recompute)], "{slots} slots");
            }
        }
    }
    println!("{table}");
}
