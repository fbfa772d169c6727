// A CUDA device of software: the driver calls that the engine makes, and cuBLAS's products.
//
// Work is queued, and done when something waits for it: streams in a random interleaving, the blocks
// of a kernel and the threads of a block in a random order. New memory is filled with NaN, freed
// memory is poisoned and its addresses are not used again soon, and every access of a kernel is
// checked against its matrix (CHECK). What goes wrong in a kernel ends the process with its name.
//
// fake_cuda_set and fake_cuda_get are for tests: limits, injected failures, counters.
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <sys/mman.h>

#include "shim.h"

Running running;
std::map<std::string, Kernel>& kernels() {
    static std::map<std::string, Kernel> all;
    return all;
}

// ---- Fibres ----

#if defined(__x86_64__)
extern "C" void fake_switch(void** from, void* to);
asm(R"(
.text
.globl fake_switch
.type fake_switch, @function
fake_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size fake_switch, .-fake_switch
)");
static const size_t STACK = 64 * 1024;
static void* scheduler_stack;
static Kernel* current_kernel;
static void** current_arguments;

static void fibre_main() {
    current_kernel->call(current_arguments);
    running.fibres[running.current].waits = Waits::Done;
    void* unused;
    fake_switch(&unused, scheduler_stack);
    abort();
}

static char* stack_of(size_t i) {
    static std::vector<char*> stacks;
    while (stacks.size() <= i) {
        void* p = mmap(nullptr, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED) fake_fail("no memory for a stack", __FILE__, __LINE__);
        stacks.push_back((char*)p);
    }
    return stacks[i];
}

static void begin_fibre(size_t i) {
    void** top = (void**)(stack_of(i) + STACK);
    *--top = nullptr;  // aligned as behind a call
    *--top = (void*)fibre_main;
    for (int r = 0; r < 6; r++) *--top = nullptr;
    running.fibres[i].stack_pointer = top;
}
static void resume(Fibre& fibre) { fake_switch(&scheduler_stack, fibre.stack_pointer); }
static void leave(Fibre& fibre) { fake_switch(&fibre.stack_pointer, scheduler_stack); }
#else
#include <ucontext.h>
static const size_t STACK = 64 * 1024;
static Kernel* current_kernel;
static void** current_arguments;
static ucontext_t scheduler;
static std::deque<ucontext_t> contexts;
static std::deque<std::vector<char>> stacks;
static void fibre_main() {
    current_kernel->call(current_arguments);
    running.fibres[running.current].waits = Waits::Done;
}
static void begin_fibre(size_t i) {
    while (contexts.size() <= i) {
        contexts.emplace_back();
        stacks.emplace_back(STACK);
    }
    getcontext(&contexts[i]);
    contexts[i].uc_stack.ss_sp = stacks[i].data();
    contexts[i].uc_stack.ss_size = STACK;
    contexts[i].uc_link = &scheduler;
    makecontext(&contexts[i], fibre_main, 0);
    running.fibres[i].stack_pointer = &contexts[i];
}
static void resume(Fibre& fibre) { swapcontext(&scheduler, (ucontext_t*)fibre.stack_pointer); }
static void leave(Fibre& fibre) { swapcontext((ucontext_t*)fibre.stack_pointer, &scheduler); }
#endif

void fake_fail(const char* what, const char* file, int line) {
    fprintf(stderr, "fake CUDA device: %s at %s:%d in the kernel %s, block %u %u, thread %u\n", what,
            file, line, running.kernel ? running.kernel : "(none)", running.block.x, running.block.y,
            running.thread.x);
    abort();
}

void fake_wait(Waits what, int line) {
    if (running.fibres.empty()) fake_fail("a barrier in a kernel registered without", __FILE__, line);
    Fibre& mine = running.fibres[running.current];
    mine.waits = what;
    mine.line = line;
    leave(mine);
}

static std::mt19937& chance() {
    static std::mt19937 rng(getenv("FAKE_CUDA_SEED") ? atoi(getenv("FAKE_CUDA_SEED")) : 1);
    return rng;
}

// The n numbers 0 .. n in an order drawn by chance: begin + i step, with an odd step.
struct Order {
    u32 n, begin, step, round;
    explicit Order(u32 of) : n(of), begin(chance()() % of), step(1), round(1) {
        while (round < n) round *= 2;
        step = chance()() | 1;
    }
    template <class F> void each(F f) const {
        for (u32 i = 0; i < round; i++) {
            u32 at = (begin + i * step) & (round - 1);
            if (at < n) f(at);
        }
    }
};

// ---- Races ----

// The last value touched at a place of a table that all addresses share: what is overwritten there
// is forgotten, so that a race can be missed but none is made up.
struct Touched {
    u64 address, epoch;
    u32 worker;
    bool written, by_several;
};
static const size_t PLACES = 1 << 18;

void fake_touch(u64 address, bool writes) {
    static std::vector<Touched> touched(PLACES);
    Touched& t = touched[(address >> 1) * 0x9e3779b1u % PLACES];
    if (t.address != address || t.epoch != running.epoch) {
        t = {address, running.epoch, running.worker, writes, false};
        return;
    }
    bool other = t.worker != running.worker;
    if ((other && (writes || t.written)) || (writes && t.by_several)) {
        fake_fail("a race of two blocks for a value", __FILE__, __LINE__);
    }
    t.written |= writes;
    t.by_several |= other;
}

u32 fake_ticket(u32 ticket, u32 begin, u32 end) {
    u32 n = end - begin, round = 1, at = ticket - begin;
    while (round < n) round *= 2;
    do {
        at = (at * (running.seed | 1) + running.seed / 2) & (round - 1);
    } while (at >= n);
    running.epoch = running.epoch >> 16 << 16 | (begin + 1) % 65536;
    running.worker = begin + at;
    return begin + at;
}

static dim3 place_in(u32 i, dim3 of) { return {i % of.x, i / of.x % of.y, i / of.x / of.y}; }

static void run_block(Kernel& kernel, void** arguments) {
    u32 n = running.block_dim.x * running.block_dim.y * running.block_dim.z;
    if (!kernel.has_barriers) {
        running.fibres.clear();
        Order(n).each([&](u32 i) {
            running.thread = place_in(i, running.block_dim);
            kernel.call(arguments);
        });
        return;
    }
    running.fibres.resize(n);
    current_kernel = &kernel;
    current_arguments = arguments;
    for (u32 i = 0; i < n; i++) {
        Fibre& fibre = running.fibres[i];
        fibre.thread = place_in(i, running.block_dim);
        fibre.waits = Waits::None;
        fibre.shuffles = 0;
        begin_fibre(i);
    }
    for (u32 live = n; live;) {
        bool any = false;
        Order(n).each([&](u32 i) {
            Fibre& fibre = running.fibres[i];
            if (fibre.waits != Waits::None) return;
            running.current = i;
            running.thread = fibre.thread;
            resume(fibre);
            any = true;
            if (fibre.waits == Waits::Done) live--;
        });
        // Warps whose live lanes have all come to one shuffle go on.
        u32 at_barrier = 0;
        for (u32 warp = 0; warp < n; warp += 32) {
            u32 end = std::min(n, warp + 32), come = 0, alive = 0;
            int line = -1;
            bool one_line = true;
            for (u32 i = warp; i < end; i++) {
                Fibre& f = running.fibres[i];
                alive += f.waits != Waits::Done;
                at_barrier += f.waits == Waits::Barrier;
                if (f.waits != Waits::Warp) continue;
                come++;
                if (line == -1) line = f.line;
                one_line &= line == f.line;
            }
            if (come && come == alive) {
                if (!one_line) fake_fail("lanes of a warp at different shuffles", __FILE__, line);
                if (alive != end - warp) fake_fail("a shuffle with lanes that have ended", __FILE__, line);
                for (u32 i = warp; i < end; i++) running.fibres[i].waits = Waits::None;
                any = true;
            }
        }
        if (live && at_barrier == live) {
            int line = -1;
            for (Fibre& f : running.fibres) {
                if (f.waits != Waits::Barrier) continue;
                if (line == -1) line = f.line;
                if (line != f.line) fake_fail("threads at different barriers", __FILE__, f.line);
                f.waits = Waits::None;
            }
            any = true;
        }
        if (live && !any) fake_fail("threads wait for each other", __FILE__, __LINE__);
    }
}

// ---- Memory ----

typedef int Status;
typedef uint64_t Pointer;
enum { OK = 0, INVALID = 1, NO_MEMORY = 2, NO_DEVICE = 101, ILLEGAL = 700, FAILED = 719, NOT_FOUND = 500 };

static std::recursive_mutex device_mutex;
#define LOCK() std::lock_guard<std::recursive_mutex> lock(device_mutex)
#define EXPORT extern "C" __attribute__((visibility("default")))

struct Allocation {
    size_t bytes;
};
static std::map<Pointer, Allocation> allocations;
static std::map<std::string, long> settings, counters;

static long setting(const char* name, long otherwise) {
    auto found = settings.find(name);
    if (found != settings.end()) return found->second;
    std::string variable = std::string("FAKE_CUDA_") + name;
    const char* given = getenv(variable.c_str());
    return given ? atol(given) : otherwise;
}

EXPORT void fake_cuda_set(const char* name, long value) {
    LOCK();
    // -1: as if it had never been set.
    if (value == -1) settings.erase(name);
    else settings[name] = value;
    if (std::string(name) == "SEED") chance().seed((unsigned)value);
}
EXPORT long fake_cuda_get(const char* name) {
    LOCK();
    return counters[name];
}

// Whether this call, one of those named `what`, is the one that is to fail.
static bool fails(const char* what) {
    long n = ++counters[what];
    return setting((std::string("FAIL_") + what).c_str(), 0) == n;
}
static bool is_lost() { return counters["lost"] != 0; }
static bool may_be_lost(long device) {
    long which = setting("LOST_DEVICE", -1);
    return which < 0 || which == device;
}
// A device stays lost for the processes that come after, where a file can tell them.
static const char* lost_file() { return getenv("FAKE_CUDA_LOST_FILE"); }
static void lose() {
    counters["lost"] = 1;
    if (lost_file()) {
        if (FILE* file = fopen(lost_file(), "w")) fclose(file);
    }
}

// Host addresses are not the device's: a kernel or copy that mixes them up is found.
static void inside(Pointer p, size_t n, const char* what) {
    auto after = allocations.upper_bound(p);
    bool fits = after != allocations.begin();
    if (fits) {
        --after;
        fits = p + n <= after->first + after->second.bytes;
    }
    if (!fits && n) fake_fail(what, __FILE__, __LINE__);
}

static Status allocate(Pointer* p, size_t n) {
    size_t limit = (size_t)setting("MEMORY", 1l << 30);
    if (n == 0) return INVALID;
    if (fails("allocations") || counters["bytes"] + n > limit) return NO_MEMORY;
    *p = (Pointer)aligned_alloc(256, (n + 255) / 256 * 256);
    if (!*p) return NO_MEMORY;
    memset((void*)*p, 0xff, n);
    allocations[*p] = {n};
    counters["bytes"] += n;
    counters["peak"] = std::max(counters["peak"], counters["bytes"]);
    return OK;
}

// Freed memory is poisoned, and kept for a while so that its address is not given out again.
static void release(Pointer p) {
    auto found = allocations.find(p);
    if (found == allocations.end()) fake_fail("a free of what is not allocated", __FILE__, __LINE__);
    static std::deque<std::pair<void*, size_t>> kept;
    static size_t bytes = 0;
    memset((void*)p, 0xfe, found->second.bytes);
    counters["bytes"] -= found->second.bytes;
    kept.emplace_back((void*)p, found->second.bytes);
    bytes += found->second.bytes;
    allocations.erase(found);
    while (bytes > 64u << 20) {
        bytes -= kept.front().second;
        free(kept.front().first);
        kept.pop_front();
    }
}

// ---- Streams ----

struct Event {
    uint64_t recorded = 0, done = 0;
};
struct Work {
    std::function<Status()> run;
    Event* wait = nullptr;
    uint64_t until = 0;
};
struct Stream {
    std::deque<Work> queue;
};
static std::set<Stream*>& streams() {
    static std::set<Stream*> all;
    return all;
}
static Stream* stream_of(void* s) {
    if (!s) fake_fail("the default stream, which the engine does not use", __FILE__, __LINE__);
    return (Stream*)s;
}
static Status failed = OK;

static bool step(Stream* s) {
    if (s->queue.empty()) return false;
    Work& first = s->queue.front();
    if (first.wait && first.wait->done < first.until) return false;
    Work work = std::move(first);
    s->queue.pop_front();
    if (work.run && failed == OK) failed = work.run();
    return true;
}

// Until something is so, any stream that can takes a step, drawn by chance.
template <class F> static Status drain(F finished) {
    while (!finished()) {
        std::vector<Stream*> all(streams().begin(), streams().end());
        std::shuffle(all.begin(), all.end(), chance());
        bool any = false;
        for (Stream* s : all) {
            if (step(s)) {
                any = true;
                break;
            }
        }
        if (!any) fake_fail("streams wait for each other", __FILE__, __LINE__);
    }
    return failed;
}

static Status enqueue(void* s, std::function<Status()> run) {
    if (is_lost()) return FAILED;
    Work work;
    work.run = std::move(run);
    stream_of(s)->queue.push_back(std::move(work));
    return failed;
}

// ---- The driver ----

EXPORT Status cuInit(unsigned) { return OK; }
EXPORT Status cuDriverGetVersion(int* v) {
    *v = (int)setting("VERSION", 12010);
    return OK;
}
EXPORT Status cuDeviceGetCount(int* n) {
    *n = (int)setting("DEVICES", 2);
    return OK;
}
EXPORT Status cuDeviceGet(int* d, int ordinal) {
    *d = ordinal;
    return ordinal < setting("DEVICES", 2) ? OK : NO_DEVICE;
}
EXPORT Status cuDeviceGetName(char* name, int len, int) {
    snprintf(name, len, "CUDA device of software");
    return OK;
}
EXPORT Status cuDeviceGetAttribute(int* v, int attribute, int) {
    // Compute capability, shared memory of a block that may be asked for, multiprocessors.
    *v = attribute == 75 ? (int)setting("CAPABILITY", 9) : attribute == 76 ? 0 : attribute == 97 ? 101376 : 2;
    return OK;
}
EXPORT Status cuDevicePrimaryCtxRetain(void** c, int d) {
    if (lost_file() && may_be_lost(d)) {
        if (FILE* file = fopen(lost_file(), "r")) {
            fclose(file);
            return FAILED;
        }
    }
    *c = (void*)(long)(d + 1);
    return OK;
}
EXPORT Status cuDevicePrimaryCtxRelease_v2(int) { return OK; }
static thread_local void* context;
EXPORT Status cuCtxSetCurrent(void* c) {
    context = c;
    return OK;
}
EXPORT Status cuMemGetInfo_v2(size_t* free_bytes, size_t* total) {
    LOCK();
    *total = (size_t)setting("MEMORY", 1l << 30);
    *free_bytes = *total - (size_t)counters["bytes"];
    return is_lost() ? FAILED : OK;
}
#define NEEDS_CONTEXT() \
    if (!context) fake_fail("a call from a thread without a context", __FILE__, __LINE__)

EXPORT Status cuStreamCreate(void** s, unsigned) {
    LOCK();
    NEEDS_CONTEXT();
    Stream* made = new Stream;
    streams().insert(made);
    *s = made;
    return OK;
}
EXPORT Status cuStreamDestroy_v2(void* s) {
    LOCK();
    drain([&] { return stream_of(s)->queue.empty(); });
    streams().erase((Stream*)s);
    delete (Stream*)s;
    return OK;
}
EXPORT Status cuStreamSynchronize(void* s) {
    LOCK();
    NEEDS_CONTEXT();
    counters["synchronisations"]++;
    if (is_lost()) return FAILED;
    return drain([&] { return stream_of(s)->queue.empty(); });
}
EXPORT Status cuMemAlloc_v2(Pointer* p, size_t n) {
    LOCK();
    NEEDS_CONTEXT();
    if (is_lost()) return FAILED;
    return allocate(p, n);
}
EXPORT Status cuMemFree_v2(Pointer p) {
    LOCK();
    NEEDS_CONTEXT();
    for (Stream* s : streams()) {
        if (!s->queue.empty() && failed == OK) {
            fake_fail("memory is freed that queued work may use", __FILE__, __LINE__);
        }
    }
    release(p);
    return OK;
}
// Pageable host memory: read before the call returns on the way in, written at the next wait on the
// way out.
EXPORT Status cuMemcpyHtoDAsync_v2(Pointer d, const void* h, size_t n, void* s) {
    LOCK();
    NEEDS_CONTEXT();
    counters["uploads"]++;
    counters["uploaded"] += n;
    auto copy = std::make_shared<std::vector<char>>((const char*)h, (const char*)h + n);
    return enqueue(s, [=] {
        inside(d, n, "a copy to the device beyond its memory");
        memcpy((void*)d, copy->data(), n);
        return OK;
    });
}
EXPORT Status cuMemcpyDtoHAsync_v2(void* h, Pointer d, size_t n, void* s) {
    LOCK();
    NEEDS_CONTEXT();
    counters["downloads"]++;
    counters["downloaded"] += n;
    return enqueue(s, [=] {
        inside(d, n, "a copy from the device beyond its memory");
        memcpy(h, (void*)d, n);
        return OK;
    });
}
EXPORT Status cuMemcpyDtoDAsync_v2(Pointer to, Pointer from, size_t n, void* s) {
    LOCK();
    NEEDS_CONTEXT();
    return enqueue(s, [=] {
        inside(to, n, "a copy on the device beyond its memory");
        inside(from, n, "a copy on the device beyond its memory");
        memmove((void*)to, (void*)from, n);
        return OK;
    });
}
EXPORT Status cuMemsetD8Async(Pointer d, unsigned char v, size_t n, void* s) {
    LOCK();
    NEEDS_CONTEXT();
    counters["memsets"]++;
    return enqueue(s, [=] {
        inside(d, n, "memory is set beyond its end");
        memset((void*)d, v, n);
        return OK;
    });
}
EXPORT Status cuModuleLoadData(void** m, const void* image) {
    // The text is the same that a device compiles; what runs here are the sources themselves.
    if (!strstr((const char*)image, ".entry program_small(")) return 218;
    *m = (void*)1;
    return OK;
}
EXPORT Status cuModuleUnload(void*) { return OK; }
EXPORT Status cuModuleGetFunction(void** f, void*, const char* name) {
    auto found = kernels().find(name);
    if (found == kernels().end()) return NOT_FOUND;
    *f = (void*)&*found;
    return OK;
}
EXPORT Status cuFuncSetAttribute(void*, int, int value) { return value <= 101376 ? OK : INVALID; }
EXPORT Status cuLaunchKernel(
    void* f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
    unsigned shared, void* s, void** arguments, void**) {
    LOCK();
    NEEDS_CONTEXT();
    auto& named = *(std::pair<const std::string, Kernel>*)f;
    if (gx == 0 || gy == 0 || gz == 0 || gy > 65535 || bx * by * bz > 1024 || shared > 101376) return INVALID;
    if (fails("launches")) return FAILED;
    // The device that is lost after so many launches: LOST_DEVICE, or any.
    long lost = setting("LOST", 0);
    if (lost && may_be_lost((long)context - 1) && counters["launches"] >= lost) lose();
    auto kept = std::make_shared<std::vector<std::vector<char>>>();
    for (size_t i = 0; i < named.second.sizes.size(); i++) {
        kept->emplace_back((char*)arguments[i], (char*)arguments[i] + named.second.sizes[i]);
    }
    return enqueue(s, [=, &named] {
        std::vector<void*> arguments;
        for (auto& argument : *kept) arguments.push_back(argument.data());
        std::vector<float> memory(shared / 4 + 4);
        running.grid_dim = {gx, gy, gz};
        running.block_dim = {bx, by, bz};
        running.kernel = named.first.c_str();
        running.seed = chance()();
        static u64 launches = 0;
        running.epoch = ++launches << 16;
        Order(gx * gy * gz).each([&](u32 i) {
            std::fill(memory.begin(), memory.end(), NAN);
            memory[shared / 4] = 12345;
            running.shared = memory.data();
            running.block = place_in(i, running.grid_dim);
            running.worker = i;
            run_block(named.second, arguments.data());
            if (memory[shared / 4] != 12345) fake_fail("shared memory beyond its end", __FILE__, __LINE__);
        });
        running.kernel = nullptr;
        return OK;
    });
}
EXPORT Status cuGetErrorName(int error, const char** name) {
    *name = error == NO_MEMORY ? "CUDA_ERROR_OUT_OF_MEMORY" : error == FAILED ? "CUDA_ERROR_LAUNCH_FAILED" : "CUDA_ERROR";
    return OK;
}
EXPORT Status cuGetErrorString(int error, const char** text) {
    *text = error == NO_MEMORY ? "out of memory" : error == FAILED ? "unspecified launch failure" : "an error";
    return OK;
}

// ---- cuBLAS ----

struct Handle {
    void* stream;
};
EXPORT Status cublasCreate_v2(void** handle) {
    *handle = new Handle{nullptr};
    return OK;
}
EXPORT Status cublasDestroy_v2(void* handle) {
    delete (Handle*)handle;
    return OK;
}
EXPORT Status cublasSetStream_v2(void* handle, void* s) {
    ((Handle*)handle)->stream = s;
    return OK;
}
EXPORT Status cublasSetWorkspace_v2(void*, void*, size_t) { return OK; }
EXPORT Status cublasGetVersion_v2(void*, int* v) {
    *v = 120103;
    return OK;
}

static float number(const void* p, size_t i, int type) {
    return type == 14 ? bits_as<float>((u32)((const u16*)p)[i] << 16) : ((const float*)p)[i];
}

// C = alpha op(A) op(B) + beta C in f32, column-major; types 0: f32, 14: bf16.
EXPORT Status cublasGemmEx(
    void* handle, int ta, int tb, int m, int n, int k, const void* alpha, const void* a, int at,
    int lda, const void* b, int bt, int ldb, const void* beta, void* c, int ct, int ldc, int, int) {
    LOCK();
    NEEDS_CONTEXT();
    counters["products"]++;
    if (is_lost()) return 13;
    if (m <= 0 || n <= 0 || k <= 0) return 7;
    float x = *(const float*)alpha, y = *(const float*)beta;
    size_t wide = at == 0 ? 4 : 2;
    Status status = enqueue(((Handle*)handle)->stream, [=] {
        inside((Pointer)a, ((size_t)lda * ((ta ? m : k) - 1) + (ta ? k : m)) * wide, "A of a product");
        inside((Pointer)b, ((size_t)ldb * ((tb ? k : n) - 1) + (tb ? n : k)) * (bt == 0 ? 4 : 2), "B of a product");
        inside((Pointer)c, ((size_t)ldc * (n - 1) + m) * (ct == 0 ? 4 : 2), "C of a product");
        std::vector<float> as((size_t)m * k), column(k);
        for (int i = 0; i < m; i++) {
            for (int l = 0; l < k; l++) {
                as[(size_t)i * k + l] = number(a, ta ? (size_t)i * lda + l : (size_t)l * lda + i, at);
            }
        }
        for (int j = 0; j < n; j++) {
            for (int l = 0; l < k; l++) column[l] = number(b, tb ? (size_t)l * ldb + j : (size_t)j * ldb + l, bt);
            for (int i = 0; i < m; i++) {
                float sum = 0;
                for (int l = 0; l < k; l++) sum += as[(size_t)i * k + l] * column[l];
                size_t to = (size_t)j * ldc + i;
                sum = x * sum + (y != 0 ? y * number(c, to, ct) : 0);
                if (ct == 0) {
                    ((float*)c)[to] = sum;
                } else {
                    u32 bits = bits_as<u32>(sum);
                    bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
                    ((u16*)c)[to] = (u16)(nan ? bits >> 16 | 0x40 : (bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
                }
            }
        }
        return OK;
    });
    return status == OK ? OK : 13;
}
