// What all kernels share: views of memory that are checked in tests, sums over a block, the tile
// product that most matrix work is made of.
//
// The same source is compiled for the device (NVRTC, scripts/cuda/compile.py) and, with FAKE_CUDA,
// for the processor (crates/trainer/tests/fake_cuda), where every access is checked.
#pragma once
#ifdef FAKE_CUDA
#include "shim.h"
#else
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
#define CHECK(inside)
#define BARRIER() __syncthreads()
#define DYNAMIC_SHARED(name) extern __shared__ float name[]
// A large argument that is read in place.
#define IN_PLACE(type) const __grid_constant__ type
#define REGISTER(kernel)
#define REGISTER_WITHOUT_BARRIERS(kernel)
#define NOT_A_NUMBER __int_as_float(0x7fffffff)
#define FLOAT_OF(bits) __uint_as_float(bits)
#define BITS_OF(x) __float_as_uint(x)
#define DOUBLE_OF(bits) __longlong_as_double(bits)
#define READS(address)
#define WRITES(address)
#define COUNT_UP(number) atomicAdd(number, 1u)
#define COUNTED(number) (*(volatile u32*)(number))
#define FENCE() __threadfence()
#define PAUSE() __nanosleep(40)
// Registers of a thread as so many blocks on a multiprocessor allow.
#define FOR_BLOCKS(threads, blocks) __launch_bounds__(threads, blocks)
#endif

#define KERNEL extern "C" __global__ void

// Values in f32 or, where `narrow` is 1, in bf16.
struct Mat {
    void* p;
    u64 len;
    u64 narrow;
};

struct Ints {
    const u32* p;
    u64 len;
};

struct Bytes {
    const u8* p;
    u64 len;
};

__device__ __forceinline__ float get(const Mat& m, u64 i) {
    CHECK(i < m.len);
    READS((u64)m.p + i * (m.narrow ? 2 : 4));
    return m.narrow ? FLOAT_OF((u32)((const u16*)m.p)[i] << 16) : ((const float*)m.p)[i];
}

// Rounds to nearest, ties to even; what is not a number stays so.
__device__ __forceinline__ u16 narrowed(float x) {
    u32 bits = BITS_OF(x);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return (u16)(bits >> 16 | 0x40);
    return (u16)((bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
}

__device__ __forceinline__ void put(const Mat& m, u64 i, float x) {
    CHECK(i < m.len);
    WRITES((u64)m.p + i * (m.narrow ? 2 : 4));
    if (m.narrow) {
        ((u16*)m.p)[i] = narrowed(x);
    } else {
        ((float*)m.p)[i] = x;
    }
}

__device__ __forceinline__ u32 at(const Ints& v, u64 i) {
    CHECK(i < v.len);
    return v.p[i];
}

__device__ __forceinline__ u32 byte_at(const Bytes& v, u64 i) {
    CHECK(i < v.len);
    return v.p[i];
}

// The first element of a thread, and the step to its next, where threads share a long vector.
__device__ __forceinline__ u64 first_element() { return (u64)blockIdx.x * blockDim.x + threadIdx.x; }
__device__ __forceinline__ u64 all_threads() { return (u64)gridDim.x * blockDim.x; }

// e^x, and not a number where x is not finite: a broken value reaches the loss.
__device__ __forceinline__ float exponential(float x) {
    return (BITS_OF(x) & 0x7f800000u) == 0x7f800000u ? NOT_A_NUMBER : expf(x);
}

// Sum over `lanes` neighbouring threads of a warp (a power of two), in each of them.
__device__ __forceinline__ float sum_of_lanes(float x, int lanes) {
    for (int o = lanes / 2; o; o /= 2) x += __shfl_xor_sync(0xffffffffu, x, o);
    return x;
}

__device__ __forceinline__ float largest_of_lanes(float x, int lanes) {
    for (int o = lanes / 2; o; o /= 2) x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, o));
    return x;
}

// Sum over a block of whole warps, in every thread; `parts` are 32 shared values.
__device__ __forceinline__ float sum_of_block(float x, float* parts) {
    x = sum_of_lanes(x, 32);
    BARRIER();
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = x;
    BARRIER();
    float sum = 0;
    for (u32 w = 0; w < blockDim.x / 32; w++) sum += parts[w];
    return sum;
}

__device__ __forceinline__ float largest_of_block(float x, float* parts) {
    x = largest_of_lanes(x, 32);
    BARRIER();
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = x;
    BARRIER();
    float largest = parts[0];
    for (u32 w = 1; w < blockDim.x / 32; w++) largest = fmaxf(largest, parts[w]);
    return largest;
}

// A tile of a product: 32 x 32 results of 256 threads, 32 terms at a time.
#define TILE 32
#define TILE_THREADS 256
struct Shared {
    float a[TILE][TILE + 1];
    float b[TILE][TILE + 1];
};

// c(m, n, sum over k of a(m, k) b(k, n)) for the tile that begins at m0, n0 of M x N results of K
// terms each. The terms are added in their order. A_ALONG_K: neighbours in k are neighbours in memory.
template <bool A_ALONG_K, bool B_ALONG_K, class A, class B, class C>
__device__ __forceinline__ void tile_product(
    Shared& shared, u32 m0, u32 n0, u32 M, u32 N, u32 K, A a, B b, C c) {
    float sum[2][2] = {{0, 0}, {0, 0}};
    u32 x = threadIdx.x % 16, y = threadIdx.x / 16;
    for (u32 k0 = 0; k0 < K; k0 += TILE) {
        for (u32 i = threadIdx.x; i < TILE * TILE; i += TILE_THREADS) {
            u32 fast = i % TILE, slow = i / TILE;
            u32 k = A_ALONG_K ? fast : slow, m = A_ALONG_K ? slow : fast;
            shared.a[k][m] = m0 + m < M && k0 + k < K ? a(m0 + m, k0 + k) : 0.f;
            u32 kb = B_ALONG_K ? fast : slow, n = B_ALONG_K ? slow : fast;
            shared.b[kb][n] = n0 + n < N && k0 + kb < K ? b(k0 + kb, n0 + n) : 0.f;
        }
        BARRIER();
        u32 terms = K - k0 < TILE ? K - k0 : TILE;
        for (u32 k = 0; k < terms; k++) {
            for (u32 i = 0; i < 2; i++) {
                for (u32 j = 0; j < 2; j++) {
                    sum[i][j] += shared.a[k][y + 16 * i] * shared.b[k][x + 16 * j];
                }
            }
        }
        BARRIER();
    }
    for (u32 i = 0; i < 2; i++) {
        for (u32 j = 0; j < 2; j++) {
            u32 m = m0 + y + 16 * i, n = n0 + x + 16 * j;
            if (m < M && n < N) c(m, n, sum[i][j]);
        }
    }
}
