// Products of one row x with matrices: y[r] = Σ_c W[r,c]·x[c], without forming a
// weight: affine s·Σ q·x + b·Σ x, MX s·Σ v·x. x is rounded to A, sums are floats.
//
//   x float [cols]    y float [rows]    W of one format, see common.metal
//
// A simdgroup takes BLOCK rows and every SPLIT-th piece of 32·VALS columns. With
// SPLIT over 1 the parts of a row meet in threadgroup memory, in order. NSG is a
// multiple of SPLIT, BLOCK ≤ 32 one of ROWS. Twin: engine/cpu/plain.go, MatVec.

struct MatVecArgs {
  uint rows;  // of a group
  uint cols;
};

// rows_of is one threadgroup's rows of y, block by block. part has NSG·BLOCK
// elements.
template <int KIND, int BITS, int GROUP, typename S, typename A, int VALS, int ROWS, int BLOCK, int SPLIT, int NSG>
MSL_FN void rows_of(device const uint* codes, device const S* scales, device const S* biases, device const float* x, device float* y,
                    uint rows, uint cols, uint block, uint sg, uint lane, threadgroup float* part) {
  const uint sets = NSG / SPLIT;
  const uint row = (block * sets + sg / SPLIT) * BLOCK;
  const uint count = row < rows ? min(uint(BLOCK), rows - row) : 0u;
  float acc = 0.0f;
  if (count > 0u) {
    const ulong g = row * row_groups<GROUP>(cols);
    acc = dot_block<KIND, BITS, GROUP, S, A, VALS, ROWS>(codes + row * row_words<BITS>(cols), scales + g, biases + g, x, cols, count,
                                                         sg % SPLIT * (32u * VALS), 32u * VALS * SPLIT, lane);
  }
  if constexpr (SPLIT == 1) {
    if (lane < count) y[row + lane] = acc;
  } else {
    if (lane < BLOCK) part[sg * BLOCK + lane] = acc;
    threadgroup_barrier(mem_flags::mem_threadgroup);
    for (uint i = sg * 32u + lane; i < sets * BLOCK; i += 32u * NSG) {
      const uint at = block * sets * BLOCK + i;
      if (at < rows) y[at] = joined<BLOCK, SPLIT>(part, i);
    }
  }
}

// matvec: one matrix, or one of groups: group g of x times rows g·rows.. of W.
// Grid: (⌈rows / (BLOCK·NSG/SPLIT)⌉, 1, groups) of 32·NSG threads.
template <int KIND, int BITS, int GROUP, typename S, typename A, int VALS, int ROWS, int BLOCK, int SPLIT, int NSG>
KERNEL_MAX(32 * NSG) void matvec(
    device const uint* codes [[buffer(0)]],
    device const S* scales [[buffer(1)]],
    device const S* biases [[buffer(2)]],
    device const float* x [[buffer(3)]],
    device float* y [[buffer(4)]],
    constant MatVecArgs& p [[buffer(5)]],
    uint3 tg [[threadgroup_position_in_grid]],
    uint sg [[simdgroup_index_in_threadgroup]],
    uint lane [[thread_index_in_simdgroup]]) {
  TG_ARRAY(float, part, NSG * BLOCK);
  const ulong first = ulong(tg.z) * p.rows;
  rows_of<KIND, BITS, GROUP, S, A, VALS, ROWS, BLOCK, SPLIT, NSG>(
      codes + first * row_words<BITS>(p.cols), scales + first * row_groups<GROUP>(p.cols),
      biases + first * row_groups<GROUP>(p.cols), x + ulong(tg.z) * p.cols, y + first, p.rows, p.cols, tg.x, sg, lane, part);
}

struct MatVecsArgs {
  uint cols;
  uint rows0;
  uint rows1;
  uint rows2;
  uint rows3;
  uint rows4;
  uint rows5;
  uint rows6;
  uint from1;  // matrix i has the blocks from fromi on; 2^32 − 1 where there is none
  uint from2;
  uint from3;
  uint from4;
  uint from5;
  uint from6;
};

// matvecs: up to seven matrices of one format and of as many columns, one x, a y
// for each. Grid: (the sum of ⌈rows_i / (BLOCK·NSG/SPLIT)⌉, 1, 1) of 32·NSG threads.
template <int KIND, int BITS, int GROUP, typename S, typename A, int VALS, int ROWS, int BLOCK, int SPLIT, int NSG>
KERNEL_MAX(32 * NSG) void matvecs(
    device const uint* codes0 [[buffer(0)]],
    device const S* scales0 [[buffer(1)]],
    device const S* biases0 [[buffer(2)]],
    device float* y0 [[buffer(3)]],
    device const uint* codes1 [[buffer(4)]],
    device const S* scales1 [[buffer(5)]],
    device const S* biases1 [[buffer(6)]],
    device float* y1 [[buffer(7)]],
    device const uint* codes2 [[buffer(8)]],
    device const S* scales2 [[buffer(9)]],
    device const S* biases2 [[buffer(10)]],
    device float* y2 [[buffer(11)]],
    device const uint* codes3 [[buffer(12)]],
    device const S* scales3 [[buffer(13)]],
    device const S* biases3 [[buffer(14)]],
    device float* y3 [[buffer(15)]],
    device const uint* codes4 [[buffer(16)]],
    device const S* scales4 [[buffer(17)]],
    device const S* biases4 [[buffer(18)]],
    device float* y4 [[buffer(19)]],
    device const uint* codes5 [[buffer(20)]],
    device const S* scales5 [[buffer(21)]],
    device const S* biases5 [[buffer(22)]],
    device float* y5 [[buffer(23)]],
    device const uint* codes6 [[buffer(24)]],
    device const S* scales6 [[buffer(25)]],
    device const S* biases6 [[buffer(26)]],
    device float* y6 [[buffer(27)]],
    device const float* x [[buffer(28)]],
    constant MatVecsArgs& p [[buffer(29)]],
    uint3 tg [[threadgroup_position_in_grid]],
    uint sg [[simdgroup_index_in_threadgroup]],
    uint lane [[thread_index_in_simdgroup]]) {
  TG_ARRAY(float, part, NSG * BLOCK);
  device const uint* codes = codes0;
  device const S* scales = scales0;
  device const S* biases = biases0;
  device float* y = y0;
  uint rows = p.rows0;
  uint from = 0;
  if (tg.x >= p.from1) { codes = codes1; scales = scales1; biases = biases1; y = y1; rows = p.rows1; from = p.from1; }
  if (tg.x >= p.from2) { codes = codes2; scales = scales2; biases = biases2; y = y2; rows = p.rows2; from = p.from2; }
  if (tg.x >= p.from3) { codes = codes3; scales = scales3; biases = biases3; y = y3; rows = p.rows3; from = p.from3; }
  if (tg.x >= p.from4) { codes = codes4; scales = scales4; biases = biases4; y = y4; rows = p.rows4; from = p.from4; }
  if (tg.x >= p.from5) { codes = codes5; scales = scales5; biases = biases5; y = y5; rows = p.rows5; from = p.from5; }
  if (tg.x >= p.from6) { codes = codes6; scales = scales6; biases = biases6; y = y6; rows = p.rows6; from = p.from6; }
  rows_of<KIND, BITS, GROUP, S, A, VALS, ROWS, BLOCK, SPLIT, NSG>(codes, scales, biases, x, y, rows, p.cols, tg.x - from, sg, lane, part);
}
