// Rotary position embedding in Llama's half-split form. E head size, P columns of it rotated.
#pragma once
#include "job.cuh"

// For each pair (a, b) = (x[i], x[i + P/2]) of the first `heads` heads of a row:
// a' = a cos - b sin, b' = b cos + a sin. The inverse has -sin (`sign` is -1). Row `places[n]` of
// `angles` has P/2 cosines, then P/2 sines.
__device__ __forceinline__ void rope(const Job& job, u32 unit) {
    const Mat &qkv = job.m[0], &angles = job.m[1];
    u32 cols = job.n[0], heads = job.n[1], E = job.n[2], half = job.n[3];
    u64 pairs = (u64)heads * half;
    each(unit, job.ints.len * pairs, [&](u64 i) {
        u64 row = i / pairs, head = i % pairs / half, pair = i % half;
        u64 angle = (u64)at(job.ints, row) * 2 * half + pair;
        float cosine = get(angles, angle), sine = job.f[0] * get(angles, angle + half);
        u64 first = row * cols + head * E + pair;
        float a = get(qkv, first), b = get(qkv, first + half);
        put(qkv, first, a * cosine - b * sine);
        put(qkv, first + half, b * cosine + a * sine);
    });
}
