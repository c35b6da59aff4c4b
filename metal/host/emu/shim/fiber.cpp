// Fibers: the threads of a threadgroup on one thread of the machine, and where
// they meet.
#include "group.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace msl_rt {

// --- changing stacks ----------------------------------------------------------
#if defined(__x86_64__)
asm(R"(
.text
.globl msl_switch
.type msl_switch,@function
msl_switch:
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
.size msl_switch,.-msl_switch
)");
static void* fresh_context(char* stack, void (*fn)()) {
  void** sp = reinterpret_cast<void**>(stack + kStack);
  *--sp = nullptr;
  *--sp = reinterpret_cast<void*>(fn);
  for (int i = 0; i < 6; i++) *--sp = nullptr;
  return sp;
}
#else  // some five times slower
extern "C" void msl_switch(void** save, void* load) {
  ucontext_t self;
  *save = &self;
  swapcontext(&self, static_cast<ucontext_t*>(load));
}
static void* fresh_context(char* stack, void (*fn)()) {
  ucontext_t* u = reinterpret_cast<ucontext_t*>(stack + kStack - sizeof(ucontext_t) - 64);
  getcontext(u);
  u->uc_stack.ss_sp = stack;
  u->uc_stack.ss_size = kStack - sizeof(ucontext_t) - 128;
  u->uc_link = nullptr;
  makecontext(u, fn, 0);
  return u;
}
#endif

thread_local Thread* cur __attribute__((tls_model("initial-exec"))) = nullptr;

static void to_main(Thread* t) {
  cur = nullptr;
  msl_switch(&t->sp, t->group->main_sp);
}

static pthread_mutex_t error_mutex = PTHREAD_MUTEX_INITIALIZER;

void fail(const char* format, ...) {
  Thread* t = cur;
  Group* g = t->group;
  Job* j = g->job;
  char text[2048];
  va_list ap;
  va_start(ap, format);
  vsnprintf(text, sizeof text, format, ap);
  va_end(ap);
  pthread_mutex_lock(&error_mutex);
  if (!j->error[0]) {
    snprintf(j->error, sizeof j->error, "%s (%s): threadgroup (%u,%u,%u) thread %u (simdgroup %u lane %u): %s", g->d->k->name,
             g->d->label, g->pos.x, g->pos.y, g->pos.z, t->tid, t->sg, t->lane, text);
  }
  pthread_mutex_unlock(&error_mutex);
  __atomic_store_n(&j->failed, 1, __ATOMIC_RELAXED);
  g->dirty = true;
  to_main(t);
  abort();
}

// --- who runs next ------------------------------------------------------------
static Thread* pick(Group* g, Thread* t) {
  uint32_t m = g->simd[t->sg].runnable;
  if (m) {
    const uint32_t above = m & (0xfffffffeu << t->lane);
    return &g->th[t->sg * kSimd + uint32_t(__builtin_ctz(above ? above : m))];
  }
  for (uint32_t i = 1; i < g->nsg; i++) {
    const uint32_t s = (t->sg + i) % g->nsg;
    if ((m = g->simd[s].runnable)) return &g->th[s * kSimd + uint32_t(__builtin_ctz(m))];
  }
  return nullptr;
}

// Runs of threads in the same state, for the message that nobody can go on.
static void describe(Group* g, char* out, size_t n) {
  size_t at = 0;
  for (uint32_t i = 0; i < g->nthreads && at + 100 < n; i++) {
    const Thread* t = &g->th[i];
    const bool done = t->simd->done >> t->lane & 1;
    uint32_t j = i;
    for (; j + 1 < g->nthreads; j++) {
      const Thread* u = &g->th[j + 1];
      if (bool(u->simd->done >> u->lane & 1) != done || (!done && u->line != t->line)) break;
    }
    at += size_t(done ? snprintf(out + at, n - at, " [%u-%u returned]", i, j)
                      : snprintf(out + at, n - at, " [%u-%u wait at line %d]", i, j, t->line));
    i = j;
  }
}

void wait_next(Thread* t) {
  Group* g = t->group;
  Thread* n = pick(g, t);
  if (n == t) return;
  if (!n) {
    if (g->finished == g->nthreads) {
      to_main(t);
      return;
    }
    char text[1500] = "";
    describe(g, text, sizeof text);
    fail("not every thread reaches the barrier or SIMD-group operation:%s", text);
  }
  cur = n;
  msl_switch(&t->sp, n->sp);
}

void misuse(Thread* t, int line) {
  Simd* s = t->simd;
  if (s->done) fail("SIMD-group operation at line %d after some lanes returned (mask %08x)", line, s->done);
  fail("lanes of one simdgroup are at different SIMD-group operations: lines %d and %d", s->line, line);
}

void barrier(int flags, int line) {
  Thread* t = cur;
  Group* g = t->group;
  if (!g->at_barrier) {
    g->barrier_line = line;
  } else if (g->barrier_line != line) {
    fail("threads of one threadgroup are at different barriers: lines %d and %d", g->barrier_line, line);
  }
  t->simd->runnable &= ~(1u << t->lane);
  t->line = line;
  if (++g->at_barrier < g->nthreads) {
    wait_next(t);
    return;
  }
  g->at_barrier = 0;
  if (flags & 2) g->tge[0]++;
  if (flags & 1) g->tge[1]++;
  if (checked && (g->tge[0] > 65535 || g->tge[1] > 65535)) fail("more barriers than the checker can count");
  for (uint32_t i = 0; i < g->nsg; i++) g->simd[i].runnable = kAll;
  if (t->tid != 0) {  // thread 0 goes on first: a fixed order, and everyone's turn comes
    cur = &g->th[0];
    msl_switch(&t->sp, cur->sp);
  }
}

void simd_barrier(int flags, int line) {
  Thread* t = cur;
  if (simd_arrive(t, line)) {
    if (flags & 2) t->simd->epoch[0]++;
    if (flags & 1) t->simd->epoch[1]++;
    if (checked && (t->simd->epoch[0] > 65535 || t->simd->epoch[1] > 65535)) fail("more barriers than the checker can count");
    simd_release(t);
  }
}

// The array that a TG_ARRAY names: the first thread to come makes it.
void* tg_array(const void* key, size_t bytes, size_t align, int line) {
  Group* g = cur->group;
  for (uint32_t i = 0; i < g->narrays; i++) {
    if (g->arrays[i].key == key) return g->arena + g->arrays[i].off;
  }
  const uint32_t off = uint32_t((g->arena_used + align - 1) / align * align);
  g->arena_bytes += uint32_t((bytes + 15) / 16 * 16);
  if (g->arena_bytes > kMaxTgMem) fail("threadgroup memory of %u bytes at line %d is over Metal's %u", g->arena_bytes, line, kMaxTgMem);
  if (g->narrays == sizeof g->arrays / sizeof g->arrays[0]) fail("more than %u threadgroup arrays", g->narrays);
  g->arrays[g->narrays++] = {key, off, uint32_t(bytes)};
  g->arena_used = off + uint32_t(bytes) + 48;
  return g->arena + off;
}

// --- threadgroups -------------------------------------------------------------
// A fiber belongs to one thread of one group for good, and runs kernel after
// kernel: what it knows of itself it must not read again from `cur`, which
// belongs to the thread of the machine.
static void fiber_main() {
  Thread* const t = cur;
  Group* const g = t->group;
  for (;;) {
    const Dispatch* d = g->d;
    const Launch l = {d->buf, g->pos, d->grid, t->tid, d->threads};
    d->k->fn(l);
    t->simd->done |= 1u << t->lane;
    t->simd->runnable &= ~(1u << t->lane);
    g->finished++;
    wait_next(t);
  }
}

void run_group(Group* g) {
  g->nthreads = g->d->threads;
  g->nsg = g->nthreads / kSimd;
  g->finished = g->at_barrier = 0;
  g->tge[0] = g->tge[1] = 1;
  for (uint32_t s = 0; s < g->nsg; s++) {
    Simd& m = g->simd[s];
    m.runnable = kAll;
    m.done = m.arrived = 0;
    m.epoch[0] = m.epoch[1] = 1;
  }
  if (g->dirty) {
    g->fibers = 0;
    g->dirty = false;
  }
  for (; g->fibers < g->nthreads; g->fibers++) g->th[g->fibers].sp = fresh_context(g->th[g->fibers].stack, fiber_main);
  const uint32_t seed = g->job->perturb ? g->job->seed | 1u : 0;
  for (uint32_t i = 0; i < g->nthreads; i++) {
    g->th[i].parity = 0;  // a kernel that failed left its lanes apart
    g->th[i].seed = seed;
    g->th[i].map = g->job->map;
  }
  memset(g->arena, 0xff, g->arena_used ? g->arena_used : 64);  // NaN: stale values must not look right
  cur = &g->th[0];
  msl_switch(&g->main_sp, cur->sp);
}

// Groups are kept in a list and not one for each thread: Go calls from many.
static pthread_mutex_t free_mutex = PTHREAD_MUTEX_INITIALIZER;
static Group* free_groups = nullptr;

Group* lease() {
  pthread_mutex_lock(&free_mutex);
  Group* g = free_groups;
  if (g) free_groups = g->next;
  pthread_mutex_unlock(&free_mutex);
  if (g) return g;
  const int prot = PROT_READ | PROT_WRITE, flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  void* p = mmap(nullptr, sizeof(Group), prot, flags, -1, 0);
  void* stacks = mmap(nullptr, kStack * kMaxThreads, prot, flags, -1, 0);
  if (p == MAP_FAILED || stacks == MAP_FAILED) return nullptr;
  g = static_cast<Group*>(p);
  g->stacks = static_cast<char*>(stacks);
  if (checked) g->tshadow = static_cast<Shadow*>(mmap(nullptr, kArena * sizeof(Shadow), prot, flags, -1, 0));
  for (uint32_t i = 0; i < kMaxThreads; i++) {
    Thread& t = g->th[i];
    t.tid = i;
    t.sg = i / kSimd;
    t.lane = i % kSimd;
    t.simd = &g->simd[t.sg];
    t.group = g;
    t.stack = g->stacks + kStack * i;
  }
  return g;
}

void give_back(Group* g) {
  pthread_mutex_lock(&free_mutex);
  g->next = free_groups;
  free_groups = g;
  pthread_mutex_unlock(&free_mutex);
}

}  // namespace msl_rt
