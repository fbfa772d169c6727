//! bf16 on a CUDA device: every golden model, within what its seven bits of mantissa allow.

use super::device::Device;
use crate::golden::bf16_agrees;

#[test]
fn cuda_losses_and_gradients_in_bf16_are_those_of_peft_within_its_precision() {
    let Some(device) = Device::take() else { return };
    bf16_agrees(|| device.bf16());
}
