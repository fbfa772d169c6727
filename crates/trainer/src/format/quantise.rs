//! Matrices quantised while the model is loaded.

use std::sync::Arc;

use candle_core::quantized::QTensor;
use candle_core::{Device, Tensor};
use rayon::prelude::*;
use spec::Quantization;

use super::blocks::{INT8_LEVELS, NF4_BLOCK, NF4_BLOCK_BYTES, NF4_LEVELS};
use super::number_format::Format;
use super::stored::{Bytes, Stored};
use crate::error::{Result, TrainerError};

/// Rows that are quantised at a time: as f32 they are little beside the matrix.
const ROWS: usize = 64;

/// The matrix in the format of a quantisation, whose block divides its columns; `name` is its name in
/// messages. Values that are no numbers are an error: codes would hide them.
pub fn quantise(name: &str, matrix: &Stored, quantization: Quantization) -> Result<Stored> {
    let format = Format::of_quantization(quantization);
    let (rows, cols) = (matrix.rows(), matrix.cols());
    let starts: Vec<usize> = (0..rows).step_by(ROWS).collect();
    let coded = starts.into_par_iter().map(|start| -> Result<Vec<u8>> {
        let rows = start..(start + ROWS).min(rows);
        let mut values = vec![0.0_f32; rows.len() * cols];
        matrix.decode(rows, 0..cols, &mut values);
        if let Some(bad) = values.iter().find(|value| !value.is_finite()) {
            let message = format!("`{name}` holds {bad}, which cannot be quantised: it is damaged");
            return Err(TrainerError::Quantization(message));
        }
        match format.ggml() {
            Some(ggml) => {
                let shape = (values.len() / cols, cols);
                let tensor = Tensor::from_vec(values, shape, &Device::Cpu)?;
                Ok(QTensor::quantize(&tensor, ggml)?.data()?.into_owned())
            }
            None if format == Format::Nf4 => Ok(values.chunks(NF4_BLOCK).flat_map(nf4).collect()),
            None => Ok(values.chunks(cols).flat_map(int8).collect()),
        }
    });
    let bytes: Arc<[u8]> = coded.collect::<Result<Vec<_>>>()?.concat().into();
    Ok(Stored::coded(Bytes::Owned(bytes), format, rows, cols))
}

/// The largest magnitude.
fn largest(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |most: f32, x| most.max(x.abs()))
}

/// `1 / x`, or 0 for 0.
fn inverse(x: f32) -> f32 {
    if x == 0.0 { 0.0 } else { 1.0 / x }
}

/// Scale and codes of a block: each value, divided by the largest magnitude, becomes the nearest
/// level.
fn nf4(values: &[f32]) -> [u8; NF4_BLOCK_BYTES] {
    let scale = largest(values);
    let inverse = inverse(scale);
    let code = |x: f32| {
        let x = x * inverse;
        NF4_LEVELS.windows(2).filter(|pair| x > f32::midpoint(pair[0], pair[1])).count() as u8
    };
    let mut block = [0; NF4_BLOCK_BYTES];
    let (head, codes) = block.split_at_mut(size_of::<f32>());
    head.copy_from_slice(&scale.to_le_bytes());
    for (byte, pair) in codes.iter_mut().zip(values.as_chunks::<2>().0) {
        *byte = code(pair[0]) << 4 | code(pair[1]);
    }
    block
}

/// Scale and codes of a row.
fn int8(row: &[f32]) -> Vec<u8> {
    let most = largest(row);
    let inverse = INT8_LEVELS * inverse(most);
    let codes = row.iter().map(|x| ((x * inverse).round_ties_even() as i8).cast_unsigned());
    (most / INT8_LEVELS).to_le_bytes().into_iter().chain(codes).collect()
}
