// Matrices as they are stored become values: plain formats, ggml's blocks, NF4 and int8
// (model/format.rs, model/format/blocks.rs). One thread a value. d scale, m offset, q code.
#include "common.cuh"

__device__ __forceinline__ u32 u16_at(const Bytes& b, u64 i) { return byte_at(b, i) | byte_at(b, i + 1) << 8; }
__device__ __forceinline__ u32 u32_at(const Bytes& b, u64 i) { return u16_at(b, i) | u16_at(b, i + 2) << 16; }
__device__ __forceinline__ float f32_at(const Bytes& b, u64 i) { return FLOAT_OF(u32_at(b, i)); }
__device__ __forceinline__ int signed_at(const Bytes& b, u64 i) { return (int)(signed char)byte_at(b, i); }

// Exponent and mantissa at their places in an f32 are too small by 2^112, exactly; an exponent of
// ones stays one.
__device__ __forceinline__ float f16_at(const Bytes& b, u64 i) {
    u32 bits = u16_at(b, i), magnitude = (bits & 0x7fff) << 13;
    u32 scaled = BITS_OF(FLOAT_OF(magnitude) * FLOAT_OF((127u + 112u) << 23));
    if (magnitude >= 0x1fu << 23) scaled |= 0xffu << 23;
    return FLOAT_OF(scaled | (bits & 0x8000) << 16);
}

__device__ __forceinline__ u32 nibble(u32 byte, bool upper) { return upper ? byte >> 4 : byte & 15; }

// Scale and offset of the j-th of eight groups of 32 values: 6 bits each in 12 bytes.
__device__ __forceinline__ void scale_and_offset(const Bytes& b, u64 at, u32 j, float& d, float& m) {
    if (j < 4) {
        d = byte_at(b, at + j) & 63;
        m = byte_at(b, at + j + 4) & 63;
    } else {
        d = (byte_at(b, at + j + 4) & 15) | byte_at(b, at + j - 4) >> 6 << 4;
        m = byte_at(b, at + j + 4) >> 4 | byte_at(b, at + j) >> 6 << 4;
    }
}

__device__ __forceinline__ float nf4_level(u32 q) {
    switch (q) {
        case 0: return -1.f;
        case 1: return -0.6961928f;
        case 2: return -0.52507305f;
        case 3: return -0.3949175f;
        case 4: return -0.28444138f;
        case 5: return -0.18477343f;
        case 6: return -0.091050036f;
        case 7: return 0.f;
        case 8: return 0.0795803f;
        case 9: return 0.1609302f;
        case 10: return 0.2461123f;
        case 11: return 0.33791524f;
        case 12: return 0.44070983f;
        case 13: return 0.562617f;
        case 14: return 0.72295684f;
        default: return 1.f;
    }
}

// Value i of a block of ggml's 4 and 5 bit formats: with or without offset m and fifth bits.
__device__ __forceinline__ float small_block(const Bytes& b, u64 at, u32 i, bool has_offset, bool has_fifth) {
    float d = f16_at(b, at);
    u64 fifths = at + (has_offset ? 4 : 2), codes = fifths + (has_fifth ? 4 : 0);
    int q = nibble(byte_at(b, codes + i % 16), i >= 16);
    if (has_fifth) q |= (byte_at(b, fifths + i / 8) >> (i % 8) & 1) << 4;
    if (has_offset) return d * q + f16_at(b, at + 2);
    return d * (q - (has_fifth ? 16 : 8));
}

__device__ __forceinline__ float q4_5_k(const Bytes& b, u64 at, u32 i, bool has_fifth) {
    float d = f16_at(b, at), m = f16_at(b, at + 2), dj, mj;
    u32 group = i / 32, l = i % 32;
    scale_and_offset(b, at + 4, group, dj, mj);
    u64 codes = at + (has_fifth ? 48 : 16);
    u32 q = nibble(byte_at(b, codes + group / 2 * 32 + l), group % 2);
    if (has_fifth) q |= (byte_at(b, at + 16 + l) >> group & 1) << 4;
    return d * dj * q - m * mj;
}

__device__ __forceinline__ float q6_k(const Bytes& b, u64 at, u32 i) {
    u32 half = i / 128, group = i % 128 / 32, l = i % 32;
    u32 lower = nibble(byte_at(b, at + 64 * half + 32 * (group % 2) + l), group >= 2);
    u32 upper = byte_at(b, at + 128 + 32 * half + l) >> (2 * group) & 3;
    float d = f16_at(b, at + 208) * signed_at(b, at + 192 + 8 * half + 2 * group + l / 16);
    return d * ((int)(lower | upper << 4) - 32);
}

// The formats in the order of `Format` in model/format.rs.
enum { F64, F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4K, Q5K, Q6K, NF4, INT8 };

__device__ float decoded(const Bytes& b, u64 row, u32 i, u32 format) {
    switch (format) {
        case F64: return (float)DOUBLE_OF((u64)u32_at(b, row + 8 * (u64)i) | (u64)u32_at(b, row + 8 * (u64)i + 4) << 32);
        case F32: return f32_at(b, row + 4 * (u64)i);
        case F16: return f16_at(b, row + 2 * (u64)i);
        case BF16: return FLOAT_OF(u16_at(b, row + 2 * (u64)i) << 16);
        case Q4_0: return small_block(b, row + i / 32 * 18, i % 32, false, false);
        case Q4_1: return small_block(b, row + i / 32 * 20, i % 32, true, false);
        case Q5_0: return small_block(b, row + i / 32 * 22, i % 32, false, true);
        case Q5_1: return small_block(b, row + i / 32 * 24, i % 32, true, true);
        case Q8_0: return f16_at(b, row + i / 32 * 34) * signed_at(b, row + i / 32 * 34 + 2 + i % 32);
        case Q4K: return q4_5_k(b, row + i / 256 * 144, i % 256, false);
        case Q5K: return q4_5_k(b, row + i / 256 * 176, i % 256, true);
        case Q6K: return q6_k(b, row + i / 256 * 210, i % 256);
        case NF4: {
            u64 block = row + i / 64 * 36;
            return f32_at(b, block) * nf4_level(nibble(byte_at(b, block + 4 + i % 64 / 2), i % 2 == 0));
        }
        default: return f32_at(b, row) * signed_at(b, row + 4 + i);
    }
}

// Rows first .. first + rows of a matrix, of which `bytes` has those from `begin` on, into y from its
// value `to` on. `head`: llama.cpp's order of the rows of a head of so many (RowOrder); 0: as they are.
KERNEL decode(Mat y, Bytes bytes, u64 to, u64 values, u32 cols, u32 row_bytes, u32 format, u32 head) {
    for (u64 i = first_element(); i < values; i += all_threads()) {
        u64 row = i / cols;
        if (head) {
            u64 within = row % head;
            row = row - within + 2 * (within % (head / 2)) + within / (head / 2);
        }
        put(y, to + i, decoded(bytes, row * row_bytes, (u32)(i % cols), format));
    }
}
REGISTER_WITHOUT_BARRIERS(decode)
