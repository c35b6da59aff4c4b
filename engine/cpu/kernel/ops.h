// All that is neither a product nor attention.

STATIC void pool(const float *values, const float *gates, const int64_t *rows, const float *ring_values,
                 const float *ring_gates, long n, long width, float *out) {
  for (long c = 0; c < width; c += 16) {
    vf top = SPLAT(-INFINITY), sum = SPLAT(0), acc = SPLAT(0);
#define ROW(a, ring) LOAD(vf, (rows[i] < 0 ? (ring) + (-1 - rows[i]) : (a) + rows[i]) + c)
    for (long i = 0; i < n; i++) {
      vf g = ROW(gates, ring_gates);
      top = SELECT(g > top, g, top);
    }
    for (long i = 0; i < n; i++) {
      vf e = ROW(gates, ring_gates) - top;
      vexp(&e);
      sum += e;
      acc = e * ROW(values, ring_values) + acc;
    }
#undef ROW
    STORE(out + c, acc / sum);
  }
}

STATIC float sum_squares(const float *x, long n) {
  vf acc[4] = {};
  long i = 0;
  for (; i + 64 <= n; i += 64)
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
      vf v = LOAD(vf, x + i + 16 * j);
      acc[j] = v * v + acc[j];
    }
  for (; i + 16 <= n; i += 16) {
    vf v = LOAD(vf, x + i);
    acc[0] = v * v + acc[0];
  }
  vf all = acc[0] + acc[1] + (acc[2] + acc[3]);
  float s = vsum(&all);
  for (; i < n; i++) s += x[i] * x[i];
  return s;
}

STATIC void norm(const float *x, const float *w, float *y, long n, float eps) {
  float r = 1 / sqrtf(sum_squares(x, n) / n + eps);
  if (w)
    for (long i = 0; i < n; i++) y[i] = x[i] * r * w[i];
  else
    for (long i = 0; i < n; i++) y[i] = x[i] * r;
}

STATIC void mix(const float *a, const float *x, long m, long n, float *y) {
  for (long c = 0; c + 16 <= n; c += 16) {
    vf s = SPLAT(0);
    for (long j = 0; j < m; j++) s = LOAD(vf, x + j * n + c) * a[j] + s;
    STORE(y + c, s);
  }
  for (long c = n & ~15L; c < n; c++) {
    float s = 0;
    for (long j = 0; j < m; j++) s += a[j] * x[j * n + c];
    y[c] = s;
  }
}

STATIC void remix(const float *post, const float *comb, const float *y, float *x, long m, long n) {
  for (long c = 0; c + 16 <= n; c += 16) {
    vf old[8], v = LOAD(vf, y + c);
    for (long j = 0; j < m; j++) old[j] = LOAD(vf, x + j * n + c);
    for (long k = 0; k < m; k++) {
      vf s = v * post[k];
      for (long j = 0; j < m; j++) s = old[j] * comb[j * m + k] + s;
      STORE(x + k * n + c, s);
    }
  }
  for (long c = n & ~15L; c < n; c++) {
    float old[8];
    for (long j = 0; j < m; j++) old[j] = x[j * n + c];
    for (long k = 0; k < m; k++) {
      float s = y[c] * post[k];
      for (long j = 0; j < m; j++) s += old[j] * comb[j * m + k];
      x[k * n + c] = s;
    }
  }
}

// sigmoid in place.
INLINE void vsigmoid(vf *x) {
  vf e = -*x;
  vexp(&e);
  *x = 1.0f / (1.0f + e);
}

// sinkhorn keeps sixteen tokens in the lanes of a vector.
STATIC void sinkhorn(const float *mixes, const float *rho, const float *base, const float *scale, long t, long m,
                     long iters, float eps, float *pre, float *out) {
  long all = (2 + m) * m;
  for (long from = 0; from < t; from += 16) {
    long n = t - from < 16 ? t - from : 16;
    vf v[80], c[64];
    for (long i = 0; i < all; i++) {
      float lane[16] = {};
      for (long k = 0; k < n; k++) lane[k] = mixes[(from + k) * all + i] * rho[from + k];
      v[i] = LOAD(vf, lane) * scale[i < m ? 0 : i < 2 * m ? 1 : 2] + base[i];
    }
    for (long i = 0; i < 2 * m; i++) vsigmoid(v + i);
    for (long i = 0; i < m; i++) v[i] = v[i] + eps, v[m + i] = 2.0f * v[m + i];
    for (long j = 0; j < m; j++) { // softmax of each row
      vf *row = v + 2 * m + j * m, top = row[0], sum = SPLAT(0);
      for (long k = 1; k < m; k++) top = SELECT(row[k] > top, row[k], top);
      for (long k = 0; k < m; k++) {
        vf e = row[k] - top;
        vexp(&e);
        c[j * m + k] = e;
        sum += e;
      }
      for (long k = 0; k < m; k++) c[j * m + k] = c[j * m + k] / sum + eps;
    }
    for (long it = 0; it < iters; it++) {
      for (long j = 0; it > 0 && j < m; j++) { // rows, but not the first time
        vf sum = SPLAT(eps);
        for (long k = 0; k < m; k++) sum += c[j * m + k];
        sum = 1.0f / sum;
        for (long k = 0; k < m; k++) c[j * m + k] *= sum;
      }
      for (long k = 0; k < m; k++) { // columns
        vf sum = SPLAT(eps);
        for (long j = 0; j < m; j++) sum += c[j * m + k];
        sum = 1.0f / sum;
        for (long j = 0; j < m; j++) c[j * m + k] *= sum;
      }
    }
    for (long k = 0; k < n; k++) {
      for (long i = 0; i < m; i++) pre[(from + k) * m + i] = v[i][k], out[(from + k) * (m + m * m) + i] = v[m + i][k];
      for (long i = 0; i < m * m; i++) out[(from + k) * (m + m * m) + m + i] = c[i][k];
    }
  }
}

STATIC void swiglu(float *g, const float *u, long n, float limit, float weight) {
  for (long i = 0; i < n; i += 16) {
    float a[16] = {}, b[16] = {};
    int whole = n - i >= 16;
    if (!whole) memcpy(a, g + i, (n - i) * 4), memcpy(b, u + i, (n - i) * 4);
    vf x = LOAD(vf, whole ? g + i : a), y = LOAD(vf, whole ? u + i : b), s;
    x = SELECT(x > limit, SPLAT(limit), x);
    y = SELECT(y > limit, SPLAT(limit), y);
    y = SELECT(y < -limit, SPLAT(-limit), y);
    s = x;
    vsigmoid(&s);
    x = x * s * y * weight;
    if (whole) STORE(g + i, x);
    else STORE(a, x), memcpy(g + i, a, (n - i) * 4);
  }
}

STATIC void exps(float *x, long n) {
  for (long i = 0; i < n; i += 16) {
    float a[16] = {};
    int whole = n - i >= 16;
    if (!whole) memcpy(a, x + i, (n - i) * 4);
    vf v = LOAD(vf, whole ? x + i : a);
    vexp(&v);
    if (whole) STORE(x + i, v);
    else STORE(a, v), memcpy(x + i, a, (n - i) * 4);
  }
}

STATIC void log_softmax(float *x, long n) {
  float top = -INFINITY;
  vf most = SPLAT(-INFINITY);
  vd acc = {};
  double sum = 0;
  long i;
  for (i = 0; i + 16 <= n; i += 16) {
    vf v = LOAD(vf, x + i);
    most = SELECT(v > most, v, most);
  }
  for (int k = 0; k < 16; k++) top = most[k] > top ? most[k] : top;
  for (; i < n; i++) top = x[i] > top ? x[i] : top;
  for (i = 0; i + 16 <= n; i += 16) {
    vf v = LOAD(vf, x + i) - top;
    vexp(&v);
    acc += __builtin_convertvector(v, vd);
  }
  for (int k = 0; k < 16; k++) sum += acc[k];
  for (; i < n; i++) sum += exp((double)(x[i] - top));
  float lse = (float)(top + log(sum));
  for (i = 0; i < n; i++) x[i] -= lse;
}
