// AdamW over one slot's values (Loshchilov & Hutter 2019, arXiv:1711.05101, algorithm 2, with the
// bias corrections placed as in PyTorch), and the norm of its gradient.
#include "common.cuh"

// Values that one block of `sums_of_squares` adds up.
#define SQUARES 4096

// Sums of x^2 over every SQUARES values, in double precision and in a fixed order.
KERNEL sums_of_squares(u64 sums, u64 blocks, Mat x) {
    __shared__ double parts[256];
    u64 begin = (u64)blockIdx.x * SQUARES;
    double sum = 0;
    for (u64 i = begin + threadIdx.x; i < begin + SQUARES && i < x.len; i += blockDim.x) {
        double v = get(x, i);
        sum += v * v;
    }
    parts[threadIdx.x] = sum;
    BARRIER();
    for (u32 half = blockDim.x / 2; half; half /= 2) {
        if (threadIdx.x < half) parts[threadIdx.x] += parts[threadIdx.x + half];
        BARRIER();
    }
    CHECK(blockIdx.x < blocks);
    if (threadIdx.x == 0) ((double*)sums)[blockIdx.x] = parts[0];
}
REGISTER(sums_of_squares)

struct Adam {
    float b1, b2, c1, c2, decay, rate, inverse_root, eps, scale;
};

// With g the scaled gradient: m = b1 m + c1 g, v = b2 v + c2 g^2,
// p = p (1 - f decay) - f rate m / (sqrt(v) inverse_root + eps), with f the value's factor where
// there are factors. Zeroes the gradient.
KERNEL adamw(Mat p, Mat grad, Mat m, Mat v, Mat factors, Adam s) {
    for (u64 i = first_element(); i < p.len; i += all_threads()) {
        float g = get(grad, i) * s.scale;
        float first = s.b1 * get(m, i) + s.c1 * g, second = s.b2 * get(v, i) + s.c2 * g * g;
        float factor = factors.len ? get(factors, i) : 1.f;
        float step = s.rate * first / (sqrtf(second) * s.inverse_root + s.eps);
        put(m, i, first);
        put(v, i, second);
        put(p, i, get(p, i) * (1.f - factor * s.decay) - factor * step);
        put(grad, i, 0.f);
    }
}
REGISTER_WITHOUT_BARRIERS(adamw)
