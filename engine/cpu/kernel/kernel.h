// The vector kernels of the CPU engine. Every array is row-major. Functions
// check nothing: package kernel does. The same code is compiled for several
// instruction sets; kernel.c chooses one when it is asked to.
#ifndef ASSAY_KERNEL_H
#define ASSAY_KERNEL_H
#include <stdint.h>

// How a matrix stores its weights; the values are those of Kind in kernel.go.
enum { K_F32, K_BF16, K_AFFINE, K_MXFP4, K_MXFP8 };

// PANEL is how many output rows a panel of decoded weights holds.
#define PANEL 32

// struct matrix is W [rows, cols]. group, bits, f16 mean something to K_AFFINE only.
struct matrix {
  int kind, bits, group, f16;
  long rows, cols;
  const uint8_t *codes, *scales, *biases;
};

// struct kernels is one instruction set's functions.
struct kernels {
  const char *name;
  // matmul: y[yi(t)*ldy + r] = Σ_c W[r,c]·x[xi(t)*ldx + c] for r0 <= r < r1, t < n.
  // xi(t) = xidx ? xidx[t] : t, and so for yi. panel is room for cols*PANEL floats.
  // Each sum runs over c in order, in one chain of fused multiply-adds.
  void (*matmul)(const struct matrix *w, long r0, long r1, const float *x, long ldx, const int32_t *xidx,
                 float *y, long ldy, const int32_t *yidx, long n, float *panel);
  // prepare lays x [cols] out as matvec of w, or of any matrix of w's format and
  // columns, reads it; out has room for what Prepared says in kernel.go.
  void (*prepare)(const struct matrix *w, const float *x, float *out);
  // matvec: y[r] = Σ_c W[r,c]·x[c] for r0 <= r < r1, x prepared; affine as Σ_g s·Σqx + b·Σx.
  // A row's bits are its own, whatever r0 and r1.
  void (*matvec)(const struct matrix *w, long r0, long r1, const float *x, float *y);
  // attend: lanes of one panel (up to PANEL pairs of query and head) over n keys of d
  // channels. q [lanes, d] by lane offsets; key i is row (ids[i] & 0x3fffffff) of
  // base[ids[i] >> 30]; it is seen by the lanes whose bit in see[i] is set. o as q.
  void (*attend)(const float *q, const int64_t *lane, int lanes, long d, const float *const base[3],
                 const uint32_t *ids, const uint32_t *see, long n, const float *sinks, float scale,
                 float *o, float *room);
  // index_scores: out[i*n + b] = Σ_h w[i,h]·max(0, q[i,h]·keys[b]) for queries i < m.
  void (*index_scores)(const float *q, const float *w, long m, long heads, long d, const float *keys, long n,
                       float *out, float *room);
  // attend_all: attend of one token: any number of lanes, all of which see all n >= 1 keys.
  // Sums are in an order of their own.
  void (*attend_all)(const float *q, const int64_t *lane, long lanes, long d, const float *const base[3],
                     const uint32_t *ids, long n, const float *sinks, float scale, float *o, float *room);
  // index_one: index_scores of one query, with sums in an order of their own.
  void (*index_one)(const float *q, const float *w, long heads, long d, const float *keys, long n, float *out);
  // pool: out[c] = Σ_i softmax_i(gates_i[c])·values_i[c]; row i at offset rows[i] of the bases.
  void (*pool)(const float *values, const float *gates, const int64_t *rows, const float *ring_values,
               const float *ring_gates, long n, long width, float *out);
  // norm: y = x·w/sqrt(mean(x²) + eps), w may be null.
  void (*norm)(const float *x, const float *w, float *y, long n, float eps);
  float (*sum_squares)(const float *x, long n);
  // mix: y[c] = Σ_j a[j]·x[j*n + c], j < m.
  void (*mix)(const float *a, const float *x, long m, long n, float *y);
  // remix: x'[k*n + c] = post[k]·y[c] + Σ_j comb[j*m + k]·x[j*n + c], in place; m <= 8.
  void (*remix)(const float *post, const float *comb, const float *y, float *x, long m, long n);
  // sinkhorn: mHC control of t tokens. mixes [t, (2+m)m] raw sums, rho [t]; pre [t,m],
  // out [t, m+m*m] post then comb.
  void (*sinkhorn)(const float *mixes, const float *rho, const float *base, const float *scale, long t, long m,
                   long iters, float eps, float *pre, float *out);
  // swiglu: g[i] = silu(min(g, limit))·clamp(u, ±limit)·weight.
  void (*swiglu)(float *g, const float *u, long n, float limit, float weight);
  // log_softmax in place.
  void (*log_softmax)(float *x, long n);
  void (*exp)(float *x, long n);
  // quantize: groups of size weights, a multiple of 32 up to 128, one after the other, as
  // MLX's affine codes, scales and biases in BF16; even says that halves round to even (its
  // CPU rule) and not away from zero. 0 where a weight or a scale is not finite.
  int (*quantize)(const float *x, long groups, int size, int bits, int even, uint8_t *codes, uint16_t *scales,
                  uint16_t *biases);
  // decode: rows r0 .. r1-1 of w as floats [r1-r0, cols].
  void (*decode)(const struct matrix *w, long r0, long r1, float *out);
  // read: a sum of n floats, a multiple of 256, at the speed of memory.
  float (*read)(const float *x, long n);
  // multiply: n times chains·lanes fused multiply-adds in registers; fmas is chains·lanes.
  float (*multiply)(long n, float a, float b);
  int fmas;
};

// kernels_for returns the best set that this machine runs, or the named one,
// or null if the machine does not run it.
const struct kernels *kernels_for(const char *name);

#endif
