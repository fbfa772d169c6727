// Products with frozen matrices where there is no cuBLAS. N rows, O outputs, I inputs, W [O,I].
#include "common.cuh"

// y[n,o] = sum_i x[n,i] W[o,i]
KERNEL product_forward(Mat y, Mat x, Mat w, u32 N, u32 O, u32 I) {
    __shared__ Shared shared;
    tile_product<true, true>(
        shared, blockIdx.y * TILE, blockIdx.x * TILE, N, O, I,
        [&](u32 n, u32 i) { return get(x, (u64)n * I + i); },
        [&](u32 i, u32 o) { return get(w, (u64)o * I + i); },
        [&](u32 n, u32 o, float sum) { put(y, (u64)n * O + o, sum); });
}
REGISTER(product_forward)

// dx[n,i] = sum_o dy[n,o] W[o,i]
KERNEL product_backward(Mat dx, Mat dy, Mat w, u32 N, u32 O, u32 I) {
    __shared__ Shared shared;
    tile_product<true, false>(
        shared, blockIdx.y * TILE, blockIdx.x * TILE, N, I, O,
        [&](u32 n, u32 o) { return get(dy, (u64)n * O + o); },
        [&](u32 o, u32 i) { return get(w, (u64)o * I + i); },
        [&](u32 n, u32 i, float sum) { put(dx, (u64)n * I + i, sum); });
}
REGISTER(product_backward)
