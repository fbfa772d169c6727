// y = f(gate) up, forward and backward. N rows; gate_up has 2F columns, gate first.
//
// Both functions are f(x) = x sigmoid(u(x)): u = x for SiLU, and for GELU in its tanh form
// u = sqrt(8/pi) (x + 0.044715 x^3), because (1 + tanh(z)) / 2 = sigmoid(2 z).
#include "common.cuh"

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
KERNEL glu(Mat y, Mat gate_up, u32 F, u32 gelu) {
    for (u64 i = first_element(); i < y.len; i += all_threads()) {
        u64 gate = i / F * 2 * F + i % F;
        float g = get(gate_up, gate);
        put(y, i, g * sigmoid(inner(g, gelu)) * get(gate_up, gate + F));
    }
}
REGISTER_WITHOUT_BARRIERS(glu)

// The same, with what the backward pass multiplies written over gate_up: with s = sigmoid(u(gate))
// the factors of dy in dgate, up s (1 + gate (1 - s) u'(gate)), and in dup, gate s.
KERNEL glu_with_slopes(Mat y, Mat gate_up, u32 F, u32 gelu) {
    for (u64 i = first_element(); i < y.len; i += all_threads()) {
        u64 gate = i / F * 2 * F + i % F;
        float g = get(gate_up, gate), up = get(gate_up, gate + F);
        float s = sigmoid(inner(g, gelu)), value = g * s;
        put(y, i, value * up);
        put(gate_up, gate, (s + value * (1.f - s) * inner_slope(g, gelu)) * up);
        put(gate_up, gate + F, value);
    }
}
REGISTER_WITHOUT_BARRIERS(glu_with_slopes)

// [dgate | dup] = [dy | dy] slopes, written over the slopes
KERNEL glu_backward(Mat slopes, Mat dy, u32 F) {
    for (u64 i = first_element(); i < slopes.len; i += all_threads()) {
        put(slopes, i, get(slopes, i) * get(dy, i / (2 * F) * F + i % F));
    }
}
REGISTER_WITHOUT_BARRIERS(glu_backward)
