//! The blocks of the quantised formats, one function each: bytes in, values out.
//!
//! Letters: d scale, m offset, q code. A block is little-endian.

use crate::real::{Real, half_to_f32};

/// The 16 values of NF4: quantiles of the normal distribution, zero among them, scaled to [-1, 1]
/// (Dettmers et al. 2023, arXiv:2305.14314, appendix E).
pub const NF4_LEVELS: [f32; 16] = [
    -1.0,
    -0.696_192_8,
    -0.525_073_05,
    -0.394_917_5,
    -0.284_441_38,
    -0.184_773_43,
    -0.091_050_036,
    0.0,
    0.079_580_3,
    0.160_930_2,
    0.246_112_3,
    0.337_915_24,
    0.440_709_83,
    0.562_617,
    0.722_956_84,
    1.0,
];
/// Values that share a scale in NF4.
pub const NF4_BLOCK: usize = 64;
/// A scale and 4 bits a value.
pub const NF4_BLOCK_BYTES: usize = size_of::<f32>() + NF4_BLOCK / 2;
/// The largest code of int8; the smallest is its negative.
pub const INT8_LEVELS: f32 = 127.0;

/// The two values of every byte of NF4 codes.
static NF4_PAIRS: [[f32; 2]; 256] = {
    let mut pairs = [[0.0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        pairs[byte] = [NF4_LEVELS[byte >> 4], NF4_LEVELS[byte & 15]];
        byte += 1;
    }
    pairs
};

/// Decodes block after block as long as there are values to write.
#[inline(always)]
pub fn decode<T: Real, const BYTES: usize, const VALUES: usize>(
    from: &[u8],
    out: &mut [T],
    block: impl Fn(&[u8; BYTES], &mut [f32; VALUES]),
) {
    let mut values = [0.0; VALUES];
    for (bytes, out) in from.as_chunks::<BYTES>().0.iter().zip(out.chunks_mut(VALUES)) {
        block(bytes, &mut values);
        for (to, value) in out.iter_mut().zip(values) {
            *to = T::from_f32(value);
        }
    }
}

#[inline(always)]
fn half(bytes: &[u8], at: usize) -> f32 {
    half_to_f32(u16::from_le_bytes([bytes[at], bytes[at + 1]]))
}

#[inline(always)]
fn low(byte: u8) -> i32 {
    i32::from(byte & 15)
}

#[inline(always)]
fn high(byte: u8) -> i32 {
    i32::from(byte >> 4)
}

/// d, 16 bytes of codes: the lower halves are the first 16 values. `x = d (q - 8)`.
#[inline(always)]
pub fn q4_0(b: &[u8; 18], out: &mut [f32; 32]) {
    let d = half(b, 0);
    for j in 0..16 {
        let q = b[2 + j];
        out[j] = d * (low(q) - 8) as f32;
        out[16 + j] = d * (high(q) - 8) as f32;
    }
}

/// d, m, 16 bytes of codes. `x = d q + m`.
#[inline(always)]
pub fn q4_1(b: &[u8; 20], out: &mut [f32; 32]) {
    let (d, m) = (half(b, 0), half(b, 2));
    for j in 0..16 {
        let q = b[4 + j];
        out[j] = d * low(q) as f32 + m;
        out[16 + j] = d * high(q) as f32 + m;
    }
}

/// The fifth bits of the values j and 16 + j, in their place.
#[inline(always)]
fn fifth(bits: &[u8], j: usize) -> (i32, i32) {
    let of = |value: usize| i32::from(bits[value / 8] >> (value % 8) & 1) << 4;
    (of(j), of(16 + j))
}

/// d, 4 bytes of fifth bits, 16 bytes of codes. `x = d (q - 16)`.
#[inline(always)]
pub fn q5_0(b: &[u8; 22], out: &mut [f32; 32]) {
    let d = half(b, 0);
    for j in 0..16 {
        let (q, (first, second)) = (b[6 + j], fifth(&b[2..6], j));
        out[j] = d * ((low(q) | first) - 16) as f32;
        out[16 + j] = d * ((high(q) | second) - 16) as f32;
    }
}

/// d, m, 4 bytes of fifth bits, 16 bytes of codes. `x = d q + m`.
#[inline(always)]
pub fn q5_1(b: &[u8; 24], out: &mut [f32; 32]) {
    let (d, m) = (half(b, 0), half(b, 2));
    for j in 0..16 {
        let (q, (first, second)) = (b[8 + j], fifth(&b[4..8], j));
        out[j] = d * (low(q) | first) as f32 + m;
        out[16 + j] = d * (high(q) | second) as f32 + m;
    }
}

/// d, 32 codes with a sign. `x = d q`.
#[inline(always)]
pub fn q8_0(b: &[u8; 34], out: &mut [f32; 32]) {
    let d = half(b, 0);
    for (to, q) in out.iter_mut().zip(&b[2..]) {
        *to = d * f32::from(q.cast_signed());
    }
}

/// Scale and offset of the j-th of eight groups of 32 values, 6 bits each in 12 bytes: those of the
/// last four are spread over the upper bits of the first eight bytes and the last four bytes.
#[inline(always)]
fn scale_and_offset(packed: &[u8], j: usize) -> (f32, f32) {
    let (d, m) = if j < 4 {
        (packed[j] & 63, packed[j + 4] & 63)
    } else {
        (
            (packed[j + 4] & 15) | (packed[j - 4] >> 6 << 4),
            (packed[j + 4] >> 4) | (packed[j] >> 6 << 4),
        )
    };
    (f32::from(d), f32::from(m))
}

/// d, m, 12 bytes of scales and offsets, 128 bytes of codes: the lower halves of 32 bytes are a
/// group, the upper halves the next. `x = d d_j q - m m_j`.
#[inline(always)]
pub fn q4_k(b: &[u8; 144], out: &mut [f32; 256]) {
    let (d, m) = (half(b, 0), half(b, 2));
    for (pair, out) in out.as_chunks_mut::<64>().0.iter_mut().enumerate() {
        let codes = &b[16 + 32 * pair..][..32];
        let (d1, m1) = scale_and_offset(&b[4..16], 2 * pair);
        let (d2, m2) = scale_and_offset(&b[4..16], 2 * pair + 1);
        let (d1, m1, d2, m2) = (d * d1, m * m1, d * d2, m * m2);
        for (l, q) in codes.iter().enumerate() {
            out[l] = d1 * low(*q) as f32 - m1;
            out[32 + l] = d2 * high(*q) as f32 - m2;
        }
    }
}

/// d, m, 12 bytes of scales and offsets, 32 bytes of fifth bits (bit j of byte l is that of value l
/// of group j), 128 bytes of codes as in [`q4_k`].
#[inline(always)]
pub fn q5_k(b: &[u8; 176], out: &mut [f32; 256]) {
    let (d, m) = (half(b, 0), half(b, 2));
    let fifths = &b[16..48];
    for (pair, out) in out.as_chunks_mut::<64>().0.iter_mut().enumerate() {
        let codes = &b[48 + 32 * pair..][..32];
        let (d1, m1) = scale_and_offset(&b[4..16], 2 * pair);
        let (d2, m2) = scale_and_offset(&b[4..16], 2 * pair + 1);
        let (d1, m1, d2, m2) = (d * d1, m * m1, d * d2, m * m2);
        for (l, (q, fifth)) in codes.iter().zip(fifths).enumerate() {
            let fifth = i32::from(*fifth) >> (2 * pair);
            out[l] = d1 * (low(*q) | ((fifth & 1) << 4)) as f32 - m1;
            out[32 + l] = d2 * (high(*q) | ((fifth >> 1 & 1) << 4)) as f32 - m2;
        }
    }
}

/// 128 bytes of the codes' lower 4 bits, 64 bytes of their upper 2, 16 scales with a sign (one for
/// 16 values), d. Each half of the block is four groups of 32 values. `x = d d_j (q - 32)`.
#[inline(always)]
pub fn q6_k(b: &[u8; 210], out: &mut [f32; 256]) {
    let d = half(b, 208);
    for (half, out) in out.as_chunks_mut::<128>().0.iter_mut().enumerate() {
        let lower = &b[64 * half..][..64];
        let upper = &b[128 + 32 * half..][..32];
        let scales = &b[192 + 8 * half..][..8];
        let scale =
            |group: usize, l: usize| d * f32::from(scales[2 * group + l / 16].cast_signed());
        for l in 0..32 {
            let (first, second, two) = (lower[l], lower[32 + l], i32::from(upper[l]));
            let q =
                |lower: i32, group: usize| ((lower | (two >> (2 * group) & 3) << 4) - 32) as f32;
            out[l] = scale(0, l) * q(low(first), 0);
            out[32 + l] = scale(1, l) * q(low(second), 1);
            out[64 + l] = scale(2, l) * q(high(first), 2);
            out[96 + l] = scale(3, l) * q(high(second), 3);
        }
    }
}

/// d as f32, 32 bytes of codes. `x = d level(q)`.
#[inline(always)]
pub fn nf4(b: &[u8; NF4_BLOCK_BYTES], out: &mut [f32; NF4_BLOCK]) {
    let d = f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
    for (to, q) in out.as_chunks_mut::<2>().0.iter_mut().zip(&b[4..]) {
        *to = NF4_PAIRS[usize::from(*q)].map(|level| d * level);
    }
}
