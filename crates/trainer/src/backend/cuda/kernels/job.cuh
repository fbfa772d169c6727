// One small operation of a program: see program.cu.
#pragma once
#include "common.cuh"

// What a job does; its matrices, sizes and numbers are those of the function of that name.
enum Kind : u32 {
    LORA_U, LORA_Y, LORA_DU, LORA_DX, LORA_AB,
    ADD, CONVERT, ADD_BIAS, SOFT_CAP, ZERO, EMBED, PICK_ROWS, PLACE_ROWS,
    RMS_NORM, RMS_NORM_BACKWARD, HEAD_NORM, HEAD_NORM_BACKWARD,
    ROPE, GLU, GLU_WITH_SLOPES, GLU_BACKWARD,
};

struct Job {
    u32 kind;
    u32 tickets, per_ticket, units;  // blocks, and the units of work that each does
    u32 after, until;                // the tickets before its phase, and those with it
    u32 n[6];
    float f[2];
    Mat m[5];
    Ints ints;
};

// Values that a block goes through in one unit of a job on a long vector.
#define UNIT 2048

template <class F> __device__ __forceinline__ void each(u32 unit, u64 len, F f) {
    u64 begin = (u64)unit * UNIT, end = begin + UNIT < len ? begin + UNIT : len;
    for (u64 i = begin + threadIdx.x; i < end; i += blockDim.x) f(i);
}
