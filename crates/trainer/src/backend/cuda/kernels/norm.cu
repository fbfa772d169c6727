// RMS norm, forward and backward, one block a row or a head. N rows, D columns.
#include "common.cuh"

// inv[n] = 1 / sqrt(mean_d x[n,d]^2 + eps), y[n,d] = x[n,d] inv[n] w[d]
KERNEL rms_norm(Mat y, Mat inv, Mat x, Mat w, float eps) {
    __shared__ float parts[32];
    u32 D = (u32)w.len;
    u64 row = (u64)blockIdx.x * D;
    float squares = 0;
    for (u32 d = threadIdx.x; d < D; d += blockDim.x) {
        float v = get(x, row + d);
        squares += v * v;
    }
    float factor = 1.f / sqrtf(sum_of_block(squares, parts) / D + eps);
    if (threadIdx.x == 0) put(inv, blockIdx.x, factor);
    for (u32 d = threadIdx.x; d < D; d += blockDim.x) {
        put(y, row + d, get(x, row + d) * factor * get(w, d));
    }
}
REGISTER(rms_norm)

// With g = dy w: dx[n,d] += inv[n] (g[n,d] - x[n,d] inv[n]^2 mean_d(g[n,d] x[n,d]))
KERNEL rms_norm_backward(Mat dx, Mat dy, Mat x, Mat inv, Mat w) {
    __shared__ float parts[32];
    u32 D = (u32)w.len;
    u64 row = (u64)blockIdx.x * D;
    float along = 0;
    for (u32 d = threadIdx.x; d < D; d += blockDim.x) {
        along += get(dy, row + d) * get(w, d) * get(x, row + d);
    }
    float factor = get(inv, blockIdx.x);
    along = sum_of_block(along, parts) * factor * factor / D;
    for (u32 d = threadIdx.x; d < D; d += blockDim.x) {
        float g = get(dy, row + d) * get(w, d);
        put(dx, row + d, get(dx, row + d) + factor * (g - get(x, row + d) * along));
    }
}
REGISTER(rms_norm_backward)

// The same norm of every head in the columns col .. col + cols of x, in place; a head is as wide as
// w. `saved` [N, cols] is x before.
KERNEL head_norm(Mat x, Mat saved, Mat w, u32 all, u32 col, u32 cols, float eps) {
    __shared__ float parts[32];
    u32 E = (u32)w.len, heads = cols / E;
    u64 row = blockIdx.x / heads, head = blockIdx.x % heads;
    u64 from = row * all + col + head * E, to = row * cols + head * E;
    float squares = 0;
    for (u32 e = threadIdx.x; e < E; e += blockDim.x) {
        float v = get(x, from + e);
        put(saved, to + e, v);
        squares += v * v;
    }
    float factor = 1.f / sqrtf(sum_of_block(squares, parts) / E + eps);
    for (u32 e = threadIdx.x; e < E; e += blockDim.x) {
        put(x, from + e, get(x, from + e) * factor * get(w, e));
    }
}
REGISTER(head_norm)

// The gradient through `head_norm`, in place on dx[:, col .. col + cols]; x is its saved input.
KERNEL head_norm_backward(Mat dx, Mat x, Mat w, u32 all, u32 col, u32 cols, float eps) {
    __shared__ float parts[32];
    u32 E = (u32)w.len, heads = cols / E;
    u64 row = blockIdx.x / heads, head = blockIdx.x % heads;
    u64 to = row * all + col + head * E, from = row * cols + head * E;
    float squares = 0, along = 0;
    for (u32 e = threadIdx.x; e < E; e += blockDim.x) {
        float v = get(x, from + e);
        squares += v * v;
        along += get(dx, to + e) * get(w, e) * v;
    }
    float factor = 1.f / sqrtf(sum_of_block(squares, parts) / E + eps);
    along = sum_of_block(along, parts) * factor * factor / E;
    for (u32 e = threadIdx.x; e < E; e += blockDim.x) {
        float g = get(dx, to + e) * get(w, e);
        put(dx, to + e, factor * (g - get(x, from + e) * along));
    }
}
REGISTER(head_norm_backward)
