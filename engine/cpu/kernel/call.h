// What cgo calls: it cannot call function pointers, nor pass a struct that
// holds pointers to Go memory.
#include "kernel.h"

struct shape {
  int kind, bits, group, f16;
  long rows, cols;
};

static inline struct matrix matrix_of(struct shape s, const uint8_t *codes, const uint8_t *scales, const uint8_t *biases) {
  return (struct matrix){s.kind, s.bits, s.group, s.f16, s.rows, s.cols, codes, scales, biases};
}

static inline void call_matmul(const struct kernels *k, struct shape s, const uint8_t *codes, const uint8_t *scales,
                               const uint8_t *biases, long r0, long r1, const float *x, long ldx, const int32_t *xidx,
                               float *y, long ldy, const int32_t *yidx, long n, float *panel) {
  struct matrix w = matrix_of(s, codes, scales, biases);
  k->matmul(&w, r0, r1, x, ldx, xidx, y, ldy, yidx, n, panel);
}

static inline void call_prepare(const struct kernels *k, struct shape s, const float *x, float *out) {
  struct matrix w = matrix_of(s, 0, 0, 0);
  k->prepare(&w, x, out);
}

static inline void call_matvec(const struct kernels *k, struct shape s, const uint8_t *codes, const uint8_t *scales,
                               const uint8_t *biases, long r0, long r1, const float *x, float *y) {
  struct matrix w = matrix_of(s, codes, scales, biases);
  k->matvec(&w, r0, r1, x, y);
}

static inline void call_decode(const struct kernels *k, struct shape s, const uint8_t *codes, const uint8_t *scales,
                               const uint8_t *biases, long r0, long r1, float *out) {
  struct matrix w = matrix_of(s, codes, scales, biases);
  k->decode(&w, r0, r1, out);
}

static inline float call_read(const struct kernels *k, const float *x, long n) {
  return k->read(x, n);
}

static inline float call_multiply(const struct kernels *k, long n, float a, float b) {
  return k->multiply(n, a, b);
}

static inline void call_attend(const struct kernels *k, const float *q, const int64_t *lane, int lanes, long d,
                               const float *b0, const float *b1, const float *b2, const uint32_t *ids,
                               const uint32_t *see, long n, const float *sinks, float scale, float *o, float *room) {
  const float *base[3] = {b0, b1, b2};
  k->attend(q, lane, lanes, d, base, ids, see, n, sinks, scale, o, room);
}

static inline void call_attend_all(const struct kernels *k, const float *q, const int64_t *lane, long lanes, long d,
                                   const float *b0, const float *b1, const float *b2, const uint32_t *ids, long n,
                                   const float *sinks, float scale, float *o, float *room) {
  const float *base[3] = {b0, b1, b2};
  k->attend_all(q, lane, lanes, d, base, ids, n, sinks, scale, o, room);
}

static inline void call_index_one(const struct kernels *k, const float *q, const float *w, long heads, long d, const float *keys, long n, float *out) {
  k->index_one(q, w, heads, d, keys, n, out);
}

static inline void call_norm(const struct kernels *k, const float *x, const float *w, float *y, long n, float eps) {
  k->norm(x, w, y, n, eps);
}

static inline float call_sum_squares(const struct kernels *k, const float *x, long n) {
  return k->sum_squares(x, n);
}

static inline void call_mix(const struct kernels *k, const float *a, const float *x, long m, long n, float *y) {
  k->mix(a, x, m, n, y);
}

static inline void call_remix(const struct kernels *k, const float *post, const float *comb, const float *y, float *x, long m, long n) {
  k->remix(post, comb, y, x, m, n);
}

static inline void call_sinkhorn(const struct kernels *k, const float *mixes, const float *rho, const float *base, const float *scale, long t, long m, long iters, float eps, float *pre, float *out) {
  k->sinkhorn(mixes, rho, base, scale, t, m, iters, eps, pre, out);
}

static inline void call_swiglu(const struct kernels *k, float *g, const float *u, long n, float limit, float weight) {
  k->swiglu(g, u, n, limit, weight);
}

static inline void call_log_softmax(const struct kernels *k, float *x, long n) {
  k->log_softmax(x, n);
}

static inline int call_quantize(const struct kernels *k, const float *x, long groups, int size, int bits, int even, uint8_t *codes, uint16_t *scales, uint16_t *biases) {
  return k->quantize(x, groups, size, bits, even, codes, scales, biases);
}

static inline void call_exp(const struct kernels *k, float *x, long n) {
  k->exp(x, n);
}

static inline void call_index_scores(const struct kernels *k, const float *q, const float *w, long m, long heads, long d, const float *keys, long n, float *out, float *room) {
  k->index_scores(q, w, m, heads, d, keys, n, out, room);
}

static inline void call_pool(const struct kernels *k, const float *values, const float *gates, const int64_t *rows, const float *ring_values, const float *ring_gates, long n, long width, float *out) {
  k->pool(values, gates, rows, ring_values, ring_gates, n, width, out);
}
