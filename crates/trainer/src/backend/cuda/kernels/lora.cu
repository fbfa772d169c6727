// The low-rank paths of all slots at the modules that read one input, one launch for each line of the
// algebra. n rows of a slot, I inputs, O outputs, R rank, s scale. A [R,I], B [O,R].
//
// Slots are independent: no sum runs over the rows of two slots, and the terms of a sum have one
// order, so that a slot's numbers do not depend on its company.
#include "common.cuh"

// One slot at one module.
struct Segment {
    u64 params, grad;          // f32 values of the slot, and their gradient
    u64 values;                // how many
    u64 a, b;                  // where A and B begin among them
    u64 u;                     // where the slot's n R values begin in u and du
    u64 key, key_row;          // of the dropout
    u32 first, rows;           // the slot's rows
    u32 rank;
    u32 col, cols;             // columns of y
    u32 threshold;             // 0: no dropout
    float keep, scale;
    u32 more;                  // segments of the same slot behind this one
    u32 pad;
};

#define MOST_SEGMENTS 96
struct Segments {
    u32 count, inputs, width, pad;  // columns of x and of y
    Segment of[MOST_SEGMENTS];
};

__device__ __forceinline__ u64 mix(u64 x) {
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

// 0 or 1 / (1 - p), as on the CPU (dropout.rs): a hash of the row's key and the column.
__device__ __forceinline__ float kept(const Segment& s, u32 row, u32 col) {
    if (s.threshold == 0) return 1.f;
    u32 x = col * 0x9e3779b1u ^ (u32)(mix(s.key ^ (s.key_row + row) * 0xd6e8feb86659fd93ull) >> 32);
    x = (x ^ (x >> 16)) * 0x7feb352du;
    x = (x ^ (x >> 15)) * 0x846ca68bu;
    return (x ^ (x >> 16)) >= s.threshold ? s.keep : 0.f;
}

__device__ __forceinline__ Mat params(const Segment& s) {
    Mat m = {(void*)s.params, s.values, 0};
    return m;
}

__device__ __forceinline__ Mat gradient(const Segment& s) {
    Mat m = {(void*)s.grad, s.values, 0};
    return m;
}

__device__ __forceinline__ u32 tiles(u32 n) { return (n + TILE - 1) / TILE; }

// Row `row` of the slot, dropout applied.
__device__ __forceinline__ float input(const Mat& x, const Segments& t, const Segment& s, u32 row, u32 i) {
    float factor = kept(s, row, i);
    return factor == 0.f ? 0.f : factor * get(x, (u64)(s.first + row) * t.inputs + i);
}

// The tile that is this block's, as the place of its segment and its own among that segment's: `of`
// gives the tiles of a segment, and takes them off `tile`.
template <class F>
__device__ __forceinline__ u32 find(const Segments& t, u32& tile, F of) {
    u32 i = 0;
    while (tile >= of(t.of[i])) tile -= of(t.of[i++]);
    return i;
}

// u = dropout(x) A^T
KERNEL lora_u(Mat u, Mat x, const IN_PLACE Segments t) {
    __shared__ Shared shared;
    u32 tile = blockIdx.x;
    const Segment& s =
        t.of[find(t, tile, [](const Segment& s) { return tiles(s.rows) * tiles(s.rank); })];
    u32 across = tiles(s.rank);
    tile_product<true, true>(
        shared, tile / across * TILE, tile % across * TILE, s.rows, s.rank, t.inputs,
        [&](u32 n, u32 i) { return input(x, t, s, n, i); },
        [&](u32 i, u32 r) { return get(params(s), s.a + (u64)r * t.inputs + i); },
        [&](u32 n, u32 r, float sum) { put(u, s.u + (u64)n * s.rank + r, sum); });
}
REGISTER(lora_u)

// y[:, cols] += s u B^T
KERNEL lora_y(Mat y, Mat u, const IN_PLACE Segments t) {
    __shared__ Shared shared;
    u32 tile = blockIdx.x;
    const Segment& s =
        t.of[find(t, tile, [](const Segment& s) { return tiles(s.rows) * tiles(s.cols); })];
    u32 across = tiles(s.cols);
    tile_product<true, true>(
        shared, tile / across * TILE, tile % across * TILE, s.rows, s.cols, s.rank,
        [&](u32 n, u32 r) { return get(u, s.u + (u64)n * s.rank + r); },
        [&](u32 r, u32 o) { return get(params(s), s.b + (u64)o * s.rank + r); },
        [&](u32 n, u32 o, float sum) {
            u64 to = (u64)(s.first + n) * t.width + s.col + o;
            put(y, to, get(y, to) + s.scale * sum);
        });
}
REGISTER(lora_y)

// du = s dy B
KERNEL lora_du(Mat du, Mat dy, const IN_PLACE Segments t) {
    __shared__ Shared shared;
    u32 tile = blockIdx.x;
    const Segment& s =
        t.of[find(t, tile, [](const Segment& s) { return tiles(s.rows) * tiles(s.rank); })];
    u32 across = tiles(s.rank);
    tile_product<true, false>(
        shared, tile / across * TILE, tile % across * TILE, s.rows, s.rank, s.cols,
        [&](u32 n, u32 o) { return get(dy, (u64)(s.first + n) * t.width + s.col + o); },
        [&](u32 o, u32 r) { return get(params(s), s.b + (u64)o * s.rank + r); },
        [&](u32 n, u32 r, float sum) { put(du, s.u + (u64)n * s.rank + r, s.scale * sum); });
}
REGISTER(lora_du)

// dx += dropout'(du A) over all modules of a slot, by the block of the first of them; dA += du^T
// dropout(x); dB += s dy^T u. Without `dx.len` no gradient of x is wanted.
KERNEL lora_gradients(Mat dx, Mat dy, Mat x, Mat u, Mat du, const IN_PLACE Segments t) {
    __shared__ Shared shared;
    u32 I = t.inputs, tile = blockIdx.x;
    auto of_dx = [&](const Segment& s) {
        return dx.len && s.more != 0xffffffffu ? tiles(s.rows) * tiles(I) : 0u;
    };
    u32 place = find(t, tile, [&](const Segment& s) {
        return of_dx(s) + tiles(s.rank) * tiles(I) + tiles(s.cols) * tiles(s.rank);
    });
    const Segment& s = t.of[place];
    if (tile < of_dx(s)) {
        u32 across = tiles(I);
        for (u32 module = place; module <= place + s.more; module++) {
            const Segment& s = t.of[module];
            tile_product<true, false>(
                shared, tile / across * TILE, tile % across * TILE, s.rows, I, s.rank,
                [&](u32 n, u32 r) { return get(du, s.u + (u64)n * s.rank + r); },
                [&](u32 r, u32 i) { return get(params(s), s.a + (u64)r * I + i); },
                [&](u32 n, u32 i, float sum) {
                    float factor = kept(s, n, i);
                    if (factor == 0.f) return;
                    u64 to = (u64)(s.first + n) * I + i;
                    put(dx, to, get(dx, to) + factor * sum);
                });
        }
        return;
    }
    tile -= of_dx(s);
    if (tile < tiles(s.rank) * tiles(I)) {
        u32 across = tiles(I);
        tile_product<false, false>(
            shared, tile / across * TILE, tile % across * TILE, s.rank, I, s.rows,
            [&](u32 r, u32 n) { return get(du, s.u + (u64)n * s.rank + r); },
            [&](u32 n, u32 i) { return input(x, t, s, n, i); },
            [&](u32 r, u32 i, float sum) {
                u64 to = s.a + (u64)r * I + i;
                put(gradient(s), to, get(gradient(s), to) + sum);
            });
        return;
    }
    tile -= tiles(s.rank) * tiles(I);
    u32 across = tiles(s.rank);
    tile_product<false, false>(
        shared, tile / across * TILE, tile % across * TILE, s.cols, s.rank, s.rows,
        [&](u32 o, u32 n) { return get(dy, (u64)(s.first + n) * t.width + s.col + o); },
        [&](u32 n, u32 r) { return get(u, s.u + (u64)n * s.rank + r); },
        [&](u32 o, u32 r, float sum) {
            u64 to = s.b + (u64)o * s.rank + r;
            put(gradient(s), to, get(gradient(s), to) + s.scale * sum);
        });
}
REGISTER(lora_gradients)
