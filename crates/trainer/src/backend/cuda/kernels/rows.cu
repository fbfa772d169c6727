// Rows of matrices: looked up, picked, put back, added, converted. N rows, D columns. Each function
// does one unit of a job: see program.cu.
#pragma once
#include "job.cuh"

// y[n,d] = scale table[ids[n],d]
__device__ __forceinline__ void embed(const Job& job, u32 unit) {
    const Mat &y = job.m[0], &table = job.m[1];
    u32 cols = job.n[0];
    each(unit, y.len, [&](u64 i) {
        put(y, i, job.f[0] * get(table, (u64)at(job.ints, i / cols) * cols + i % cols));
    });
}

// y[n,d] = x[rows[n],d]
__device__ __forceinline__ void pick_rows(const Job& job, u32 unit) {
    const Mat &y = job.m[0], &x = job.m[1];
    u32 cols = job.n[0];
    each(unit, y.len, [&](u64 i) {
        put(y, i, get(x, (u64)at(job.ints, i / cols) * cols + i % cols));
    });
}

// y[rows[n],d] = x[n,d]
__device__ __forceinline__ void place_rows(const Job& job, u32 unit) {
    const Mat &y = job.m[0], &x = job.m[1];
    u32 cols = job.n[0];
    each(unit, x.len, [&](u64 i) {
        put(y, (u64)at(job.ints, i / cols) * cols + i % cols, get(x, i));
    });
}

// x += y
__device__ __forceinline__ void add(const Job& job, u32 unit) {
    const Mat &x = job.m[0], &y = job.m[1];
    each(unit, x.len, [&](u64 i) { put(x, i, get(x, i) + get(y, i)); });
}

// y = x + offset, in y's format
__device__ __forceinline__ void convert(const Job& job, u32 unit) {
    const Mat &y = job.m[0], &x = job.m[1];
    each(unit, y.len, [&](u64 i) { put(y, i, get(x, i) + job.f[0]); });
}

// y[n,o] += b[o]
__device__ __forceinline__ void add_bias(const Job& job, u32 unit) {
    const Mat &y = job.m[0], &b = job.m[1];
    each(unit, y.len, [&](u64 i) { put(y, i, get(y, i) + get(b, i % b.len)); });
}

// x = c tanh(x / c)
__device__ __forceinline__ void soft_cap(const Job& job, u32 unit) {
    const Mat& x = job.m[0];
    float c = job.f[0];
    each(unit, x.len, [&](u64 i) { put(x, i, c * tanhf(get(x, i) / c)); });
}

// x = 0
__device__ __forceinline__ void zero(const Job& job, u32 unit) {
    each(unit, job.m[0].len, [&](u64 i) { put(job.m[0], i, 0.f); });
}
