// The runtime's own state: jobs, their dispatches, the threadgroups at work, and
// the checker's shadow of memory.
#pragma once
#include "rt.h"

#include <pthread.h>

namespace msl_rt {

constexpr size_t kStack = 64 * 1024;
constexpr size_t kArena = kMaxTgMem + 64 * 64;  // room for a gap behind each array

// Shadow is what the checker knows of a byte: who wrote it last and who read it.
// A serial is a threadgroup's number, 0 is none. Epochs count barriers.
struct Shadow {
  uint32_t wgroup, rgroup;
  uint32_t wpc, rpc;  // distance from the kernels' library
  uint16_t wtge, wsge, rtge, rsge;
  uint16_t wtid, rtid;
  uint8_t watomic, ratomic, rmulti, rcross;
};
static_assert(sizeof(Shadow) == 32, "a shadow has 32 bytes");

// Memory is a device buffer. Arguments of a checked dispatch that lie in the same
// one see it at addresses of their own, so that an access is known to be by one of
// them, and can be held to what that one declares.
struct Memory {
  char* base;
  uint64_t len;
  bool shared;            // it can be seen at other addresses
  char* alias[kMaxArgs];  // those, made when a dispatch first needs them
  Shadow* shadow;     // of each byte, made when a checked kernel first may write it
  uint32_t* counted;  // of each byte the last threadgroup that read it; null: not counted
  uint64_t reads;     // bytes read, each once by a threadgroup
};

struct Use { uint64_t from, to; uint32_t access; };  // access: 1 read, 2 write
struct Span { uint64_t from, to; };

struct Bound {  // one argument of a dispatch; or all in one buffer, where they have no addresses of their own
  char* lo;
  uint64_t len;
  Memory* memory;  // null: bytes
  const Use* uses;
  uint32_t nuses;
  uint32_t first;  // the first argument that it is bound to
  Span found[2];   // what was last found to be declared, to read and to write
  Span clean;      // what was last found to be written by nobody
};

struct TgArray { const void* key; uint32_t off, size; };

struct Dispatch {
  const KernelInfo* k;
  const char* label;
  Pos3 grid;
  uint32_t threads;
  uint64_t groups, start;  // its threadgroups, and the number of the first in the job
  uint64_t stride, offset; // group i of the order is i·stride + offset
  void* buf[kMaxArgs];
  Bound bound[kMaxArgs];
  uint32_t nbound;
  Use* uses;
  char* bytes;     // copies of the arguments that are bytes
  uintptr_t base;  // where the kernel's library lies
  const char* library;
};

// Job is the dispatches between two barriers.
struct Job {
  Dispatch** d;
  uint32_t n, room;
  uint64_t total, next;
  uint32_t seed;
  bool perturb;
  int failed;
  uint32_t first_serial;
  uint8_t map[64];
  char error[4096];
};

struct Group {
  Thread th[kMaxThreads];
  Simd simd[kMaxThreads / kSimd];
  alignas(64) char arena[kArena];
  uint32_t nthreads, nsg;
  uint32_t finished, at_barrier;
  int barrier_line;
  uint32_t tge[2];  // threadgroup barriers so far, of threadgroup and of device memory
  uint32_t serial;
  TgArray arrays[64];
  uint32_t narrays, arena_used, arena_bytes;
  uint32_t fibers;  // contexts made
  bool dirty;       // some fiber stands in the middle of a kernel
  void* main_sp;
  char* stacks;
  Dispatch* d;
  Job* job;
  Pos3 pos;
  Shadow* tshadow;  // of the arena, in a checked build
  Group* next;      // in the list of free ones
};

extern bool checked;  // kernels are instrumented

// Where a pc of a kernel's library stands, as text that the host turns into a line.
struct Place { char text[600]; };
Place place(const Dispatch* d, uint32_t pc);
void access(const void* p, size_t n, int op, const void* pc);
enum { kIsRead = 0, kIsWrite = 1, kIsAtomic = 2 };

void run_group(Group* g);      // runs one threadgroup (fiber.cpp)
Group* lease();                // a group of the free list, or a new one
void give_back(Group* g);

}  // namespace msl_rt
