// The memory checker. A checked build's kernels are compiled with
// -fsanitize=thread, and hooks.cpp stands in for the sanitizer's runtime: every
// access of a kernel to memory comes here. Refused are
//   - accesses outside the dispatch's buffers, or outside the ranges of them that
//     the dispatch declares to read or to write
//   - accesses past a threadgroup array, and reads of what nobody wrote there
//   - writes to what is constant; misaligned accesses
//   - races: two accesses to a byte, one of them a write, that no barrier orders.
//     Barriers order by their memory flag and scope; nothing orders two
//     threadgroups, of one dispatch or of two between the same barriers.
// It judges what was executed. Only what may be written can race, so device
// memory that nobody declares to write costs nothing.
#include "group.h"

#include <dlfcn.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

namespace msl_rt {

bool checked = false;

struct Who { uint32_t group; uint16_t tge, sge, tid; };

Place place(const Dispatch* d, uint32_t pc) {
  Place p;
  if (!pc) {
    snprintf(p.text, sizeof p.text, "?");
  } else {
    snprintf(p.text, sizeof p.text, "\x02%x %.500s\x03", pc - 1, d->library);
  }
  return p;
}

static uint32_t offset_of(const Dispatch* d, const void* pc) {
  const uintptr_t at = reinterpret_cast<uintptr_t>(pc) - d->base;
  return at < 0xffffffffu ? uint32_t(at) : 0;
}

// Ordered: what `who` did before (group pg at epochs ptge, psge) is seen by w.
static bool ordered(uint32_t pg, uint16_t ptge, uint16_t psge, uint16_t ptid, const Who& w) {
  if (pg != w.group) return false;
  if (ptid == w.tid || ptge != w.tge) return true;
  return ptid / kSimd == w.tid / kSimd && psge != w.sge;
}

static void race(const char* memory, const char* now, const char* before, uint32_t pg, uint16_t ptid, uint32_t pc, uint32_t ppc, const Who& w) {
  const Dispatch* d = cur->group->d;
  char other[64];
  if (pg == w.group) snprintf(other, sizeof other, "thread %u", ptid);
  else snprintf(other, sizeof other, "a thread of another threadgroup");
  fail("race in %s memory: %s at %s, %s by %s at %s, no barrier between", memory, now, place(d, pc).text, before, other, place(d, ppc).text);
}

// Notes an access to n bytes, and refuses it where another is not ordered before.
// Entries of threadgroups before `first` belong to dispatches behind a barrier.
static void note(Shadow* sh, size_t n, int op, uint32_t pc, const Who& w, uint32_t first, const char* memory) {
  const bool write = op & kIsWrite, atomic = op & kIsAtomic;
  for (size_t i = 0; i < n; i++) {
    Shadow& s = sh[i];
    if (s.wgroup && s.wgroup >= first && !(atomic && s.watomic) && !ordered(s.wgroup, s.wtge, s.wsge, s.wtid, w)) {
      race(memory, write ? "write" : "read", "written", s.wgroup, s.wtid, pc, s.wpc, w);
    }
    if (write) {
      if (s.rgroup && s.rgroup >= first && !(atomic && s.ratomic)) {
        bool bad;
        if (s.rgroup != w.group) bad = true;
        else if (s.rtge != w.tge) bad = false;
        else if (s.rcross || s.rtid / kSimd != w.tid / kSimd) bad = true;
        else bad = s.rsge == w.sge && (s.rmulti || s.rtid != w.tid);
        if (bad) race(memory, "write", "read", s.rgroup, s.rtid, pc, s.rpc, w);
      }
      s.wgroup = w.group, s.wtge = w.tge, s.wsge = w.sge, s.wtid = w.tid, s.watomic = atomic, s.wpc = pc;
      continue;
    }
    // The last reader stands for all: rmulti and rcross say that there were
    // others since the barrier, of the same simdgroup or of another.
    if (s.rgroup != w.group || s.rtge != w.tge) s.rmulti = s.rcross = 0;
    else if (s.rtid / kSimd != w.tid / kSimd) s.rcross = 1;
    else if (s.rsge != w.sge) s.rmulti = 0;
    else if (s.rtid != w.tid) s.rmulti = 1;
    s.rgroup = w.group, s.rtge = w.tge, s.rsge = w.sge, s.rtid = w.tid, s.ratomic = atomic, s.rpc = pc;
  }
}

// --- device memory ------------------------------------------------------------
static const char* verb(int op) { return op & kIsWrite ? "write" : "read"; }

// The argument whose pointer leads to a place of a buffer: the last that begins
// before it; all that are bound to it where the place is none of the buffer's.
static const char* argument(const Dispatch* d, const Bound& b, uint64_t at, char* out, size_t n) {
  const char* best = nullptr;
  size_t len = 0;
  int is = -1;
  out[0] = 0;
  for (int i = 0; i < d->k->nargs && len + 60 < n; i++) {
    const char* p = static_cast<char*>(d->buf[i]);
    if (b.memory ? p < b.lo || p >= b.lo + b.len : i != int(b.first)) continue;
    if (at < b.len && p <= b.lo + at && p >= best) best = p, is = i;
    len += size_t(snprintf(out + len, n - len, "%s%s", len ? ", " : "", d->k->args[i].name));
  }
  if (is >= 0) snprintf(out, n, "%s, whose byte %lld that is", d->k->args[is].name, (long long)(b.lo + at - best));
  return out;
}

// Whether the dispatch declares an access to all of [from, to). Ranges that touch
// add up: the span that was found last is kept.
static bool declared(Bound& b, uint64_t from, uint64_t to, uint32_t access) {
  Span& last = b.found[access == 2];
  if (from >= last.from && to <= last.to) return true;
  uint64_t reach = from, start = from;
  for (bool more = true; more;) {
    more = false;
    for (uint32_t i = 0; i < b.nuses; i++) {
      const Use& u = b.uses[i];
      if (!(u.access & access) || u.from > reach || u.to < start) continue;
      if (u.to > reach) reach = u.to, more = true;
      if (u.from < start) start = u.from, more = true;
    }
  }
  if (reach < to) return false;
  last = {start, reach};
  return true;
}

static void undeclared(const Dispatch* d, const Bound& b, uint64_t from, size_t n, int op, uint32_t pc) {
  char names[200], ranges[600];
  size_t at = 0;
  const uint32_t want = op & kIsWrite ? 2 : 1;
  ranges[0] = 0;
  for (uint32_t i = 0; i < b.nuses && at + 60 < sizeof ranges; i++) {
    if (b.uses[i].access & want) at += size_t(snprintf(ranges + at, sizeof ranges - at, " [%llu, %llu)", (unsigned long long)b.uses[i].from, (unsigned long long)b.uses[i].to));
  }
  fail("%s of bytes [%llu, %llu) of the buffer at %s; the dispatch declares to %s%s, at %s", verb(op), (unsigned long long)from,
       (unsigned long long)(from + n), argument(d, b, from, names, sizeof names), verb(op), at ? ranges : " nothing", place(d, pc).text);
}

static void count(Memory* m, uint64_t from, size_t n, uint32_t serial) {
  for (size_t i = 0; i < n; i++) {
    if (m->counted[from + i] == serial) continue;
    m->counted[from + i] = serial;
    m->reads++;
  }
}

static Shadow* shadow_of(Memory* m) {
  if (!m->shadow) {
    void* p = mmap(nullptr, m->len * sizeof(Shadow), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) fail("no room for the checker's %llu bytes", (unsigned long long)(m->len * sizeof(Shadow)));
    m->shadow = static_cast<Shadow*>(p);
  }
  return m->shadow;
}

// Whether some dispatch of the job may write some of these bytes: else they cannot
// race. The span around them that nobody writes is kept.
static bool may_be_written(const Job* j, Bound& b, uint64_t from, uint64_t to) {
  if (from >= b.clean.from && to <= b.clean.to) return false;
  Span clean = {0, b.len};
  for (uint32_t i = 0; i < j->n; i++) {
    const Dispatch* d = j->d[i];
    for (uint32_t k = 0; k < d->nbound; k++) {
      if (d->bound[k].memory != b.memory) continue;
      for (uint32_t u = 0; u < d->bound[k].nuses; u++) {
        const Use& x = d->bound[k].uses[u];
        if (!(x.access & 2)) continue;
        if (x.from < to && from < x.to) return true;
        if (x.to <= from && x.to > clean.from) clean.from = x.to;
        if (x.from >= to && x.from < clean.to) clean.to = x.from;
      }
    }
  }
  b.clean = clean;
  return false;
}

static void device_access(Thread* t, Bound& b, uint64_t from, size_t n, int op, uint32_t pc) {
  const Group* g = t->group;
  const Dispatch* d = g->d;
  char names[200];
  if (from + n > b.len) {
    fail("%zu-byte %s across the end of the buffer at %s (%llu bytes) at %s", n, verb(op), argument(d, b, from, names, sizeof names), (unsigned long long)b.len, place(d, pc).text);
  }
  const size_t align = n > 16 ? 16 : n & (~n + 1);
  if (reinterpret_cast<uintptr_t>(b.lo + from) % align) {
    fail("misaligned %zu-byte %s of byte %llu of the buffer at %s at %s", n, verb(op), (unsigned long long)from, argument(d, b, from, names, sizeof names), place(d, pc).text);
  }
  if (!b.memory) {
    if (op & kIsWrite) fail("write to %s, whose bytes are constant, at %s", argument(d, b, from, names, sizeof names), place(d, pc).text);
    return;
  }
  if (!declared(b, from, from + n, op & kIsWrite ? 2 : 1)) undeclared(d, b, from, n, op, pc);
  if (!(op & kIsWrite)) {
    if (b.memory->counted) count(b.memory, from, n, g->serial);
    if (!may_be_written(g->job, b, from, from + n)) return;
  }
  const Who w = {g->serial, uint16_t(g->tge[1]), uint16_t(t->simd->epoch[1]), uint16_t(t->tid)};
  note(shadow_of(b.memory) + from, n, op, pc, w, g->job->first_serial, "device");
}

// --- threadgroup memory -------------------------------------------------------
static void threadgroup_access(Thread* t, uint32_t off, size_t n, int op, uint32_t pc) {
  const Group* g = t->group;
  bool in = false;
  for (uint32_t i = 0; i < g->narrays; i++) in |= off >= g->arrays[i].off && off + n <= g->arrays[i].off + g->arrays[i].size;
  if (!in) fail("%s of %zu bytes past the end of a threadgroup array at %s", verb(op), n, place(g->d, pc).text);
  if (op == kIsRead) {
    for (size_t i = 0; i < n; i++) {
      if (g->tshadow[off + i].wgroup != g->serial) fail("read of threadgroup memory that no thread has written at %s", place(g->d, pc).text);
    }
  }
  const Who w = {g->serial, uint16_t(g->tge[0]), uint16_t(t->simd->epoch[0]), uint16_t(t->tid)};
  note(g->tshadow + off, n, op, pc, w, g->serial, "threadgroup");
}

// --- all else -------------------------------------------------------------------
struct Image { uintptr_t lo, hi; };
static Image images[4096];
static uint32_t nimages;
static int add_image(dl_phdr_info* i, size_t, void*) {
  for (int k = 0; k < i->dlpi_phnum; k++) {
    if (i->dlpi_phdr[k].p_type != PT_LOAD || nimages == sizeof images / sizeof images[0]) continue;
    const uintptr_t lo = i->dlpi_addr + i->dlpi_phdr[k].p_vaddr;
    images[nimages++] = {lo, lo + i->dlpi_phdr[k].p_memsz};
  }
  return 0;
}

// Program scope: tables and constants of a library.
static bool in_image(uintptr_t a, size_t n) {
  for (int again = 0; again < 2; again++) {
    for (uint32_t i = 0; i < nimages; i++) {
      if (a >= images[i].lo && a + n <= images[i].hi) return true;
    }
    nimages = 0;  // a library may have come since
    dl_iterate_phdr(add_image, nullptr);
  }
  return false;
}

[[noreturn]] static void nowhere(const Dispatch* d, uintptr_t a, size_t n, int op, uint32_t pc) {
  char names[200];
  for (uint32_t i = 0; i < d->nbound; i++) {
    const Bound& b = d->bound[i];
    const uintptr_t lo = reinterpret_cast<uintptr_t>(b.lo), hi = lo + b.len;
    const char* at = argument(d, b, b.len, names, sizeof names);
    if (a >= hi && a - hi < 65536) fail("%zu-byte %s %zu bytes past the end of the buffer at %s (%llu bytes) at %s", n, verb(op), size_t(a - hi), at, (unsigned long long)b.len, place(d, pc).text);
    if (a < lo && lo - a < 65536) fail("%zu-byte %s %zu bytes before the buffer at %s at %s", n, verb(op), size_t(lo - a), at, place(d, pc).text);
  }
  fail("%zu-byte %s at an address in no buffer of this dispatch at %s", n, verb(op), place(d, pc).text);
}

void access(const void* p, size_t n, int op, const void* pc) {
  Thread* t = cur;
  if (!t) return;
  const uintptr_t a = reinterpret_cast<uintptr_t>(p);
  if (a - reinterpret_cast<uintptr_t>(t->stack) < kStack) return;  // its own
  Group* g = t->group;
  Dispatch* d = g->d;
  for (uint32_t i = 0; i < d->nbound; i++) {
    Bound& b = d->bound[i];
    const uintptr_t from = a - reinterpret_cast<uintptr_t>(b.lo);
    if (from < b.len) {
      device_access(t, b, from, n, op, offset_of(d, pc));
      return;
    }
  }
  const uintptr_t off = a - reinterpret_cast<uintptr_t>(g->arena);
  if (off < kArena) {
    threadgroup_access(t, uint32_t(off), n, op, offset_of(d, pc));
    return;
  }
  if (a - reinterpret_cast<uintptr_t>(g) < sizeof(Group)) return;  // the shim's own state
  if (a - reinterpret_cast<uintptr_t>(&cur) < sizeof cur) return;
  if (a - reinterpret_cast<uintptr_t>(d) < sizeof(Dispatch)) return;
  if (in_image(a, n)) {
    if (op & kIsWrite) fail("write to a program-scope variable at %s", place(d, offset_of(d, pc)).text);
    return;
  }
  nowhere(d, a, n, op, offset_of(d, pc));
}

uint32_t atomic_op(void* p, uint32_t v, AtomicOp op) {
  if (checked) {
    const void* pc = __builtin_return_address(0);
    if (op != kLoad) access(p, 4, kIsAtomic | kIsWrite, pc);
    else access(p, 4, kIsAtomic, pc);
  }
  uint32_t* q = static_cast<uint32_t*>(p);
  switch (op) {
    case kLoad: return __atomic_load_n(q, __ATOMIC_RELAXED);
    case kStore: __atomic_store_n(q, v, __ATOMIC_RELAXED); return 0;
    case kAdd: return __atomic_fetch_add(q, v, __ATOMIC_RELAXED);
    case kSub: return __atomic_fetch_sub(q, v, __ATOMIC_RELAXED);
    case kAnd: return __atomic_fetch_and(q, v, __ATOMIC_RELAXED);
    case kOr: return __atomic_fetch_or(q, v, __ATOMIC_RELAXED);
    case kSwap: return __atomic_exchange_n(q, v, __ATOMIC_RELAXED);
    default: break;
  }
  uint32_t old = __atomic_load_n(q, __ATOMIC_RELAXED);
  for (;;) {
    const bool take = op == kMaxU ? v > old : op == kMinU ? v < old : op == kMaxI ? int32_t(v) > int32_t(old) : int32_t(v) < int32_t(old);
    if (!take || __atomic_compare_exchange_n(q, &old, v, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) return old;
  }
}

}  // namespace msl_rt
