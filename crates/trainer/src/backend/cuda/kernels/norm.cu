// RMS norm, forward and backward: a block goes through a row, a warp through a head. N rows, D
// columns. Each function does one unit of a job: see program.cu.
#pragma once
#include "job.cuh"

// With x += residual first, where there is one:
// inv[n] = 1 / sqrt(mean_d x[n,d]^2 + eps), y[n,d] = x[n,d] inv[n] w[d]
__device__ __forceinline__ void rms_norm(const Job& job, u32 unit, float* parts) {
    const Mat &y = job.m[0], &inv = job.m[1], &x = job.m[2], &w = job.m[3], &residual = job.m[4];
    u32 D = (u32)w.len;
    u64 row = (u64)unit * D;
    float squares = 0;
    for (u32 d = threadIdx.x; d < D; d += blockDim.x) {
        if (residual.len) put(x, row + d, get(x, row + d) + get(residual, row + d));
        float v = get(x, row + d);
        squares += v * v;
    }
    float factor = 1.f / sqrtf(sum_of_block(squares, parts) / D + job.f[0]);
    if (threadIdx.x == 0) put(inv, unit, factor);
    for (u32 d = threadIdx.x; d < D; d += blockDim.x) {
        put(y, row + d, get(x, row + d) * factor * get(w, d));
    }
}

// With g = dy w: dx[n,d] += inv[n] (g[n,d] - x[n,d] inv[n]^2 mean_d(g[n,d] x[n,d]))
__device__ __forceinline__ void rms_norm_backward(const Job& job, u32 unit, float* parts) {
    const Mat &dx = job.m[0], &dy = job.m[1], &x = job.m[2], &inv = job.m[3], &w = job.m[4];
    u32 D = (u32)w.len;
    u64 row = (u64)unit * D;
    float along = 0;
    for (u32 d = threadIdx.x; d < D; d += blockDim.x) {
        along += get(dy, row + d) * get(w, d) * get(x, row + d);
    }
    float factor = get(inv, unit);
    along = sum_of_block(along, parts) * factor * factor / D;
    for (u32 d = threadIdx.x; d < D; d += blockDim.x) {
        float g = get(dy, row + d) * get(w, d);
        put(dx, row + d, get(dx, row + d) + factor * (g - get(x, row + d) * along));
    }
}

// Where a head of the columns col .. col + cols of a matrix begins there, and in one that has these
// columns alone; `inside` is false behind the last head.
struct HeadPlace {
    u64 here, alone;
    bool inside;
};

__device__ __forceinline__ HeadPlace head_place(const Job& job, u32 unit, u32 E) {
    u32 all = job.n[0], col = job.n[1], cols = job.n[2], heads = cols / E;
    u64 index = (u64)unit * (blockDim.x / 32) + threadIdx.x / 32;
    u64 row = index / heads, head = index % heads;
    HeadPlace p = {row * all + col + head * E, row * cols + head * E, row < job.n[3]};
    return p;
}

// The same norm of every head in the columns col .. col + cols of x, in place; a head is as wide as
// w. `saved` [N, cols] is x before.
__device__ __forceinline__ void head_norm(const Job& job, u32 unit) {
    const Mat &x = job.m[0], &saved = job.m[1], &w = job.m[2];
    u32 E = (u32)w.len, lane = threadIdx.x % 32;
    HeadPlace p = head_place(job, unit, E);
    float squares = 0;
    for (u32 e = lane; e < E && p.inside; e += 32) {
        float v = get(x, p.here + e);
        put(saved, p.alone + e, v);
        squares += v * v;
    }
    float factor = 1.f / sqrtf(sum_of_lanes(squares, 32) / E + job.f[0]);
    for (u32 e = lane; e < E && p.inside; e += 32) {
        put(x, p.here + e, get(x, p.here + e) * factor * get(w, e));
    }
}

// The gradient through `head_norm`, in place on dx[:, col .. col + cols]; x is its saved input.
__device__ __forceinline__ void head_norm_backward(const Job& job, u32 unit) {
    const Mat &dx = job.m[0], &x = job.m[1], &w = job.m[2];
    u32 E = (u32)w.len, lane = threadIdx.x % 32;
    HeadPlace p = head_place(job, unit, E);
    float squares = 0, along = 0;
    for (u32 e = lane; e < E && p.inside; e += 32) {
        float v = get(x, p.alone + e);
        squares += v * v;
        along += get(dx, p.here + e) * get(w, e) * v;
    }
    float factor = 1.f / sqrtf(sum_of_lanes(squares, 32) / E + job.f[0]);
    along = sum_of_lanes(along, 32) * factor * factor / E;
    for (u32 e = lane; e < E && p.inside; e += 32) {
        float g = get(dx, p.here + e) * get(w, e);
        put(dx, p.here + e, factor * (g - get(x, p.alone + e) * along));
    }
}
