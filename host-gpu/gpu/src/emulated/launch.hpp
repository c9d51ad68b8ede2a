// What stands in for CUDA when the kernels are compiled for the host: built-in variables and types, and a launch that
// runs one block after the other. A block's threads run in turn, as fibres that give way at barriers only.
//
// The kernels follow, in an unnamed namespace, and after them one `clapp_call_NAME` for each.

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
// One block runs at a time, so that one copy is enough. The section makes all of it one range, to be poisoned.
#define __shared__ static __attribute__((section("clapp_shared")))
#define __syncthreads() clapp::barrier(__LINE__)

struct dim3 {
    unsigned x, y, z;
};
static dim3 threadIdx, blockIdx, blockDim, gridDim;

#define CLAPP_VECTOR(name, type, bytes, ...)        \
    struct alignas(bytes) name {                    \
        type __VA_ARGS__;                           \
    };
CLAPP_VECTOR(float2, float, 8, x, y)
CLAPP_VECTOR(float4, float, 16, x, y, z, w)
CLAPP_VECTOR(double2, double, 16, x, y)
CLAPP_VECTOR(int2, int, 8, x, y)
CLAPP_VECTOR(uint2, unsigned, 8, x, y)
CLAPP_VECTOR(uint4, unsigned, 16, x, y, z, w)
CLAPP_VECTOR(ushort4, unsigned short, 8, x, y, z, w)
CLAPP_VECTOR(uchar4, unsigned char, 4, x, y, z, w)
static inline float2 make_float2(float x, float y) { return {x, y}; }
static inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
static inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
static inline ushort4 make_ushort4(unsigned short x, unsigned short y, unsigned short z, unsigned short w) {
    return {x, y, z, w};
}
static inline uchar4 make_uchar4(unsigned char x, unsigned char y, unsigned char z, unsigned char w) {
    return {x, y, z, w};
}

static inline int min(int a, int b) { return b < a ? b : a; }
static inline int max(int a, int b) { return a < b ? b : a; }

static inline unsigned __float_as_uint(float value) {
    unsigned bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}
static inline float __uint_as_float(unsigned bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}
static inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)((unsigned long long)a * b >> 32); }
static inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return (unsigned long long)((unsigned __int128)a * b >> 64);
}
// Compiled without contraction, these are the plain operations.
static inline float __fadd_rn(float a, float b) { return a + b; }
static inline float __fsub_rn(float a, float b) { return a - b; }
static inline float __fmul_rn(float a, float b) { return a * b; }
static inline float __fdiv_rn(float a, float b) { return a / b; }
static inline float __fsqrt_rn(float a) { return sqrtf(a); }
static inline double __dadd_rn(double a, double b) { return a + b; }
static inline double __dmul_rn(double a, double b) { return a * b; }
template <class T> static inline T __ldg(const T* address) { return *address; }

// Fibres are changed by a few instructions of our own where we have them, else by the system's much slower way.
#if defined(__x86_64__) && !defined(CLAPP_UCONTEXT)
#define CLAPP_SWITCH
#else
#include <ucontext.h>
#endif

extern "C" char __start_clapp_shared[] __attribute__((weak, visibility("hidden")));
extern "C" char __stop_clapp_shared[] __attribute__((weak, visibility("hidden")));

namespace clapp {

using Call = void (*)(void* const*);

const size_t STACK = 64 * 1024;
const size_t GUARD = 64 * 1024;

enum State { RUNNING, WAITING, DONE };

struct Fibre {
#if defined(CLAPP_SWITCH)
    void* at;
#else
    ucontext_t at;
#endif
    unsigned char* stack;
    State state;
    unsigned thread;
    int line;
};

// The launch at work; Rust lets one in at a time.
static Fibre scheduler;
static Fibre fibres[1024];
static Fibre* current;
static Call call;
static void* const* arguments;
static unsigned next_thread;
static bool descending;
static bool failed;
static char message[512];

#if defined(CLAPP_SWITCH)
// Saves what a call must preserve on the stack at hand, and goes on where the other stack was left.
extern "C" void clapp_switch(void** from, void* to) __attribute__((visibility("hidden")));
asm(R"(
    .text
    .globl clapp_switch
    .hidden clapp_switch
    .type clapp_switch, @function
clapp_switch:
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
    .size clapp_switch, . - clapp_switch
)");
static void go(Fibre& from, Fibre& to) { clapp_switch(&from.at, to.at); }
static void prepare(Fibre& fibre, void (*body)()) {
    // As if `clapp_switch` had been called by nobody: six registers, and where to return to.
    void** top = reinterpret_cast<void**>(fibre.stack + STACK) - 2;
    *top = reinterpret_cast<void*>(body);
    top[1] = nullptr;
    for (int i = 0; i < 6; i++) *--top = nullptr;
    fibre.at = top;
}
#else
static void go(Fibre& from, Fibre& to) { swapcontext(&from.at, &to.at); }
static void prepare(Fibre& fibre, void (*body)()) {
    getcontext(&fibre.at);
    fibre.at.uc_stack.ss_sp = fibre.stack;
    fibre.at.uc_stack.ss_size = STACK;
    fibre.at.uc_link = nullptr;
    makecontext(&fibre.at, body, 0);
}
#endif

static void name_thread(unsigned turn) { threadIdx.x = descending ? blockDim.x - 1 - turn : turn; }

// Ends the launch, from within a kernel.
[[noreturn]] static void fail() {
    failed = true;
    Fibre& self = *current;
    go(self, scheduler);
    abort();
}

static __attribute__((noinline)) void barrier(int line) {
    Fibre& self = *current;
    self.state = WAITING;
    self.line = line;
    go(self, scheduler);
}

// Threads one after the other, as long as none meets a barrier; then this fibre stays with that thread.
static void body() {
    Fibre& self = *current;
    while (next_thread < blockDim.x) {
        self.thread = next_thread++;
        name_thread(self.thread);
        call(arguments);
    }
    self.state = DONE;
    go(self, scheduler);
    abort();
}

static bool resume(Fibre& fibre) {
    current = &fibre;
    fibre.state = RUNNING;
    go(scheduler, fibre);
    return !failed;
}

// Whether all threads have come to the same point, and that is a barrier; 1 yes, 0 all are done, -1 neither.
static int together(unsigned used) {
    unsigned waiting = 0;
    const Fibre* first = nullptr;
    for (unsigned i = 0; i < used; i++) {
        if (fibres[i].state != WAITING) continue;
        waiting++;
        if (!first) first = &fibres[i];
        if (fibres[i].line != first->line) {
            snprintf(message, sizeof message, "threads of block (%u, %u, %u) wait at the barriers of lines %d and %d",
                     blockIdx.x, blockIdx.y, blockIdx.z, first->line, fibres[i].line);
            return -1;
        }
    }
    if (waiting == 0) return 0;
    if (waiting == blockDim.x) return 1;
    snprintf(message, sizeof message, "%u of the %u threads of block (%u, %u, %u) wait at the barrier of line %d, the "
             "others have ended", waiting, blockDim.x, blockIdx.x, blockIdx.y, blockIdx.z, first->line);
    return -1;
}

static bool run_block() {
    memset(__start_clapp_shared, 0xFF, (size_t)(__stop_clapp_shared - __start_clapp_shared));
    next_thread = 0;
    unsigned used = 0;
    while (next_thread < blockDim.x) {
        Fibre& fibre = fibres[used++];
        if (!fibre.stack) {
            void* place = mmap(nullptr, GUARD + STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            // Who goes beyond a stack is stopped there.
            if (place == MAP_FAILED || mprotect(place, GUARD, PROT_NONE) != 0) {
                snprintf(message, sizeof message, "no memory for the stack of a thread");
                return false;
            }
            fibre.stack = static_cast<unsigned char*>(place) + GUARD;
        }
        prepare(fibre, body);
        if (!resume(fibre)) return false;
    }
    int more;
    while ((more = together(used)) == 1) {
        for (unsigned i = 0; i < used; i++) {
            name_thread(fibres[i].thread);
            if (!resume(fibres[i])) return false;
        }
    }
    return more == 0;
}

}  // namespace clapp

// Runs all blocks of a launch. 0, or 1 and what is wrong in `text`.
extern "C" __attribute__((visibility("default"))) int clapp_run(clapp::Call call, void* const* arguments,
                                                                const unsigned* grid, unsigned block, int descending,
                                                                char* text, size_t len) {
    clapp::call = call;
    clapp::arguments = arguments;
    clapp::descending = descending != 0;
    clapp::failed = false;
    clapp::message[0] = 0;
    gridDim = {grid[0], grid[1], grid[2]};
    blockDim = {block, 1, 1};
    threadIdx = {0, 0, 0};
    unsigned long long blocks = (unsigned long long)grid[0] * grid[1] * grid[2];
    for (unsigned long long turn = 0; turn < blocks; turn++) {
        unsigned long long at = descending ? blocks - 1 - turn : turn;
        blockIdx = {(unsigned)(at % grid[0]), (unsigned)(at / grid[0] % grid[1]), (unsigned)(at / grid[0] / grid[1])};
        if (!clapp::run_block()) {
            snprintf(text, len, "%s", clapp::message);
            return 1;
        }
    }
    return 0;
}

// What the compiler's checks of undefined behaviour call (`-fsanitize=...`): each first names a place in the source.
namespace clapp {
struct Place {
    const char* file;
    unsigned line, column;
};
[[noreturn]] static void undefined(const void* place, const char* what) {
    const Place* at = static_cast<const Place*>(place);
    snprintf(message, sizeof message, "%s, line %u: %s (thread %u of block (%u, %u, %u))", at->file, at->line, what,
             threadIdx.x, blockIdx.x, blockIdx.y, blockIdx.z);
    fail();
}
}  // namespace clapp
#define CLAPP_CHECK(name, what)                                                                                  \
    extern "C" __attribute__((visibility("hidden"))) void __ubsan_handle_##name##_abort(void* place, uintptr_t,  \
                                                                                        uintptr_t) {             \
        clapp::undefined(place, what);                                                                           \
    }
CLAPP_CHECK(type_mismatch_v1, "an address is null or not aligned as its type must be")
CLAPP_CHECK(out_of_bounds, "an index is beyond its array")
CLAPP_CHECK(add_overflow, "a sum of integers overflows")
CLAPP_CHECK(sub_overflow, "a difference of integers overflows")
CLAPP_CHECK(mul_overflow, "a product of integers overflows")
CLAPP_CHECK(negate_overflow, "a negated integer overflows")
CLAPP_CHECK(divrem_overflow, "an integer is divided by zero, or the quotient overflows")
CLAPP_CHECK(shift_out_of_bounds, "an integer is shifted too far")
CLAPP_CHECK(float_cast_overflow, "a number does not fit the integer that it is made")
