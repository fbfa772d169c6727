// AdamW over the values of all slots (Loshchilov & Hutter 2019, arXiv:1711.05101, algorithm 2, with
// the bias corrections placed as in PyTorch), and the norms of their gradients. A block goes through
// SHARE values of one slot.
#include "common.cuh"

#define SHARE 4096
#define MOST_VECTORS 256

// The vectors of a launch: each one's values, how many they are, and the blocks of those before it.
struct Vector {
    u64 p, len;
    u32 before, pad;
};

struct Vectors {
    u32 count, pad;
    Vector of[MOST_VECTORS];
};

// The vector of a block: the last with no more blocks before it.
template <class T> __device__ __forceinline__ const T& of_block(const T* all, u32 count) {
    u32 low = 0, high = count;
    while (high - low > 1) {
        u32 middle = (low + high) / 2;
        if (all[middle].before <= blockIdx.x) low = middle;
        else high = middle;
    }
    return all[low];
}

// Sums of x^2 over every SHARE values, in double precision and in a fixed order.
KERNEL sums_of_squares(u64 sums, u64 blocks, IN_PLACE(Vectors) all) {
    __shared__ double parts[256];
    const Vector& v = of_block(all.of, all.count);
    Mat x = {(void*)v.p, v.len, 0};
    u64 begin = (u64)(blockIdx.x - v.before) * SHARE;
    double sum = 0;
    for (u64 i = begin + threadIdx.x; i < begin + SHARE && i < x.len; i += blockDim.x) {
        double value = get(x, i);
        sum += value * value;
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

struct Update {
    u64 p, grad, m, v, factors;  // no factors: 0
    u64 len;
    u32 before;
    float b1, b2, c1, c2, decay, rate, inverse_root, eps, scale;
};

struct Updates {
    u32 count, pad;
    Update of[MOST_VECTORS];
};

// With g the scaled gradient: m = b1 m + c1 g, v = b2 v + c2 g^2,
// p = p (1 - f decay) - f rate m / (sqrt(v) inverse_root + eps), with f the value's factor where
// there are factors. Zeroes the gradient.
KERNEL adamw(IN_PLACE(Updates) all) {
    const Update& s = of_block(all.of, all.count);
    Mat p = {(void*)s.p, s.len, 0}, grad = {(void*)s.grad, s.len, 0};
    Mat m = {(void*)s.m, s.len, 0}, v = {(void*)s.v, s.len, 0}, factors = {(void*)s.factors, s.len, 0};
    u64 begin = (u64)(blockIdx.x - s.before) * SHARE;
    for (u64 i = begin + threadIdx.x; i < begin + SHARE && i < s.len; i += blockDim.x) {
        float g = get(grad, i) * s.scale;
        float first = s.b1 * get(m, i) + s.c1 * g, second = s.b2 * get(v, i) + s.c2 * g * g;
        float factor = s.factors ? get(factors, i) : 1.f;
        float step = s.rate * first / (sqrtf(second) * s.inverse_root + s.eps);
        put(m, i, first);
        put(v, i, second);
        put(p, i, get(p, i) * (1.f - factor * s.decay) - factor * step);
        put(grad, i, 0.f);
    }
}
REGISTER_WITHOUT_BARRIERS(adamw)
