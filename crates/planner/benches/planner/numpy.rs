//! The random numbers of `numpy.random.default_rng`: seeds spread by `SeedSequence` (O'Neill 2015),
//! the generator PCG XSL RR 128/64 (O'Neill 2014), normal numbers by a ziggurat of 256 layers
//! (Marsaglia & Tsang 2000, with 52-bit tables).

use std::sync::LazyLock;

/// PCG's multiplier for 128 bits of state.
const MULTIPLIER: u128 = 0x2360_ed05_1fc6_5da4_4385_df64_9fcc_f645;
/// Where the ziggurat's tail begins, with 256 layers.
const TAIL: f64 = 3.654_152_885_361_009;
/// 2^52.
const SCALE: f64 = 4_503_599_627_370_496.0;

/// A generator as `numpy.random.default_rng(seed)` makes it.
pub struct Generator {
    state: u128,
    increment: u128,
}

impl Generator {
    pub fn new(seed: u64) -> Self {
        let words = spread(seed);
        let join = |high: u64, low: u64| (u128::from(high) << 64) | u128::from(low);
        let increment = (join(words[2], words[3]) << 1) | 1;
        let mut generator = Self { state: 0, increment };
        generator.step();
        generator.state = generator.state.wrapping_add(join(words[0], words[1]));
        generator.step();
        generator
    }

    fn step(&mut self) {
        self.state = self.state.wrapping_mul(MULTIPLIER).wrapping_add(self.increment);
    }

    fn next(&mut self) -> u64 {
        self.step();
        let folded = (self.state >> 64) as u64 ^ self.state as u64;
        folded.rotate_right((self.state >> 122) as u32)
    }

    /// In [0, 1).
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / 9_007_199_254_740_992.0
    }

    pub fn uniform(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    pub fn normal(&mut self, mean: f64, deviation: f64) -> f64 {
        mean + deviation * self.standard_normal()
    }

    fn standard_normal(&mut self) -> f64 {
        let tables = &*TABLES;
        loop {
            let bits = self.next();
            let layer = (bits & 0xff) as usize;
            let bits = bits >> 8;
            let is_negative = bits & 1 == 1;
            let position = (bits >> 1) & 0x000f_ffff_ffff_ffff;
            let size = position as f64 * tables.width[layer];
            let x = if is_negative { -size } else { size };
            if position < tables.inside[layer] {
                return x;
            }
            if layer == 0 {
                loop {
                    let beyond = -(-self.unit()).ln_1p() / TAIL;
                    let height = -(-self.unit()).ln_1p();
                    if height + height > beyond * beyond {
                        let is_negative = (position >> 8) & 1 == 1;
                        return if is_negative { -(TAIL + beyond) } else { TAIL + beyond };
                    }
                }
            }
            let (above, below) = (tables.height[layer - 1], tables.height[layer]);
            if (above - below) * self.unit() + below < (-0.5 * x * x).exp() {
                return x;
            }
        }
    }
}

/// `SeedSequence(seed).generate_state(4, uint64)`.
fn spread(seed: u64) -> [u64; 4] {
    let mut constant = 0x43b0_d7e5_u32;
    let mut hash = |value: u32| {
        let value = value ^ constant;
        constant = constant.wrapping_mul(0x931e_8875);
        let value = value.wrapping_mul(constant);
        value ^ (value >> 16)
    };
    let mut pool = [seed as u32, (seed >> 32) as u32, 0, 0].map(&mut hash);
    for from in 0..4 {
        for to in 0..4 {
            if from != to {
                let hashed = hash(pool[from]);
                let mixed = 0xca01_f9dd_u32
                    .wrapping_mul(pool[to])
                    .wrapping_sub(0x4973_f715_u32.wrapping_mul(hashed));
                pool[to] = mixed ^ (mixed >> 16);
            }
        }
    }
    let mut constant = 0x8b51_f9dd_u32;
    let words: Vec<u64> = (0..8)
        .map(|i| {
            let value = pool[i % 4] ^ constant;
            constant = constant.wrapping_mul(0x58f3_8ded);
            let value = value.wrapping_mul(constant);
            u64::from(value ^ (value >> 16))
        })
        .collect();
    std::array::from_fn(|i| words[2 * i] | (words[2 * i + 1] << 32))
}

/// The ziggurat's layers, the base layer with the tail first.
struct Tables {
    /// Layer's width over 2^52.
    width: [f64; 256],
    /// Positions below this lie under the curve for certain.
    inside: [u64; 256],
    /// The density (1 at 0) at the layer's edge.
    height: [f64; 256],
}

static TABLES: LazyLock<Tables> = LazyLock::new(|| {
    let density = |x: f64| (-0.5 * x * x).exp();
    let tail = (std::f64::consts::PI / 2.0).sqrt() * libm::erfc(TAIL / std::f64::consts::SQRT_2);
    let area = TAIL * density(TAIL) + tail;
    let mut tables = Tables { width: [0.0; 256], inside: [0; 256], height: [0.0; 256] };
    let base = area / density(TAIL);
    tables.width[0] = base / SCALE;
    tables.inside[0] = (TAIL / base * SCALE) as u64;
    tables.height[0] = 1.0;
    tables.width[255] = TAIL / SCALE;
    tables.height[255] = density(TAIL);
    let mut outer = TAIL;
    for layer in (1..255).rev() {
        let inner = (-2.0 * (area / outer + density(outer)).ln()).sqrt();
        tables.inside[layer + 1] = (inner / outer * SCALE) as u64;
        tables.width[layer] = inner / SCALE;
        tables.height[layer] = density(inner);
        outer = inner;
    }
    tables
});
