// CUDA C++ as C++: one fibre for each thread of a block, switched at barriers and shuffles.
//
// A kernel that is registered without barriers runs thread after thread, without fibres.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define __global__
#define __device__
#define __forceinline__ inline
#define __shared__ static
#define IN_PLACE(type) const type&
#define FOR_BLOCKS(threads, blocks)
#define NOT_A_NUMBER NAN

template <class To, class From> inline To bits_as(From from) {
    static_assert(sizeof(To) == sizeof(From), "of one size");
    To to;
    memcpy(&to, &from, sizeof to);
    return to;
}
#define FLOAT_OF(bits) bits_as<float>((u32)(bits))
#define BITS_OF(x) bits_as<u32>((float)(x))
#define DOUBLE_OF(bits) bits_as<double>((u64)(bits))

struct dim3 {
    unsigned x, y, z;
};

// What a fibre waits for.
enum class Waits { None, Barrier, Warp, Done };

struct Fibre {
    void* stack_pointer;
    dim3 thread;
    Waits waits;
    int line;            // of the barrier or shuffle
    u32 lane[2];         // what other lanes read: two, so that the next shuffle does not overwrite it
    u32 shuffles;
};

struct Running {
    dim3 block, block_dim, grid_dim;
    dim3 thread;         // of the fibre or thread that runs
    std::vector<Fibre> fibres;
    int current;
    float* shared;       // dynamic shared memory
    const char* kernel;
    u32 seed;            // of the launch
    u64 epoch;           // of the launch, and of its phase: what runs in one has no order
    u32 worker;          // the block, or its ticket
};
extern Running running;

#define threadIdx (running.thread)
#define blockIdx (running.block)
#define blockDim (running.block_dim)
#define gridDim (running.grid_dim)

void fake_wait(Waits what, int line);
[[noreturn]] void fake_fail(const char* what, const char* file, int line);

#define CHECK(inside)                                                      \
    do {                                                                   \
        if (!(inside)) fake_fail("out of bounds: " #inside, __FILE__, __LINE__); \
    } while (0)
// Every access of a matrix, to find those of two blocks to one value of which one writes it.
void fake_touch(u64 address, bool writes);
#define READS(address) fake_touch(address, false)
#define WRITES(address) fake_touch(address, true)
inline u32 fake_count_up(u32* number) { return (*number)++; }
#define COUNT_UP(number) fake_count_up(number)
#define COUNTED(number) (*(number))
#define FENCE()
// Blocks run one after another: what a block waits for has been done or never will be.
#define PAUSE() fake_fail("a wait for blocks that have not begun", __FILE__, __LINE__)
// Another ticket of the same phase, begin .. end, drawn by chance: one each.
u32 fake_ticket(u32 ticket, u32 begin, u32 end);
#define BARRIER() fake_wait(Waits::Barrier, __LINE__)
#define DYNAMIC_SHARED(name) float* name = running.shared

// Lanes exchange values when all live ones of the warp have come.
template <class T> T fake_shuffle_xor(T value, int mask, int line) {
    static_assert(sizeof(T) == 4, "a register");
    Fibre& mine = running.fibres[running.current];
    u32 side = mine.shuffles++ % 2;
    mine.lane[side] = bits_as<u32>(value);
    int other = (running.current & ~31) | ((running.current ^ mask) & 31);
    fake_wait(Waits::Warp, line);
    return bits_as<T>(running.fibres[other].lane[side]);
}
#define __shfl_xor_sync(all, value, mask) fake_shuffle_xor(value, mask, __LINE__)

// A kernel with its arguments as the driver passes them.
struct Kernel {
    std::function<void(void**)> call;
    std::vector<size_t> sizes;
    bool has_barriers;
};
std::map<std::string, Kernel>& kernels();

template <class... A, size_t... I>
void fake_call(void (*f)(A...), void** p, std::index_sequence<I...>) {
    f(*(std::remove_cv_t<std::remove_reference_t<A>>*)p[I]...);
}
template <class... A> bool fake_register(const char* name, void (*f)(A...), bool has_barriers) {
    auto call = [f](void** p) { fake_call(f, p, std::index_sequence_for<A...>{}); };
    kernels()[name] = Kernel{call, {sizeof(std::remove_reference_t<A>)...}, has_barriers};
    return true;
}
#define REGISTER(kernel) static bool kernel##_known = fake_register(#kernel, kernel, true);
#define REGISTER_WITHOUT_BARRIERS(kernel) \
    static bool kernel##_known = fake_register(#kernel, kernel, false);
