//! The number types that are computed with on a processor: `f32` for training, `f64` for checking
//! gradients.

use std::fmt::Debug;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Div, Mul, MulAssign, Neg, Sub, SubAssign};
use std::sync::LazyLock;

use faer::traits::RealField;

/// A floating-point number the kernels compute with.
pub trait Real:
    RealField
    + Copy
    + Default
    + Debug
    + PartialOrd
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + SubAssign
    + MulAssign
    + Sum
    + bytemuck::Zeroable
    + 'static
{
    /// Rounds from double precision.
    fn from_f64(x: f64) -> Self;
    /// Takes over a number of single precision.
    fn from_f32(x: f32) -> Self;
    /// Widens to double precision.
    fn to_f64(self) -> f64;
    /// `e^x`; not-a-number for an argument that is not finite, so that a broken logit is seen.
    #[must_use]
    fn exp(self) -> Self;
    /// Hyperbolic tangent; not-a-number for an argument that is not finite.
    #[must_use]
    fn tanh(self) -> Self;
    /// Square root.
    #[must_use]
    fn root(self) -> Self;
    /// The larger of two numbers.
    #[must_use]
    fn larger(self, other: Self) -> Self;
}

impl Real for f32 {
    #[inline(always)]
    fn from_f64(x: f64) -> Self {
        x as Self
    }

    #[inline(always)]
    fn from_f32(x: f32) -> Self {
        x
    }

    #[inline(always)]
    fn to_f64(self) -> f64 {
        f64::from(self)
    }

    /// Branch-free so that loops over it vectorise; relative error below 3e-7.
    ///
    /// `x = n ln 2 + r` with `|r| <= ln 2 / 2`; `e^r` by its Taylor polynomial of degree 7, whose
    /// remainder is below 6e-9, times `2^n` put together from bits.
    #[inline(always)]
    fn exp(self) -> Self {
        const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23: adding it rounds to an integer
        const LN2_HI: f32 = 0.693_359_4; // few bits, so that n * LN2_HI is exact
        const LN2_LO: f32 = -2.121_944_4e-4;
        let x = self.clamp(-87.0, 88.0);
        let shifted = x.mul_add(std::f32::consts::LOG2_E, ROUND);
        let n = shifted - ROUND;
        let r = n.mul_add(-LN2_LO, n.mul_add(-LN2_HI, x));
        let p = (1.0 / 5040.0_f32).mul_add(r, 1.0 / 720.0);
        let p = p.mul_add(r, 1.0 / 120.0);
        let p = p.mul_add(r, 1.0 / 24.0);
        let p = p.mul_add(r, 1.0 / 6.0);
        let p = p.mul_add(r, 0.5);
        let p = p.mul_add(r, 1.0);
        let p = p.mul_add(r, 1.0);
        // The low bits of `shifted` are n: as an exponent they are 2^n.
        let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23));
        // The clamp hides what is not finite; infinity and NaN times zero are NaN again.
        p.mul_add(power, self * 0.0)
    }

    /// Branch-free; relative error below 5e-7.
    ///
    /// `tanh x = 1 - 2 / (e^(2x) + 1)`, which cancels near zero: there the Taylor polynomial of
    /// degree 11, whose remainder at 1/4 is below 1e-9 of the value.
    #[inline(always)]
    fn tanh(self) -> Self {
        let far = 1.0 - 2.0 / (Real::exp(2.0 * self) + 1.0);
        let squared = self * self;
        let p = -1382.0 / 155_925.0;
        let p = p * squared + 62.0 / 2835.0;
        let p = p * squared - 17.0 / 315.0;
        let p = p * squared + 2.0 / 15.0;
        let p = p * squared - 1.0 / 3.0;
        let near = self + self * squared * p;
        if self.abs() < 0.25 { near } else { far }
    }

    #[inline(always)]
    fn root(self) -> Self {
        self.sqrt()
    }

    #[inline(always)]
    fn larger(self, other: Self) -> Self {
        if other > self { other } else { self }
    }
}

impl Real for f64 {
    #[inline(always)]
    fn from_f64(x: f64) -> Self {
        x
    }

    #[inline(always)]
    fn from_f32(x: f32) -> Self {
        x.into()
    }

    #[inline(always)]
    fn to_f64(self) -> f64 {
        self
    }

    #[inline(always)]
    fn exp(self) -> Self {
        Self::exp(self) + self * 0.0
    }

    #[inline(always)]
    fn tanh(self) -> Self {
        Self::tanh(self) + self * 0.0
    }

    #[inline(always)]
    fn root(self) -> Self {
        self.sqrt()
    }

    #[inline(always)]
    fn larger(self, other: Self) -> Self {
        if other > self { other } else { self }
    }
}

static ARCH: LazyLock<pulp::Arch> = LazyLock::new(pulp::Arch::new);

/// Runs a loop compiled for the best instruction set of this processor. Without it the loops are
/// compiled for the oldest x86-64 and run 2.6 to 4 times slower.
#[inline(always)]
pub fn simd<R>(work: impl FnOnce() -> R) -> R {
    ARCH.dispatch(work)
}

/// The instruction set that [`simd`] chose for this processor.
pub fn instruction_set() -> &'static str {
    match *ARCH {
        pulp::Arch::Scalar if cfg!(target_arch = "x86_64") => "SSE2",
        #[cfg(target_arch = "x86_64")]
        pulp::Arch::V3(_) => "AVX2 and FMA",
        #[cfg(target_arch = "aarch64")]
        pulp::Arch::Neon(_) => "NEON",
        _ if cfg!(target_arch = "x86_64") => "AVX-512",
        _ => "the compiler's default",
    }
}

/// Rows a parallel task should take: enough work to be worth handing over, and about two tasks a
/// thread.
pub fn rows_per_task(rows: usize, cols: usize) -> usize {
    const WORTH: usize = 8 * 1024;
    let fair = rows.div_ceil(2 * rayon::current_num_threads());
    fair.max(WORTH.div_ceil(cols.max(1))).max(1)
}

/// Sum of products. Sixteen accumulators, so that the loop vectorises although addition of floats
/// is not associative; the result does not depend on the instruction set's width.
#[inline(always)]
pub fn dot<T: Real>(a: &[T], b: &[T]) -> T {
    const LANES: usize = 16;
    let mut sums = [T::default(); LANES];
    let (head_a, tail_a) = a.as_chunks::<LANES>();
    let (head_b, tail_b) = b.as_chunks::<LANES>();
    for (x, y) in head_a.iter().zip(head_b) {
        for lane in 0..LANES {
            sums[lane] += x[lane] * y[lane];
        }
    }
    let tail: T = tail_a.iter().zip(tail_b).map(|(x, y)| *x * *y).sum();
    sums.into_iter().sum::<T>() + tail
}

/// Sum with sixteen accumulators, so that it vectorises.
#[inline(always)]
pub fn sum<T: Real>(x: &[T]) -> T {
    let mut sums = [T::default(); 16];
    let (head, tail) = x.as_chunks::<16>();
    for chunk in head {
        for (sum, x) in sums.iter_mut().zip(chunk) {
            *sum += *x;
        }
    }
    sums.into_iter().chain(tail.iter().copied()).sum()
}

/// The largest of some numbers, of which there is one; in sixteen lanes, as [`sum`].
#[inline(always)]
pub fn largest<T: Real>(x: &[T]) -> T {
    let mut largest = [x[0]; 16];
    let (head, tail) = x.as_chunks::<16>();
    for chunk in head {
        for (largest, x) in largest.iter_mut().zip(chunk) {
            *largest = largest.larger(*x);
        }
    }
    largest.into_iter().chain(tail.iter().copied()).fold(x[0], Real::larger)
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
    fn the_fast_exponential_stays_within_three_ulps_of_the_exact_one() {
        for i in -86_000..88_000 {
            let x = i as f32 * 1e-3;
            let exact = f64::from(x).exp();
            let relative = (f64::from(Real::exp(x)) - exact).abs() / exact;
            assert!(relative < 3e-7, "exp({x}) is off by {relative}");
        }
    }

    #[test]
    fn the_exponential_of_a_non_finite_number_is_not_a_number() {
        for x in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert!(Real::exp(x).is_nan());
        }
    }

    #[test]
    fn the_fast_tangent_is_exact_to_single_precision_and_passes_on_what_is_not_finite() {
        for i in -40_000..40_000 {
            let x = i as f32 * 5e-4;
            let exact = f64::from(x).tanh();
            let off = (f64::from(Real::tanh(x)) - exact).abs();
            assert!(off <= 5e-7 * exact.abs(), "tanh({x}) is off by {off}");
        }
        for x in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert!(Real::tanh(x).is_nan());
        }
    }

    #[test]
    fn far_below_zero_the_exponential_is_almost_nothing() {
        assert!(Real::exp(-1e30_f32) < 1e-37);
    }
}
