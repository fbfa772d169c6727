//! Number formats of frozen matrices, and how their bytes become values.
//!
//! A row is a sequence of blocks; in the plain formats a block is one value. Widening a plain
//! format to f32 is exact (f64 apart, which is rounded).

use std::fmt;

use candle_core::DType;

use crate::backend::cpu::Real;

/// How a matrix is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// IEEE double precision.
    F64,
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of an [`Format::F32`].
    Bf16,
}

impl Format {
    /// Its name in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F64 => "f64",
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
        }
    }

    /// Values of a block.
    pub const fn block(self) -> usize {
        match self {
            Self::F64 | Self::F32 | Self::F16 | Self::Bf16 => 1,
        }
    }

    /// Bytes of a row of so many values, a multiple of [`Format::block`].
    pub const fn row_bytes(self, cols: usize) -> usize {
        match self {
            Self::F64 => 8 * cols,
            Self::F32 => 4 * cols,
            Self::F16 | Self::Bf16 => 2 * cols,
        }
    }

    /// The same format among candle's, if it has it.
    pub const fn dtype(self) -> Option<DType> {
        match self {
            Self::F64 => Some(DType::F64),
            Self::F32 => Some(DType::F32),
            Self::F16 => Some(DType::F16),
            Self::Bf16 => Some(DType::BF16),
        }
    }

    /// Whether a value takes no less memory than as f32.
    pub const fn is_wide(self) -> bool {
        matches!(self, Self::F64 | Self::F32)
    }

    /// Decodes the values of a row from column `first` on, a multiple of the block.
    #[inline(always)]
    pub fn decode<T: Real>(self, row: &[u8], first: usize, out: &mut [T]) {
        let from = &row[self.row_bytes(first)..];
        match self {
            Self::F64 => plain(from, out, |b| f64::from_le_bytes(b) as f32),
            Self::F32 => plain(from, out, f32::from_le_bytes),
            Self::F16 => plain(from, out, |b| half_to_f32(u16::from_le_bytes(b))),
            Self::Bf16 => {
                plain(from, out, |b| f32::from_bits(u32::from(u16::from_le_bytes(b)) << 16));
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

/// Widens an f16, exactly and without branches, so that loops over it vectorise.
///
/// Exponent and mantissa moved to their places in an f32 are a number that is too small by the
/// difference of the exponents' biases, 127 - 15: the product with 2^112 is exact for subnormal
/// numbers as well. An exponent of ones (infinity, not-a-number) stays one.
#[inline(always)]
pub fn half_to_f32(bits: u16) -> f32 {
    const SCALE: f32 = f32::from_bits((127 + 112) << 23);
    let bits = u32::from(bits);
    let (sign, magnitude) = ((bits & 0x8000) << 16, (bits & 0x7fff) << 13);
    let scaled = (f32::from_bits(magnitude) * SCALE).to_bits();
    let special = if magnitude >= 0x1f << 23 { 0xff << 23 } else { 0 };
    f32::from_bits(sign | scaled | special)
}

#[cfg(test)]
mod tests {
    use half::f16;

    use super::*;

    #[test]
    fn every_f16_is_widened_exactly() {
        for bits in 0..=u16::MAX {
            let (ours, exact) = (half_to_f32(bits), f16::from_bits(bits).to_f32());
            let same = ours.to_bits() == exact.to_bits() || (ours.is_nan() && exact.is_nan());
            assert!(same, "{bits:#x}: {ours} instead of {exact}");
        }
    }

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
