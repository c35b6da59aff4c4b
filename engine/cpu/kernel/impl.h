// The kernels, compiled once for each instruction set: a file defines TARGET
// (the attribute), NAME (of the set), TABLE (of the variable), and the tile of
// the matrix product, which must fit the set's registers: ROWS rows of WIDE
// vectors of LANES floats; and includes this.
#include "format.h"

#define COLUMNS (LANES * WIDE) // of a tile

#define STATIC static TARGET

#include "lanes.h"
#include "turn.h"
#include "matmul.h"
#include "matvec.h"
#include "attend.h"
#include "token.h"
#include "ops.h"
#include "quantize.h"
#include "limit.h"

const struct kernels TABLE = {
  NAME, matmul, prepare, matvec, attend, index_scores, attend_all, index_one, pool, norm, sum_squares, mix, remix, sinkhorn, swiglu, log_softmax, exps, quantize, decode,
  read_all, multiply, PEAK_CHAINS * LANES,
};
