// y = f(gate) up, forward and backward. N rows; gate_up has 2F columns, gate first.
//
// Both functions are f(x) = x sigmoid(u(x)): u = x for SiLU, and for GELU in its tanh form
// u = sqrt(8/pi) (x + 0.044715 x^3), because (1 + tanh(z)) / 2 = sigmoid(2 z).
#pragma once
#include "job.cuh"

#define GELU_SCALE 1.5957691216057308f
#define GELU_CUBE 0.044715f

__device__ __forceinline__ float sigmoid(float x) { return 1.f / (1.f + expf(-x)); }

__device__ __forceinline__ float inner(float x, u32 gelu) {
    return gelu ? x * (GELU_SCALE + GELU_SCALE * GELU_CUBE * x * x) : x;
}

__device__ __forceinline__ float inner_slope(float x, u32 gelu) {
    return gelu ? GELU_SCALE + 3.f * GELU_SCALE * GELU_CUBE * x * x : 1.f;
}

// y[n,f] = f(gate[n,f]) up[n,f]
__device__ __forceinline__ void glu(const Job& job, u32 unit) {
    const Mat &y = job.m[0], &gate_up = job.m[1];
    u32 F = job.n[0], gelu = job.n[1];
    each(unit, y.len, [&](u64 i) {
        u64 gate = i / F * 2 * F + i % F;
        float g = get(gate_up, gate);
        put(y, i, g * sigmoid(inner(g, gelu)) * get(gate_up, gate + F));
    });
}

// The same, with what the backward pass multiplies written over gate_up: with s = sigmoid(u(gate))
// the factors of dy in dgate, up s (1 + gate (1 - s) u'(gate)), and in dup, gate s.
__device__ __forceinline__ void glu_with_slopes(const Job& job, u32 unit) {
    const Mat &y = job.m[0], &gate_up = job.m[1];
    u32 F = job.n[0], gelu = job.n[1];
    each(unit, y.len, [&](u64 i) {
        u64 gate = i / F * 2 * F + i % F;
        float g = get(gate_up, gate), up = get(gate_up, gate + F);
        float s = sigmoid(inner(g, gelu)), value = g * s;
        put(y, i, value * up);
        put(gate_up, gate, (s + value * (1.f - s) * inner_slope(g, gelu)) * up);
        put(gate_up, gate + F, value);
    });
}

// [dgate | dup] = [dy | dy] slopes, written over the slopes
__device__ __forceinline__ void glu_backward(const Job& job, u32 unit) {
    const Mat &slopes = job.m[0], &dy = job.m[1];
    u32 F = job.n[0];
    each(unit, slopes.len, [&](u64 i) {
        put(slopes, i, get(slopes, i) * get(dy, i / (2 * F) * F + i % F));
    });
}
