//! What fails on a device, and what is said then.

use spec::{TrainSettings, Trainer};
use trainer::TrainerError;
use trainer::backend::Backend;
use trainer::backend::cuda::{self, Cuda, Numbers};
use trainer::engine::Packed;
use trainer::plan::Packing;

use super::device::Device;
use crate::engine::{sets, trial};
use crate::support::golden_dir;

fn engine(device: &Device) -> Packed<Cuda> {
    let model = golden_dir("llama").join("model");
    Packed::load(
        device.f32(),
        &model,
        &spec::BaseSettings::default(),
        sets(),
        &TrainSettings::default(),
        Packing::default(),
    )
    .expect("the engine loads")
}

/// The error of a step in which the named calls fail from now on.
fn error_of_a_step(device: &mut Device, name: &'static str, value: i64) -> TrainerError {
    let mut engine = engine(device);
    engine.admit(&trial(1), None).expect("admitted");
    device.set(name, value);
    let error = engine.step().expect_err("the device fails");
    *error.downcast().expect("an error of this crate")
}

#[test]
fn a_launch_that_fails_ends_the_step_with_the_gpus_name_and_the_kernels() {
    let Some(mut device) = Device::take_software() else { return };
    drop(engine(&device));
    // One of the launches of the step after loading, admitting and evaluating the base.
    let mut before = engine(&device);
    before.admit(&trial(1), None).expect("admitted");
    let launches = device.count("launches");
    drop(before);
    let of_one = launches / 2;
    let error = error_of_a_step(&mut device, "FAIL_launches", launches + of_one + 20);
    let message = error.to_string();
    assert!(matches!(error, TrainerError::Device(_)), "{message}");
    assert!(message.contains("cuda:0") && message.contains("LAUNCH_FAILED"), "{message}");
}

#[test]
fn a_device_that_is_lost_is_an_error_and_not_taken_for_missing_memory() {
    let Some(mut device) = Device::take_software() else { return };
    let error = error_of_a_step(&mut device, "LOST", 1);
    assert!(matches!(error, TrainerError::Device(_)), "{error}");
}

#[test]
fn an_allocation_that_fails_is_tried_again_with_a_smaller_step() {
    let Some(mut device) = Device::take_software() else { return };
    let mut engine = engine(&device);
    engine.admit(&trial(1), None).expect("admitted");
    engine.backend().trim();
    device.set("FAIL_allocations", device.count("allocations") + 3);
    let before = engine.packing().tokens_per_step;
    // The driver is asked a second time once free memory is given back, so that one failure need not
    // make the step smaller; it never ends it.
    engine.step().expect("a step");
    assert!(engine.packing().tokens_per_step <= before);
}

#[test]
fn a_gpu_that_is_not_there_or_too_old_is_refused_with_what_is_needed() {
    let Some(mut device) = Device::take_software() else { return };
    let refused =
        |index: u32| Cuda::new(index, Numbers::F32, usize::MAX).expect_err("refused").to_string();
    let message = refused(7);
    assert!(message.contains("cuda:7") && message.contains("CUDA_VISIBLE_DEVICES"), "{message}");
    device.set("CAPABILITY", 7);
    let message = refused(0);
    assert!(message.contains("compute capability 7.0") && message.contains("8.0"), "{message}");
    device.set("CAPABILITY", 9);
    device.set("VERSION", 11_080);
    let message = refused(0);
    assert!(message.contains("11.8") && message.contains("12.1"), "{message}");
    device.set("VERSION", 12_010);
}

#[test]
fn free_memory_and_devices_are_the_drivers() {
    let Some(mut device) = Device::take_software() else { return };
    device.set("MEMORY", 12345 << 10);
    assert_eq!(cuda::device_count().expect("a driver"), 2);
    assert_eq!(cuda::free_memory(1).expect("told"), 12345 << 10);
}

#[test]
fn memory_goes_back_to_the_driver_at_the_end() {
    let Some(device) = Device::take_software() else { return };
    let mut engine = engine(&device);
    engine.admit(&trial(1), None).expect("admitted");
    engine.step().expect("a step");
    assert!(device.count("bytes") > 0);
    drop(engine);
    assert_eq!(device.count("bytes"), 0);
}
