// The CPU shim's runtime, as kernels and its own sources see it. A threadgroup is
// a group of fibers on one thread of the machine: 32 of them, a simdgroup, meet at
// each SIMD-group function, all of them at a threadgroup barrier. Kernels are
// compiled apart from the runtime, against this header; in a checked build they
// are instrumented and the runtime, which never is, sees all that they touch.
#pragma once
#include <stddef.h>
#include <stdint.h>

namespace msl_rt {

constexpr uint32_t kSimd = 32;            // lanes of a simdgroup
constexpr uint32_t kMaxThreads = 1024;    // threads of a threadgroup
constexpr uint32_t kMaxTgMem = 32 * 1024; // bytes of threadgroup memory
constexpr uint32_t kMaxArgs = 31;         // entries of the argument table
constexpr uint32_t kAll = 0xffffffffu;    // every lane

struct Group;  // a threadgroup at work (group.h)

// What the lanes of a simdgroup leave for each other. There are two of each
// place, used in turn, so that a fast lane may be one meeting ahead.
struct Simd {
  alignas(64) unsigned char slot[2][kSimd * 16];  // a value of each lane
  alignas(16) unsigned char result[2][16];
  float mat[2][3][64];  // a, b, c of a matrix product, row by row
  float out[2][64];
  uint32_t done;      // lanes that have returned
  uint32_t runnable;  // lanes that wait for nothing
  uint32_t arrived;   // lanes that wait at the current meeting
  int line;           // where that is
  uint32_t epoch[2];  // simdgroup barriers so far, of threadgroup and of device memory
};

struct Thread {
  void* sp;    // saved stack pointer
  Simd* simd;
  uint32_t lane, sg, tid;
  uint32_t parity;      // which of the two places is next
  int line;             // where it waits
  const uint8_t* map;   // the cell of an 8x8 matrix that lane l holds as element e: map[2l + e]
  uint32_t seed;        // perturbs results, where not 0
  char* stack;
  Group* group;
};

struct Pos3 { uint32_t x, y, z; };

// Launch is what a generated wrapper turns into a kernel's arguments.
struct Launch {
  void* const* buf;  // by buffer index
  Pos3 tg, grid;     // the threadgroup, and how many there are
  uint32_t tid, threads;
};

enum ArgKind { kRead = 1, kWrite = 2, kConstant = 3 };
struct ArgInfo { int kind; size_t size; const char* name; };  // size of what is pointed to
struct Field { const char* name; const char* type; size_t at, size; };
struct KernelInfo {
  const char* name;      // of the instance
  const char* function;  // of the kernel
  void (*fn)(const Launch&);
  const ArgInfo* args;
  int nargs;
  int max_threads;
  const Field* fields;   // of the argument struct
  int nfields;
  size_t struct_size;
};
struct Table { const KernelInfo* kernels; int n; };

// The thread that runs, null outside a kernel.
extern thread_local Thread* cur __attribute__((tls_model("initial-exec")));

[[noreturn]] void fail(const char* format, ...) __attribute__((format(printf, 1, 2)));
void wait_next(Thread* t);                 // runs another thread until t may go on
[[noreturn]] void misuse(Thread* t, int line);  // lanes meet that must not
void barrier(int flags, int line);
void simd_barrier(int flags, int line);
void* tg_array(const void* key, size_t bytes, size_t align, int line);

enum AtomicOp { kLoad, kStore, kAdd, kSub, kAnd, kOr, kMaxU, kMinU, kMaxI, kMinI, kSwap };
uint32_t atomic_op(void* p, uint32_t v, AtomicOp op);

extern "C" void msl_switch(void** save, void* load);

// Parts of the shim that a checked build must not report as the kernel's own.
#if defined(MSL_CHECKED)
#define MSL_INTERNAL __attribute__((no_sanitize("thread", "undefined"), noinline))
#else
#define MSL_INTERNAL inline
#endif

// Lanes of a simdgroup meet: true in the last to come, which computes and then
// calls simd_release; false in the others, after that.
MSL_INTERNAL bool simd_arrive(Thread* t, int line) {
  Simd* s = t->simd;
  if (__builtin_expect(s->done || (s->arrived && s->line != line), 0)) misuse(t, line);
  const uint32_t bit = 1u << t->lane;
  s->line = line;
  s->arrived |= bit;
  if (s->arrived == kAll) return true;
  s->runnable &= ~bit;
  t->line = line;
  const uint32_t above = s->runnable & (0xfffffffeu << t->lane);
  if (above) {  // the next lane of the same simdgroup: threads lie one behind the other
    Thread* n = t + (uint32_t(__builtin_ctz(above)) - t->lane);
    cur = n;
    msl_switch(&t->sp, n->sp);
  } else {
    wait_next(t);
  }
  return false;
}
MSL_INTERNAL void simd_release(Thread* t) {
  t->simd->runnable |= t->simd->arrived;
  t->simd->arrived = 0;
}

}  // namespace msl_rt
