//! Every golden value of every architecture, on a CUDA device.

use trainer::backend::cuda::{Cuda, Numbers};

use super::device::Device;
use crate::golden::{gradients_agree, logits_and_losses_agree, training_agrees};

#[test]
fn cuda_logits_and_losses_equal_transformers_and_peft() {
    let Some(device) = Device::take() else { return };
    logits_and_losses_agree(|| device.f32());
}

#[test]
fn cuda_gradients_of_every_lora_matrix_equal_peft() {
    let Some(device) = Device::take() else { return };
    gradients_agree(|| device.f32());
}

#[test]
fn cuda_training_follows_peft_for_twenty_steps() {
    let Some(device) = Device::take() else { return };
    training_agrees(|| device.f32());
}

#[test]
fn gradients_without_cublas_equal_pefts() {
    let Some(_device) = Device::take() else { return };
    gradients_agree(|| Cuda::without_cublas(0, Numbers::F32, usize::MAX).expect("a device"));
}
