//! Number formats of frozen matrices, and how their bytes become values.
//!
//! A row is a sequence of blocks; in the plain formats a block is one value. Widening a plain
//! format to f32 is exact (f64 apart, which is rounded). The block formats of GGUF files are ggml's
//! (`ggml-quants.c`); NF4 is that of Dettmers et al. 2023, arXiv:2305.14314, appendix E, with one
//! f32 scale for 64 values; int8 is the weights' half of Dettmers et al. 2022, arXiv:2208.07339:
//! one f32 scale for a row.

use std::fmt;

use candle_core::DType;
use candle_core::quantized::GgmlDType;
use safetensors::Dtype;
use spec::Quantization;

use super::blocks::{self, NF4_BLOCK, NF4_BLOCK_BYTES};
use crate::real::{Real, half_to_f32};

/// How a matrix is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Format {
    /// IEEE double precision.
    F64,
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of an [`Format::F32`].
    Bf16,
    /// 4 bits a value, a scale for 32 values.
    Q4_0,
    /// 4 bits a value, a scale and an offset for 32 values.
    Q4_1,
    /// 5 bits a value, a scale for 32 values.
    Q5_0,
    /// 5 bits a value, a scale and an offset for 32 values.
    Q5_1,
    /// 8 bits a value, a scale for 32 values.
    Q8_0,
    /// 4 bits a value, scales and offsets of their own scales for 256 values.
    Q4K,
    /// 5 bits a value, scales and offsets of their own scales for 256 values.
    Q5K,
    /// 6 bits a value, scales of their own scale for 256 values.
    Q6K,
    /// 4 bits a value that name one of 16 quantiles of the normal distribution, a scale for 64
    /// values: the scale before its codes, the first value in the upper half of a byte.
    Nf4,
    /// 8 bits a value, a scale for a row: the scale before its codes.
    Int8,
}

impl Format {
    /// The format of a safetensors file's numbers, where it is read.
    pub const fn of_dtype(dtype: Dtype) -> Option<Self> {
        match dtype {
            Dtype::F64 => Some(Self::F64),
            Dtype::F32 => Some(Self::F32),
            Dtype::F16 => Some(Self::F16),
            Dtype::BF16 => Some(Self::Bf16),
            _ => None,
        }
    }

    /// The format that a quantisation stores a matrix in.
    pub const fn of_quantization(quantization: Quantization) -> Self {
        match quantization {
            Quantization::Nf4 => Self::Nf4,
            Quantization::Int8 => Self::Int8,
            Quantization::Q8_0 => Self::Q8_0,
            Quantization::Q4K => Self::Q4K,
            Quantization::Q5K => Self::Q5K,
            Quantization::Q6K => Self::Q6K,
        }
    }

    /// Its name in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F64 => "f64",
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::Q4_0 => "q4_0",
            Self::Q4_1 => "q4_1",
            Self::Q5_0 => "q5_0",
            Self::Q5_1 => "q5_1",
            Self::Q8_0 => "q8_0",
            Self::Q4K => "q4_k",
            Self::Q5K => "q5_k",
            Self::Q6K => "q6_k",
            Self::Nf4 => "nf4",
            Self::Int8 => "int8",
        }
    }

    /// Values of a block and the bytes they take, without what stands before a row.
    const fn block_and_bytes(self) -> (usize, usize) {
        match self {
            Self::F64 => (1, 8),
            Self::F32 => (1, 4),
            Self::F16 | Self::Bf16 => (1, 2),
            Self::Q4_0 => (32, 18),
            Self::Q4_1 => (32, 20),
            Self::Q5_0 => (32, 22),
            Self::Q5_1 => (32, 24),
            Self::Q8_0 => (32, 34),
            Self::Q4K => (256, 144),
            Self::Q5K => (256, 176),
            Self::Q6K => (256, 210),
            Self::Nf4 => (NF4_BLOCK, NF4_BLOCK_BYTES),
            Self::Int8 => (1, 1),
        }
    }

    /// Bytes before the blocks of a row.
    const fn head_bytes(self) -> usize {
        if matches!(self, Self::Int8) { size_of::<f32>() } else { 0 }
    }

    /// Values of a block.
    pub const fn block(self) -> usize {
        self.block_and_bytes().0
    }

    /// Bytes of a row of this many values, a multiple of [`Format::block`].
    pub const fn row_bytes(self, cols: usize) -> usize {
        let (values, bytes) = self.block_and_bytes();
        self.head_bytes() + cols / values * bytes
    }

    /// The same format among candle's, if it has it.
    pub const fn dtype(self) -> Option<DType> {
        match self {
            Self::F64 => Some(DType::F64),
            Self::F32 => Some(DType::F32),
            Self::F16 => Some(DType::F16),
            Self::Bf16 => Some(DType::BF16),
            _ => None,
        }
    }

    /// The same format among candle's block formats, if it has it.
    pub const fn ggml(self) -> Option<GgmlDType> {
        match self {
            Self::Q4_0 => Some(GgmlDType::Q4_0),
            Self::Q4_1 => Some(GgmlDType::Q4_1),
            Self::Q5_0 => Some(GgmlDType::Q5_0),
            Self::Q5_1 => Some(GgmlDType::Q5_1),
            Self::Q8_0 => Some(GgmlDType::Q8_0),
            Self::Q4K => Some(GgmlDType::Q4K),
            Self::Q5K => Some(GgmlDType::Q5K),
            Self::Q6K => Some(GgmlDType::Q6K),
            _ => None,
        }
    }

    /// Whether a value takes no less memory than as f32.
    pub const fn is_wide(self) -> bool {
        matches!(self, Self::F64 | Self::F32)
    }

    /// Whether values are codes, which candle's tensors cannot hold.
    pub const fn is_coded(self) -> bool {
        self.dtype().is_none()
    }

    /// Decodes the values of a row from column `first` on, a multiple of the block.
    #[inline(always)]
    pub fn decode<T: Real>(self, row: &[u8], first: usize, out: &mut [T]) {
        let (head, row) = row.split_at(self.head_bytes());
        let (values, bytes) = self.block_and_bytes();
        let from = &row[first / values * bytes..];
        match self {
            Self::F64 => plain(from, out, |b| f64::from_le_bytes(b) as f32),
            Self::F32 => plain(from, out, f32::from_le_bytes),
            Self::F16 => plain(from, out, |b| half_to_f32(u16::from_le_bytes(b))),
            Self::Bf16 => {
                plain(from, out, |b| f32::from_bits(u32::from(u16::from_le_bytes(b)) << 16));
            }
            Self::Q4_0 => blocks::decode(from, out, blocks::q4_0),
            Self::Q4_1 => blocks::decode(from, out, blocks::q4_1),
            Self::Q5_0 => blocks::decode(from, out, blocks::q5_0),
            Self::Q5_1 => blocks::decode(from, out, blocks::q5_1),
            Self::Q8_0 => blocks::decode(from, out, blocks::q8_0),
            Self::Q4K => blocks::decode(from, out, blocks::q4_k),
            Self::Q5K => blocks::decode(from, out, blocks::q5_k),
            Self::Q6K => blocks::decode(from, out, blocks::q6_k),
            Self::Nf4 => blocks::decode(from, out, blocks::nf4),
            Self::Int8 => {
                let scale = head.first_chunk().map_or(0.0, |bytes| f32::from_le_bytes(*bytes));
                plain(from, out, |[code]| scale * f32::from(code.cast_signed()));
            }
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[inline(always)]
fn plain<T: Real, const N: usize>(from: &[u8], out: &mut [T], widen: impl Fn([u8; N]) -> f32) {
    for (to, bytes) in out.iter_mut().zip(from.as_chunks::<N>().0) {
        *to = T::from_f32(widen(*bytes));
    }
}

#[cfg(test)]
mod tests {
    use half::f16;

    use super::*;

    #[test]
    fn a_row_is_decoded_from_the_column_that_is_asked_for() {
        let values = [1.5_f32, -2.0, 0.0, 3.25];
        let rows: [(Format, Vec<u8>); 4] = [
            (Format::F64, values.iter().flat_map(|x| f64::from(*x).to_le_bytes()).collect()),
            (Format::F32, values.iter().flat_map(|x| x.to_le_bytes()).collect()),
            (Format::F16, values.iter().flat_map(|x| f16::from_f32(*x).to_le_bytes()).collect()),
            (
                Format::Bf16,
                values.iter().flat_map(|x| half::bf16::from_f32(*x).to_le_bytes()).collect(),
            ),
        ];
        for (format, row) in rows {
            assert_eq!(row.len(), format.row_bytes(4));
            let mut out = [0.0_f32; 2];
            format.decode(&row, 1, &mut out);
            assert_eq!(out, [-2.0, 0.0], "{format}");
        }
    }
}
