// A program: the small operations between two large products as one launch.
//
// A job is a small operation; its work is cut into units, and some neighbouring units are the work
// of one block. Jobs that need nothing of each other make a phase. Blocks draw tickets in the order
// of the phases, and one of a later phase waits until all blocks of the earlier ones are done. Only
// blocks that have begun draw tickets, so that whatever is waited for has begun: the blocks need not
// fit on the device at the same time.
#include "job.cuh"
#include "rows.cu"
#include "norm.cu"
#include "rope.cu"
#include "glu.cu"
#include "lora.cu"

// Tickets drawn and blocks done; zero between launches.
struct Progress {
    u32 drawn, done;
};

#define MOST_JOBS 16

template <u32 BYTES> struct Program {
    u32 jobs, tickets, slots, segments;
    Job job[MOST_JOBS];
    u64 tables[BYTES / 8];  // Slots, then Segments
};

// The job of a ticket, which becomes the place among the job's own.
template <class P> __device__ __forceinline__ const Job& job_of(const P& p, u32& ticket) {
    u32 j = 0;
    while (ticket >= p.job[j].tickets) ticket -= p.job[j++].tickets;
    return p.job[j];
}

__device__ __forceinline__ void do_unit(const Job& job, const Lora& lora, u32 unit, Shared& shared) {
    switch (job.kind) {
        case LORA_U: return lora_u(job, lora, unit, shared);
        case LORA_Y: return lora_y(job, lora, unit, shared);
        case LORA_DU: return lora_du(job, lora, unit, shared);
        case LORA_DX: return lora_dx(job, lora, unit, shared);
        case LORA_AB: return lora_ab(job, lora, unit, shared);
        case ADD: return add(job, unit);
        case CONVERT: return convert(job, unit);
        case ADD_BIAS: return add_bias(job, unit);
        case SOFT_CAP: return soft_cap(job, unit);
        case ZERO: return zero(job, unit);
        case EMBED: return embed(job, unit);
        case PICK_ROWS: return pick_rows(job, unit);
        case PLACE_ROWS: return place_rows(job, unit);
        case RMS_NORM: return rms_norm(job, unit, shared.a[0]);
        case RMS_NORM_BACKWARD: return rms_norm_backward(job, unit, shared.a[0]);
        case HEAD_NORM: return head_norm(job, unit);
        case HEAD_NORM_BACKWARD: return head_norm_backward(job, unit);
        case ROPE: return rope(job, unit);
        case GLU: return glu(job, unit);
        case GLU_WITH_SLOPES: return glu_with_slopes(job, unit);
        case GLU_BACKWARD: return glu_backward(job, unit);
    }
}

template <class P> __device__ __forceinline__ void run_program(Progress* progress, const P& p) {
    __shared__ Shared shared;
    __shared__ u32 drawn;
    if (threadIdx.x == 0) drawn = COUNT_UP(&progress->drawn);
    BARRIER();
    u32 ticket = drawn;
#ifdef FAKE_CUDA
    u32 place = ticket;
    const Job& of_phase = job_of(p, place);
    ticket = fake_ticket(ticket, of_phase.after, of_phase.until);
#endif
    const Job& job = job_of(p, ticket);
    if (threadIdx.x == 0 && job.after) {
        while (COUNTED(&progress->done) < job.after) PAUSE();
        FENCE();
    }
    BARRIER();
    const Slot* slots = (const Slot*)p.tables;
    Lora lora = {slots, (const Segment*)(slots + p.slots), p.slots, p.segments};
    u32 begin = ticket * job.per_ticket;
    u32 end = begin + job.per_ticket < job.units ? begin + job.per_ticket : job.units;
    for (u32 unit = begin; unit < end; unit++) do_unit(job, lora, unit, shared);
    FENCE();
    BARRIER();
    if (threadIdx.x == 0 && COUNT_UP(&progress->done) + 1 == p.tickets) {
        progress->drawn = 0;
        progress->done = 0;
    }
}

// The same for tables of different sizes: a launch copies its arguments.
#define PROGRAM(name, bytes)                                                     \
    KERNEL FOR_BLOCKS(256, 4)                                                    \
    name(u64 progress, IN_PLACE(Program<bytes>) p) { run_program((Progress*)progress, p); }      \
    REGISTER(name)
PROGRAM(program_small, 1024)
PROGRAM(program_medium, 8192)
PROGRAM(program_large, 28672)
