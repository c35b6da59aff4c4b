// What the compiler calls in instrumented kernels, instead of the runtimes of
// ThreadSanitizer and UndefinedBehaviorSanitizer, which are not linked.
#include "group.h"

#include <stdio.h>
#include <string.h>

using namespace msl_rt;

#define PC __builtin_return_address(0)

extern "C" {

void __tsan_init(void) { checked = true; }
void __tsan_func_entry(void*) {}
void __tsan_func_exit(void) {}
#define RW(n)                                                                                        \
  void __tsan_read##n(void* p) { access(p, n, kIsRead, PC); }                                        \
  void __tsan_write##n(void* p) { access(p, n, kIsWrite, PC); }                                      \
  void __tsan_unaligned_read##n(void* p) { access(p, n, kIsRead, PC); }                              \
  void __tsan_unaligned_write##n(void* p) { access(p, n, kIsWrite, PC); }                            \
  void __tsan_volatile_read##n(void* p) { access(p, n, kIsRead, PC); }                               \
  void __tsan_volatile_write##n(void* p) { access(p, n, kIsWrite, PC); }                             \
  void __tsan_read_write##n(void* p) { access(p, n, kIsRead, PC), access(p, n, kIsWrite, PC); }      \
  void __tsan_unaligned_read_write##n(void* p) { access(p, n, kIsRead, PC), access(p, n, kIsWrite, PC); }
RW(1) RW(2) RW(4) RW(8) RW(16)
#undef RW
void __tsan_read_range(void* p, size_t n) { access(p, n, kIsRead, PC); }
void __tsan_write_range(void* p, size_t n) { access(p, n, kIsWrite, PC); }
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}
void* __tsan_memcpy(void* d, const void* s, size_t n) {
  access(s, n, kIsRead, PC);
  access(d, n, kIsWrite, PC);
  return memcpy(d, s, n);
}
void* __tsan_memmove(void* d, const void* s, size_t n) {
  access(s, n, kIsRead, PC);
  access(d, n, kIsWrite, PC);
  return memmove(d, s, n);
}
void* __tsan_memset(void* d, int c, size_t n) {
  access(d, n, kIsWrite, PC);
  return memset(d, c, n);
}

// Every report of undefined behaviour begins with where it is.
struct UbLocation { const char* file; uint32_t line, column; };

static void undefined(const UbLocation* l, const char* what) {
  const char* f = l->file ? strrchr(l->file, '/') : nullptr;
  f = f ? f + 1 : l->file ? l->file : "?";
  if (cur) fail("undefined behaviour: %s at %s:%u", what, f, l->line);
  fprintf(stderr, "undefined behaviour: %s at %s:%u\n", what, f, l->line);
}

// Of -fsanitize=alignment and object-size: the pointer says which it is.
struct UbMismatch { UbLocation at; const void* type; uint8_t log_align, kind; };
void __ubsan_handle_type_mismatch_v1(const UbMismatch* m, uintptr_t p) {
  const uintptr_t align = uintptr_t(1) << m->log_align;
  undefined(&m->at, !p ? "null pointer" : p & (align - 1) ? "misaligned pointer" : "access past the end of a thread's array");
}
#define UB(name, what, ...) \
  void __ubsan_handle_##name(const UbLocation* l, ##__VA_ARGS__) { undefined(l, what); }
UB(out_of_bounds, "array index out of bounds", uintptr_t)
UB(shift_out_of_bounds, "shift count out of range", uintptr_t, uintptr_t)
UB(add_overflow, "signed overflow", uintptr_t, uintptr_t)
UB(sub_overflow, "signed overflow", uintptr_t, uintptr_t)
UB(mul_overflow, "signed overflow", uintptr_t, uintptr_t)
UB(negate_overflow, "signed overflow", uintptr_t)
UB(divrem_overflow, "division by zero or overflow", uintptr_t, uintptr_t)
UB(float_cast_overflow, "float out of the integer's range", uintptr_t)
UB(pointer_overflow, "pointer overflow", uintptr_t, uintptr_t)
UB(load_invalid_value, "invalid bool or enum", uintptr_t)
UB(builtin_unreachable, "unreachable code")
UB(missing_return, "function without a return value")

}  // extern "C"
