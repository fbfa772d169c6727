// Rotary position embedding in Llama's half-split form. E head size, P columns of it rotated.
#include "common.cuh"

// For each pair (a, b) = (x[i], x[i + P/2]) of the first `heads` heads of a row:
// a' = a cos - b sin, b' = b cos + a sin. The inverse has -sin (`sign` is -1). Row `places[n]` of
// `angles` has P/2 cosines, then P/2 sines.
KERNEL rope(Mat qkv, Mat angles, Ints places, u32 cols, u32 heads, u32 E, u32 half, float sign) {
    u64 pairs = (u64)heads * half;
    for (u64 i = first_element(); i < places.len * pairs; i += all_threads()) {
        u64 row = i / pairs, head = i % pairs / half, pair = i % half;
        u64 angle = (u64)at(places, row) * 2 * half + pair;
        float cosine = get(angles, angle), sine = sign * get(angles, angle + half);
        u64 first = row * cols + head * E + pair;
        float a = get(qkv, first), b = get(qkv, first + half);
        put(qkv, first, a * cosine - b * sine);
        put(qkv, first + half, b * cosine + a * sine);
    }
}
REGISTER_WITHOUT_BARRIERS(rope)
