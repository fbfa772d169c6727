// The low-rank paths of all slots at the modules that read one input. n rows of a slot, I inputs, O
// outputs, R rank, s scale. A [R,I], B [O,R]. Each function does one unit of a job, a tile: see
// program.cu.
//
// Slots are independent: no sum runs over the rows of two slots, and the terms of a sum have one
// order, so that a slot's numbers do not depend on its company.
#pragma once
#include "job.cuh"

// The tables begin at multiples of 64 bytes.
struct Slot {
    u64 params, grad;          // f32 values of the slot, and their gradient
    u64 values;                // how many
    u64 key_row;               // of the dropout
    u32 first, rows;           // the slot's rows
    u32 threshold;             // 0: no dropout
    float keep;
    u32 begin, end;            // its segments
    u32 dx_before;             // tiles of dx of the slots before
    u32 pad;
};

// One slot at one module.
struct Segment {
    u64 key;                   // of the dropout
    u64 u, du;                 // n R values each
    u32 a, b;                  // where A and B begin among the slot's values
    u32 rank;
    float scale;
    u32 col, cols;             // columns of y
    u32 slot;
    u32 u_before, y_before, ab_before;  // tiles of u, y, and dA and dB of the segments before
};

struct Lora {
    const Slot* slots;
    const Segment* segments;
    u32 slot_count, segment_count;
};

__device__ __forceinline__ u64 mix(u64 x) {
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

// 0 or 1 / (1 - p), as on the CPU (dropout.rs): a hash of the row's key and the column.
__device__ __forceinline__ float kept(const Slot& slot, const Segment& s, u32 row, u32 col) {
    if (slot.threshold == 0) return 1.f;
    u32 x = col * 0x9e3779b1u ^ (u32)(mix(s.key ^ (slot.key_row + row) * 0xd6e8feb86659fd93ull) >> 32);
    x = (x ^ (x >> 16)) * 0x7feb352du;
    x = (x ^ (x >> 15)) * 0x846ca68bu;
    return (x ^ (x >> 16)) >= slot.threshold ? slot.keep : 0.f;
}

__device__ __forceinline__ Mat params(const Slot& s) {
    Mat m = {(void*)s.params, s.values, 0};
    return m;
}

__device__ __forceinline__ Mat gradient(const Slot& s) {
    Mat m = {(void*)s.grad, s.values, 0};
    return m;
}

__device__ __forceinline__ Mat low_rank(u64 p, const Slot& slot, const Segment& s) {
    Mat m = {(void*)p, (u64)slot.rows * s.rank, 0};
    return m;
}

__device__ __forceinline__ u32 tiles(u32 n) { return (n + TILE - 1) / TILE; }

// The last of n entries before which there are no more than `tile` tiles.
template <class F> __device__ __forceinline__ u32 find(u32 n, u32 tile, F before) {
    u32 low = 0, high = n;
    while (high - low > 1) {
        u32 middle = (low + high) / 2;
        if (before(middle) <= tile) low = middle;
        else high = middle;
    }
    return low;
}

// Row `row` of the slot, dropout applied.
__device__ __forceinline__ float input(
    const Mat& x, const Slot& slot, const Segment& s, u32 I, u32 row, u32 i) {
    float factor = kept(slot, s, row, i);
    return factor == 0.f ? 0.f : factor * get(x, (u64)(slot.first + row) * I + i);
}

// u = dropout(x) A^T
__device__ __forceinline__ void lora_u(const Job& job, const Lora& t, u32 tile, Shared& shared) {
    const Mat& x = job.m[0];
    u32 I = job.n[0];
    const Segment& s =
        t.segments[find(t.segment_count, tile, [&](u32 i) { return t.segments[i].u_before; })];
    const Slot& slot = t.slots[s.slot];
    tile -= s.u_before;
    u32 across = tiles(s.rank);
    Mat u = low_rank(s.u, slot, s);
    tile_product<true, true>(
        shared, tile / across * TILE, tile % across * TILE, slot.rows, s.rank, I,
        [&](u32 n, u32 i) { return input(x, slot, s, I, n, i); },
        [&](u32 i, u32 r) { return get(params(slot), s.a + (u64)r * I + i); },
        [&](u32 n, u32 r, float sum) { put(u, (u64)n * s.rank + r, sum); });
}

// y[:, cols] += s u B^T
__device__ __forceinline__ void lora_y(const Job& job, const Lora& t, u32 tile, Shared& shared) {
    const Mat& y = job.m[0];
    u32 width = job.n[0];
    const Segment& s =
        t.segments[find(t.segment_count, tile, [&](u32 i) { return t.segments[i].y_before; })];
    const Slot& slot = t.slots[s.slot];
    tile -= s.y_before;
    u32 across = tiles(s.cols);
    Mat u = low_rank(s.u, slot, s);
    tile_product<true, true>(
        shared, tile / across * TILE, tile % across * TILE, slot.rows, s.cols, s.rank,
        [&](u32 n, u32 r) { return get(u, (u64)n * s.rank + r); },
        [&](u32 r, u32 o) { return get(params(slot), s.b + (u64)o * s.rank + r); },
        [&](u32 n, u32 o, float sum) {
            u64 to = (u64)(slot.first + n) * width + s.col + o;
            put(y, to, get(y, to) + s.scale * sum);
        });
}

// du = s dy B
__device__ __forceinline__ void lora_du(const Job& job, const Lora& t, u32 tile, Shared& shared) {
    const Mat& dy = job.m[0];
    u32 width = job.n[0];
    const Segment& s =
        t.segments[find(t.segment_count, tile, [&](u32 i) { return t.segments[i].u_before; })];
    const Slot& slot = t.slots[s.slot];
    tile -= s.u_before;
    u32 across = tiles(s.rank);
    Mat du = low_rank(s.du, slot, s);
    tile_product<true, false>(
        shared, tile / across * TILE, tile % across * TILE, slot.rows, s.rank, s.cols,
        [&](u32 n, u32 o) { return get(dy, (u64)(slot.first + n) * width + s.col + o); },
        [&](u32 o, u32 r) { return get(params(slot), s.b + (u64)o * s.rank + r); },
        [&](u32 n, u32 r, float sum) { put(du, (u64)n * s.rank + r, s.scale * sum); });
}

// dx += dropout'(du A), over the slot's modules in their order
__device__ __forceinline__ void lora_dx(const Job& job, const Lora& t, u32 tile, Shared& shared) {
    const Mat& dx = job.m[0];
    u32 I = job.n[0], across = tiles(I);
    const Slot& slot =
        t.slots[find(t.slot_count, tile, [&](u32 i) { return t.slots[i].dx_before; })];
    tile -= slot.dx_before;
    for (u32 module = slot.begin; module < slot.end; module++) {
        const Segment& s = t.segments[module];
        Mat du = low_rank(s.du, slot, s);
        tile_product<true, false>(
            shared, tile / across * TILE, tile % across * TILE, slot.rows, I, s.rank,
            [&](u32 n, u32 r) { return get(du, (u64)n * s.rank + r); },
            [&](u32 r, u32 i) { return get(params(slot), s.a + (u64)r * I + i); },
            [&](u32 n, u32 i, float sum) {
                float factor = kept(slot, s, n, i);
                if (factor == 0.f) return;
                u64 to = (u64)(slot.first + n) * I + i;
                put(dx, to, get(dx, to) + factor * sum);
            });
    }
}

// dA += du^T dropout(x), dB += s dy^T u
__device__ __forceinline__ void lora_ab(const Job& job, const Lora& t, u32 tile, Shared& shared) {
    const Mat &x = job.m[0], &dy = job.m[1];
    u32 I = job.n[0], width = job.n[1];
    const Segment& s =
        t.segments[find(t.segment_count, tile, [&](u32 i) { return t.segments[i].ab_before; })];
    const Slot& slot = t.slots[s.slot];
    tile -= s.ab_before;
    if (tile < tiles(s.rank) * tiles(I)) {
        u32 across = tiles(I);
        Mat du = low_rank(s.du, slot, s);
        tile_product<false, false>(
            shared, tile / across * TILE, tile % across * TILE, s.rank, I, slot.rows,
            [&](u32 r, u32 n) { return get(du, (u64)n * s.rank + r); },
            [&](u32 n, u32 i) { return input(x, slot, s, I, n, i); },
            [&](u32 r, u32 i, float sum) {
                u64 to = s.a + (u64)r * I + i;
                put(gradient(slot), to, get(gradient(slot), to) + sum);
            });
        return;
    }
    tile -= tiles(s.rank) * tiles(I);
    u32 across = tiles(s.rank);
    Mat u = low_rank(s.u, slot, s);
    tile_product<false, false>(
        shared, tile / across * TILE, tile % across * TILE, s.cols, s.rank, slot.rows,
        [&](u32 o, u32 n) { return get(dy, (u64)(slot.first + n) * width + s.col + o); },
        [&](u32 n, u32 r) { return get(u, (u64)n * s.rank + r); },
        [&](u32 o, u32 r, float sum) {
            u64 to = s.b + (u64)o * s.rank + r;
            put(gradient(slot), to, get(gradient(slot), to) + s.scale * sum);
        });
}
