//! Trials of the engine on a CUDA device, beside the same trials on the processor.

use std::collections::BTreeMap;

use spec::{
    BaseForm, BaseSettings, DeviceChoice, Dtype, Event, ExecutorSettings, Quantization,
    TrainSettings, Trainer, Trial, TrialId,
};
use trainer::backend::Backend;
use trainer::backend::cpu::Cpu;
use trainer::backend::cuda::{Cuda, Numbers};
use trainer::engine::{self, Packed};
use trainer::plan::Packing;

use super::device::Device;
use crate::engine::{History, assert_same, record, run_limited, sets, trial};
use crate::support::golden_dir;

fn packed<B: Backend>(backend: B, train: &TrainSettings, packing: Packing) -> Packed<B> {
    let model = golden_dir("llama").join("model");
    Packed::load(backend, &model, &BaseSettings::default(), sets(), train, packing)
        .expect("the engine loads")
}

fn run<B: Backend>(
    backend: B,
    trials: &[Trial],
    train: &TrainSettings,
) -> BTreeMap<TrialId, History> {
    let recompute = train.gradient_checkpointing == Some(true);
    let packing = Packing { slots: trials.len(), recompute, ..Packing::default() };
    run_limited(&mut packed(backend, train, packing), trials).0
}

/// Trials of every kind: plain, with dropout, `DoRA`, LoRA+, a pattern of ranks, on coded bases.
fn company() -> Vec<Trial> {
    let change = |id: u32, change: fn(&mut Trial)| {
        let mut trial = trial(id);
        trial.config.learning_rate = 2e-3;
        change(&mut trial);
        trial
    };
    vec![
        change(1, |_| {}),
        change(2, |t| t.config.lora_dropout = 0.25),
        change(3, |t| t.config.variant.use_dora = true),
        change(4, |t| {
            t.config.variant.loraplus_lr_ratio = 2.0;
            t.config.rank = 40;
        }),
        change(5, |t| t.config.variant.layers_to_transform = Some(vec![1])),
        change(6, |t| {
            t.config.quantization = Some(BaseForm::Quantized(Quantization::Int8));
            t.config.batch_size = 3;
        }),
    ]
}

#[test]
fn cuda_trials_of_every_kind_packed_have_the_losses_that_each_has_on_the_processor_alone() {
    let Some(device) = Device::take() else { return };
    let train = TrainSettings::default();
    let together = run(device.f32(), &company(), &train);
    for trial in company() {
        let alone = run(Cpu::<f32>::new(), std::slice::from_ref(&trial), &train);
        let what = format!("trial {} on a GPU in company", trial.id.0);
        assert_same(&together[&trial.id], &alone[&trial.id], 1e-4, &what);
    }
}

#[test]
fn a_cuda_trials_numbers_are_the_same_in_any_company_and_at_any_time() {
    let Some(mut device) = Device::take() else { return };
    let train = TrainSettings::default();
    // Without cuBLAS, whose sums may depend on the number of rows.
    let gpu = || Cuda::without_cublas(0, Numbers::F32, usize::MAX).expect("a device");
    let trials = [1, 2, 4].map(|id| company()[id - 1].clone());
    let together = run(gpu(), &trials, &train);
    for seed in 2..5 {
        device.set("SEED", seed);
        let again = run(gpu(), &trials, &train);
        for trial in &trials {
            let alone = run(gpu(), std::slice::from_ref(trial), &train);
            assert_same(&again[&trial.id], &together[&trial.id], 0.0, "once more");
            assert_same(&alone[&trial.id], &together[&trial.id], 0.0, "alone");
        }
    }
}

#[test]
fn recomputation_and_micro_batches_do_not_change_a_cuda_trial() {
    let Some(device) = Device::take() else { return };
    let trials = [company()[1].clone()];
    let plain = run(device.f32(), &trials, &TrainSettings::default());
    for settings in [
        TrainSettings { micro_batch_size: Some(1), ..TrainSettings::default() },
        TrainSettings { gradient_checkpointing: Some(true), ..TrainSettings::default() },
    ] {
        let other = run(device.f32(), &trials, &settings);
        assert_same(&other[&TrialId(2)], &plain[&TrialId(2)], 1e-5, "micro-batches");
    }
}

#[test]
fn a_cuda_trial_resumed_from_a_checkpoint_ends_as_if_never_interrupted() {
    let Some(device) = Device::take() else { return };
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("checkpoint.safetensors");
    let (settings, trial) = (TrainSettings::default(), company()[1].clone());
    let whole = &run(device.f32(), std::slice::from_ref(&trial), &settings)[&trial.id];
    for steps in [1, 3] {
        let mut histories = BTreeMap::new();
        let mut first = packed(device.f32(), &settings, Packing::default());
        first.admit(&trial, None).expect("admitted");
        for _ in 0..steps {
            record(&mut histories, first.step().expect("a step"));
        }
        first.save_checkpoint(trial.id, &path).expect("saved");
        drop(first);
        let mut second = packed(device.f32(), &settings, Packing::default());
        second.admit(&trial, Some(&path)).expect("resumed");
        while histories.get(&trial.id).is_none_or(|h: &History| h.outcome.is_none()) {
            record(&mut histories, second.step().expect("a step"));
        }
        assert_same(&histories[&trial.id], whole, 0.0, "resumed");
    }
}

#[test]
fn a_cuda_step_that_does_not_fit_is_taken_in_smaller_ones_and_changes_no_trial() {
    let Some(mut device) = Device::take_software() else { return };
    let trials = [trial(1), trial(2), trial(3)];
    let settings = TrainSettings::default();
    let packing = Packing { slots: 3, ..Packing::default() };
    let gpu = || Cuda::without_cublas(0, Numbers::F32, usize::MAX).expect("a device");
    let mut free = packed(gpu(), &settings, packing);
    let (expected, none) = run_limited(&mut free, &trials);
    assert_eq!(none, 0);
    let peak = free.backend().gpu().peak_bytes();
    drop(free);
    let mut least = usize::MAX;
    for percent in [75, 60] {
        // The limit is the device's own: the driver says that memory is out.
        device.set("MEMORY", (peak * percent / 100) as i64);
        let mut tight = packed(gpu(), &settings, packing);
        let (histories, shortages) = run_limited(&mut tight, &trials);
        for trial in &trials {
            assert_same(&histories[&trial.id], &expected[&trial.id], 1e-5, "with less memory");
        }
        assert!(shortages < 12, "{shortages} shortages at {percent} %");
        least = least.min(tight.packing().tokens_per_step);
    }
    assert!(least < packing.tokens_per_step, "memory never ran out");
}

#[test]
fn the_engine_trains_on_the_gpu_that_a_sweep_names_in_bf16_where_it_may_choose() {
    let Some(_device) = Device::take() else { return };
    let model = golden_dir("llama").join("model");
    let loss = |device: DeviceChoice, dtype: Dtype| {
        let executor = ExecutorSettings { device, ..ExecutorSettings::default() };
        let train = TrainSettings { dtype, ..TrainSettings::default() };
        let base = BaseSettings::default();
        let loaded =
            engine::load(&model, &base, sets(), &train, &executor, Packing::default(), None);
        let mut engine = loaded.expect("the engine loads").trainer;
        engine.admit(&trial(1), None).expect("admitted");
        let mut last = None;
        loop {
            for event in engine.step().expect("a step") {
                match event {
                    Event::Evaluated { evaluation, .. } => last = Some(evaluation.eval_loss),
                    Event::TrialFinished { .. } => {
                        return (engine.device(), last.expect("evaluated"));
                    }
                    _ => {}
                }
            }
        }
    };
    let (name, cpu) = loss(DeviceChoice::Cpu, Dtype::Auto);
    assert_eq!(name, "cpu");
    for (choice, name) in [(DeviceChoice::Cuda(0), "cuda:0"), (DeviceChoice::Auto, "cuda:0")] {
        let (on, narrow) = loss(choice, Dtype::Auto);
        assert_eq!(on, name);
        assert!((narrow / cpu - 1.0).abs() < 2e-2, "bf16: {narrow} against {cpu}");
        assert_ne!(narrow, cpu);
        let (_, wide) = loss(choice, Dtype::F32);
        assert!((wide / cpu - 1.0).abs() < 1e-4, "f32: {wide} against {cpu}");
    }
}
