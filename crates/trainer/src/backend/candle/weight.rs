//! Frozen matrices of the candle backend: tensors, or codes that become a tensor inside each product.

use candle_core::quantized::{QStorage, QTensor};
use candle_core::{DType, Device, Tensor};

use crate::error::Result;
use crate::format::{Format, NF4_BLOCK, NF4_BLOCK_BYTES, NF4_LEVELS, RowOrder, Stored};

/// A frozen matrix.
#[derive(Debug)]
pub enum Weight {
    /// In the backend's number format.
    Plain(Tensor),
    /// As codes, one matrix below the other.
    Coded(Vec<Coded>),
}

/// A matrix as codes on the device.
#[derive(Debug)]
pub struct Coded {
    codes: Codes,
    /// Which stored row is which, where they are not in their order.
    places: Option<Tensor>,
    rows: usize,
    cols: usize,
}

#[derive(Debug)]
enum Codes {
    /// One of ggml's formats.
    Ggml(QTensor),
    /// Bytes of two codes `[n / 2]` as u32, because candle's `index_select` gives zeros for the largest
    /// index of its type; the two values of each byte `[256, 2]`, scales `[n / 64, 1]`.
    Nf4 { bytes: Tensor, pairs: Tensor, scales: Tensor },
    /// Codes plus 128 `[rows, cols]`, scales `[rows, 1]`.
    Int8 { codes: Tensor, scales: Tensor },
}

impl Weight {
    /// Matrices with the same columns, one below the other; codes stay codes where all are.
    pub fn new(parts: &[Stored], dtype: DType, device: &Device) -> Result<Self> {
        if parts.iter().all(|part| part.format().is_coded()) {
            let parts = parts.iter().map(|part| Coded::new(part, device));
            return Ok(Self::Coded(parts.collect::<Result<_>>()?));
        }
        Self::plain(parts, dtype, device)
    }

    /// Matrices with the same columns, one below the other, in the backend's number format.
    pub fn plain(parts: &[Stored], dtype: DType, device: &Device) -> Result<Self> {
        let parts =
            parts.iter().map(|part| Ok(part.to_tensor()?.to_dtype(dtype)?.to_device(device)?));
        Ok(Self::Plain(Tensor::cat(&parts.collect::<Result<Vec<_>>>()?, 0)?))
    }

    /// The matrix in the backend's number format.
    pub fn tensor(&self, dtype: DType) -> Result<Tensor> {
        match self {
            Self::Plain(tensor) => Ok(tensor.clone()),
            Self::Coded(parts) => {
                let parts = parts.iter().map(|part| Ok(part.decode()?.to_dtype(dtype)?));
                Ok(Tensor::cat(&parts.collect::<Result<Vec<_>>>()?, 0)?)
            }
        }
    }
}

impl Coded {
    fn new(stored: &Stored, device: &Device) -> Result<Self> {
        let (rows, cols, raw) = (stored.rows(), stored.cols(), stored.raw());
        let codes = match (stored.format(), stored.format().ggml()) {
            (_, Some(ggml)) => {
                // A mapped file may begin a tensor at any byte; an allocation is aligned.
                let storage = QStorage::from_data(raw.to_vec().into(), device, ggml)?;
                Codes::Ggml(QTensor::new(storage, (rows, cols))?)
            }
            (Format::Int8, _) => {
                let row_bytes = Format::Int8.row_bytes(cols);
                let (mut scales, mut codes) = (Vec::new(), Vec::new());
                for row in raw.chunks_exact(row_bytes) {
                    let (scale, of_row) = split_scale(row);
                    scales.push(scale);
                    codes.extend(of_row.iter().map(|code| code.wrapping_add(128)));
                }
                Codes::Int8 {
                    codes: Tensor::from_vec(codes, (rows, cols), device)?,
                    scales: Tensor::from_vec(scales, (rows, 1), device)?,
                }
            }
            _ => {
                let (mut scales, mut bytes) = (Vec::new(), Vec::new());
                for block in raw.chunks_exact(NF4_BLOCK_BYTES) {
                    let (scale, of_block) = split_scale(block);
                    scales.push(scale);
                    bytes.extend_from_slice(of_block);
                }
                let pairs = (0..=u8::MAX).flat_map(|byte| [byte >> 4, byte & 15]);
                let pairs: Vec<f32> = pairs.map(|code| NF4_LEVELS[usize::from(code)]).collect();
                let (blocks, half) = (scales.len(), bytes.len());
                Codes::Nf4 {
                    bytes: Tensor::from_vec(bytes, half, device)?.to_dtype(DType::U32)?,
                    pairs: Tensor::from_vec(pairs, (256, 2), device)?,
                    scales: Tensor::from_vec(scales, (blocks, 1), device)?,
                }
            }
        };
        let places = match stored.order() {
            RowOrder::Same => None,
            order @ RowOrder::Neighbours(_) => {
                let places = (0..rows).map(|row| order.place(row) as u32);
                Some(Tensor::from_iter(places, device)?)
            }
        };
        Ok(Self { codes, places, rows, cols })
    }

    /// The values in f32.
    fn decode(&self) -> Result<Tensor> {
        let values = match &self.codes {
            Codes::Ggml(tensor) => tensor.dequantize(&tensor.device())?,
            Codes::Int8 { codes, scales } => {
                (codes.to_dtype(DType::F32)? - 128.0)?.broadcast_mul(scales)?
            }
            Codes::Nf4 { bytes, pairs, scales } => {
                let levels = pairs.index_select(bytes, 0)?.reshape(((), NF4_BLOCK))?;
                levels.broadcast_mul(scales)?.reshape((self.rows, self.cols))?
            }
        };
        Ok(match &self.places {
            Some(places) => values.index_select(places, 0)?,
            None => values,
        })
    }
}

/// A scale and the codes behind it.
fn split_scale(bytes: &[u8]) -> (f32, &[u8]) {
    bytes
        .split_first_chunk()
        .map_or((0.0, bytes), |(scale, codes)| (f32::from_le_bytes(*scale), codes))
}

#[cfg(test)]
mod tests {
    use spec::Quantization;

    use super::*;
    use crate::format::{Bytes, quantise};

    /// Two neighbours that are the largest of their block are the byte 255.
    #[test]
    fn every_byte_of_nf4_is_decoded_as_on_the_other_backends() {
        let values: Vec<f32> =
            (0..512).map(|i| if i % 64 < 2 { 3.0 } else { (i as f32 * 0.7).sin() }).collect();
        let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        let matrix =
            Stored::new(Bytes::Owned(bytes.into()), Format::F32, 4, 128).expect("a matrix");
        let coded = quantise("w", &matrix, Quantization::Nf4).expect("quantised");
        let mut expected = vec![0.0; 512];
        coded.decode(0..4, 0..128, &mut expected);
        let decoded = Coded::new(&coded, &Device::Cpu).and_then(|it| it.decode()).expect("decoded");
        let decoded = decoded.flatten_all().and_then(|t| t.to_vec1::<f32>()).expect("values");
        assert_eq!(decoded, expected);
        assert_eq!(decoded[..2], [3.0, 3.0]);
    }
}
