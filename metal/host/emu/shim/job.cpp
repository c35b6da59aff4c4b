// The runtime's C interface. A job is the dispatches between two barriers: the
// host adds them, has any number of its threads run the job, and reads its error.
// What a dispatch must not be asked the host has refused before.
#include "group.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif
#include <dlfcn.h>

using namespace msl_rt;

static uint64_t serials = 0;  // threadgroups so far

extern "C" {

// --- libraries of kernels -----------------------------------------------------
const KernelInfo* msl_find(const Table* t, const char* name) {
  for (int i = 0; i < t->n; i++) {
    if (!strcmp(t->kernels[i].name, name)) return &t->kernels[i];
  }
  return nullptr;
}

// Describes a kernel, a line each: its function and most threads; then each buffer
// with what it is (1 read, 2 written, 3 argument struct) and the size of an
// element; then, behind an empty line, each field of the argument struct.
int64_t msl_describe(const KernelInfo* k, char* out, uint64_t room) {
  size_t at = 0;
#define PUT(...) at += size_t(snprintf(out + (at < room ? at : room), at < room ? room - at : 0, __VA_ARGS__))
  PUT("%s %d\n", k->function, k->max_threads);
  for (int i = 0; i < k->nargs; i++) PUT("%s %d %zu\n", k->args[i].name, k->args[i].kind, k->args[i].size);
  PUT("\n");
  for (int i = 0; i < k->nfields; i++) PUT("%s %s %zu %zu\n", k->fields[i].name, k->fields[i].type, k->fields[i].at, k->fields[i].size);
#undef PUT
  return int64_t(at);
}

int64_t msl_checked(void) { return checked; }

// --- device memory ------------------------------------------------------------
constexpr size_t kPage = 16 * 1024, kGuard = 4 * kPage;

static size_t pages(uint64_t len) { return (len + kPage - 1) / kPage * kPage; }

// Memory is shared where it is pages of a MAP_SHARED mapping.
Memory* msl_memory(void* base, uint64_t len, int64_t shared) {
  Memory* m = static_cast<Memory*>(calloc(1, sizeof(Memory)));
  if (m) m->base = static_cast<char*>(base), m->len = len, m->shared = shared != 0;
  return m;
}

// The n-th address of memory, between guards; the first is its own. Null where
// there is no room.
static char* address(Memory* m, uint32_t n) {
  if (n == 0) return m->base;
  if (!m->alias[n]) {
    const size_t len = pages(m->len);
    char* room = static_cast<char*>(mmap(nullptr, len + 2 * kGuard, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    if (room == MAP_FAILED) return nullptr;
    // Of an old size of 0, mremap makes the same pages appear once more.
    void* p = mremap(m->base, 0, len, MREMAP_MAYMOVE | MREMAP_FIXED, room + kGuard);
    if (p == MAP_FAILED) {
      munmap(room, len + 2 * kGuard);
      return nullptr;
    }
    m->alias[n] = static_cast<char*>(p);
  }
  return m->alias[n];
}

void msl_memory_free(Memory* m) {
  for (char* a : m->alias) {
    if (a) munmap(a - kGuard, pages(m->len) + 2 * kGuard);
  }
  if (m->shadow) munmap(m->shadow, m->len * sizeof(Shadow));
  if (m->counted) munmap(m->counted, m->len * sizeof(uint32_t));
  free(m);
}
// Counts reads from now on, or returns what was read since. Only instrumented
// kernels are seen to read.
int64_t msl_memory_count(Memory* m) {
  if (m->counted) return 0;
  void* p = mmap(nullptr, m->len * sizeof(uint32_t), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) return -1;
  m->counted = static_cast<uint32_t*>(p);
  return 0;
}
int64_t msl_memory_reads(Memory* m) { return int64_t(m->reads); }
void msl_memory_reset(Memory* m) { m->reads = 0; }

// --- jobs -----------------------------------------------------------------------
static uint32_t mix(uint32_t h) {
  h ^= h >> 16;
  h *= 0x7feb352du;
  h ^= h >> 15;
  h *= 0x846ca68bu;
  return h ^ h >> 16;
}

// A seed of 0 keeps every order as it is written and the lane map in rows.
Job* msl_job(uint32_t seed, int64_t perturb) {
  Job* j = static_cast<Job*>(calloc(1, sizeof(Job)));
  if (!j) return nullptr;
  j->seed = seed;
  j->perturb = perturb != 0;
  for (uint32_t i = 0; i < 64; i++) j->map[i] = uint8_t(i);
  for (uint32_t i = 63; seed && i > 0; i--) {
    const uint32_t k = mix(seed + i) % (i + 1);
    const uint8_t x = j->map[i];
    j->map[i] = j->map[k], j->map[k] = x;
  }
  return j;
}

struct HostArg { void* p; uint64_t len; Memory* memory; };  // memory null: bytes to copy
struct HostUse { uint64_t arg, from, to, access; };

// Arguments before i that are in the same memory.
static uint32_t before(const HostArg* args, int64_t i) {
  uint32_t n = 0;
  for (int64_t k = 0; k < i; k++) n += args[k].memory == args[i].memory;
  return n;
}

// Binds arguments. Uses are by argument, in order. False where there is no room.
static bool bind_all(Dispatch* d, const HostArg* args, int64_t nargs, const HostUse* uses, int64_t nuses) {
  char* next = d->bytes;
  Use* use = d->uses;
  for (int64_t i = 0; i < nargs; i++) {
    const HostArg& a = args[i];
    if (!a.memory) {
      memcpy(next, a.p, a.len);
      d->buf[i] = next;
      d->bound[d->nbound++] = {next, a.len, nullptr, nullptr, 0, uint32_t(i), {}, {}};
      next += (a.len + 63) / 64 * 64;
      continue;
    }
    const uint32_t n = before(args, i);
    const bool own = checked && a.memory->shared;
    char* base = address(a.memory, own ? n : 0);
    if (!base) return false;
    d->buf[i] = base + (static_cast<char*>(a.p) - a.memory->base);
    if (!own && n > 0) continue;
    Bound b = {base, a.memory->len, a.memory, use, 0, uint32_t(i), {}, {}};
    for (int64_t u = 0; u < nuses; u++) {
      const uint64_t of = uses[u].arg;
      if (of == uint64_t(i) || (!own && args[of].memory == a.memory)) use[b.nuses++] = {uses[u].from, uses[u].to, uint32_t(uses[u].access)};
    }
    use += b.nuses;
    d->bound[d->nbound++] = b;
  }
  return true;
}

static uint64_t gcd(uint64_t a, uint64_t b) {
  while (b) {
    const uint64_t r = a % b;
    a = b, b = r;
  }
  return a;
}

// Adds a dispatch: shape is the grid and the threads of a threadgroup. 0 where
// memory ran out.
int64_t msl_add(Job* j, const KernelInfo* k, const char* label, const uint32_t* shape, const HostArg* args, int64_t nargs, const HostUse* uses, int64_t nuses) {
  Dispatch* d = static_cast<Dispatch*>(calloc(1, sizeof(Dispatch)));
  Use* u = static_cast<Use*>(calloc(size_t(nuses) + 1, sizeof(Use)));
  size_t room = 64;
  for (int64_t i = 0; i < nargs; i++) room += args[i].memory ? 0 : (args[i].len + 63) / 64 * 64;
  char* bytes = static_cast<char*>(aligned_alloc(64, room));
  char* name = strdup(label);
  if (j->n == j->room) {
    const uint32_t n = j->room ? 2 * j->room : 16;
    Dispatch** more = static_cast<Dispatch**>(realloc(j->d, n * sizeof(Dispatch*)));
    if (!more) return 0;
    j->d = more, j->room = n;
  }
  if (!d || !u || !bytes || !name) return 0;
  d->k = k;
  d->label = name;
  d->grid = {shape[0], shape[1], shape[2]};
  d->threads = shape[3];
  d->groups = uint64_t(shape[0]) * shape[1] * shape[2];
  d->start = j->total;
  d->stride = 1;
  if (j->seed) {
    d->offset = mix(j->seed + j->n) % d->groups;
    d->stride = 1 + mix(j->seed ^ j->n) % d->groups;
    while (gcd(d->stride, d->groups) != 1) d->stride++;
  }
  d->bytes = bytes;
  d->uses = u;
  if (!bind_all(d, args, nargs, uses, nuses)) return 0;
  Dl_info info;
  if (dladdr(reinterpret_cast<const void*>(k), &info) && info.dli_fname) {
    d->base = reinterpret_cast<uintptr_t>(info.dli_fbase);
    d->library = info.dli_fname;
  }
  j->total += d->groups;
  j->d[j->n++] = d;
  return 1;
}

static void run(Job* j, Group* g) {
  uint32_t at = 0;
  Dispatch* last = nullptr;
  for (;;) {
    uint64_t i = __atomic_fetch_add(&j->next, 1, __ATOMIC_RELAXED);
    if (i >= j->total || __atomic_load_n(&j->failed, __ATOMIC_RELAXED)) return;
    while (i >= j->d[at]->start + j->d[at]->groups) at++;
    Dispatch* d = j->d[at];
    if (d != last) {
      g->narrays = g->arena_used = g->arena_bytes = 0;
      g->d = last = d;
    }
    g->serial = j->first_serial + uint32_t(i);
    i = ((i - d->start) * d->stride + d->offset) % d->groups;
    g->pos = {uint32_t(i % d->grid.x), uint32_t(i / d->grid.x % d->grid.y), uint32_t(i / (uint64_t(d->grid.x) * d->grid.y))};
    run_group(g);
  }
}

// Readies a job for msl_run. 0 where the checker can number no more threadgroups.
int64_t msl_start(Job* j) {
  const uint64_t first = __atomic_fetch_add(&serials, j->total, __ATOMIC_RELAXED) + 1;
  j->first_serial = uint32_t(first);
  return !checked || first + j->total < 0xffffffffu;
}

// Works at a job until none of its threadgroups is left. Any number of threads may.
int64_t msl_run(Job* j) {
  Group* g = lease();
  if (!g) return 0;
  g->job = j;
#if defined(__x86_64__)
  // Apple's GPUs flush subnormal floats to zero, and so do kernels here.
  const unsigned csr = _mm_getcsr();
  _mm_setcsr(csr | 0x8040);
#endif
  run(j, g);
#if defined(__x86_64__)
  _mm_setcsr(csr);
#endif
  give_back(g);
  return 1;
}

// Copies what went wrong, nothing where all is well, and returns its length.
int64_t msl_error(Job* j, char* out) {
  memcpy(out, j->error, sizeof j->error);
  return int64_t(strlen(j->error));
}

void msl_job_free(Job* j) {
  for (uint32_t i = 0; i < j->n; i++) {
    Dispatch* d = j->d[i];
    free(const_cast<char*>(d->label));
    free(d->uses);
    free(d->bytes);
    free(d);
  }
  free(j->d);
  free(j);
}

}  // extern "C"
