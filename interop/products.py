"""Matrix products: MLX's CPU kernels against assay's CPU engine, from the same codes and the same float32 x.

A float32 sum of n products is off by at most γ = n·U32 times Σ|x·w|, in any order, fused or not (Higham, Accuracy and
Stability of Numerical Algorithms, section 3.1; n²·U32² left out, which 1 % more covers). MLX's CPU kernel, like assay's
product for a prompt, first forms each weight in float32, which gives both the same weight (Module.values says why):

    |MLX − matmul| <= 2·n·U32·Σ|x·w|

assay's product for one token forms none; each term of Σ_g (s·Σq·x + z·Σx) goes through at most n + 4 roundings:

    |MLX − matvec| <= (n + 1)·U32·Σ|x·w| + (n + 4)·U32·Σ|x|·(|s|·q + |z|)

where the 1 is the rounding of MLX's formed weight. MX weights are exact and take the first bound.
"""

import mlx.core as mx
import numpy as np
from formats import U32, mlx_bf16
from report import Mismatch
from stored import bf16


def operands(m):
    """MLX's arguments after x: codes, scales and biases, in float32 where they are affine (its BF16 path sums in BF16)."""
    if m.mode != "affine":
        return (mx.array(m.weight), mx.array(m.scales)), dict(group_size=m.group, bits=m.bits, mode=m.mode)
    scale_bias = (mlx_bf16(a).astype(mx.float32) for a in (m.scales, m.biases))
    return (mx.array(m.weight), *scale_bias), dict(group_size=m.group, bits=m.bits, mode=m.mode)


def quantized_matmul(m, x):
    args, options = operands(m)
    return [np.array(mx.quantized_matmul(mx.array(x), *args, transpose=True, **options))]


def gather_qmm(m, x, picks):
    """y [n, k, out] of x [n, in] and each row's experts [n, k]: as they come, and sorted by expert as SwitchGLU does."""
    (weight, scales, *biases), options = operands(m)
    biases = biases[0] if biases else None
    n, k = picks.shape

    def product(x, rhs, is_sorted):
        y = mx.gather_qmm(mx.array(x), weight, scales, biases, rhs_indices=mx.array(rhs), transpose=True,
                          sorted_indices=is_sorted, **options)  # fmt: skip
        return np.array(y)

    plain = product(x[:, None, None, :], picks, False).reshape(n, k, -1)
    order = np.argsort(picks.reshape(-1), kind="stable")
    in_order = product(x[order // k][:, None, :], picks.reshape(-1)[order], True)[:, 0]
    again = np.empty_like(in_order)
    again[order] = in_order
    return [plain, again.reshape(n, k, -1)]


def sums(x, w, picks):
    """Σ x·w for each output, x >= 0 and w >= 0: [n, out], or [n, k, out] of a stack's picks."""
    if picks is None:
        return x @ w.T
    return (x @ w.swapaxes(-1, -2))[picks, np.arange(len(x))[:, None]]


def check_module(m, w, ours, figures):
    """Holds one module's products against the bounds; adds to figures what was seen."""
    x, picks = ours[m.path + ".x"][1], ours.get(m.path + ".picks", (None, None))[1]
    theirs = quantized_matmul(m, x) if picks is None else gather_qmm(m, x, picks)
    n, ax = x.shape[-1], np.abs(x)
    formed = sums(ax, np.abs(w), picks)
    spread = formed
    if m.mode == "affine":
        s, z = m.by_group(np.abs(bf16(m.scales))), m.by_group(np.abs(bf16(m.biases)))
        spread = sums(ax, s * m.codes + z, picks)
    bounds = {"matmul": 2 * n * U32 * formed, "matvec": (n + 1) * U32 * formed + (n + 4) * U32 * spread}
    if m.mode != "affine":
        bounds["matvec"] = bounds["matmul"]
    for kind, bound in bounds.items():
        want = ours[f"{m.path}.{kind}"][1]
        for y in theirs:
            if y.shape != want.shape or y.dtype != np.float32 or not np.isfinite(y).all():
                raise Mismatch(f"{m.path}: {kind}: {y.dtype}{list(y.shape)} for {want.dtype}{list(want.shape)}")
            off = np.abs(y - want)
            share = float((off / (1.01 * bound + 1e-42)).max())
            if not share <= 1:
                raise Mismatch(f"{m.path}: {kind} is off by {off.max():.2e}, {share:.2f} of the bound")
            figures.add(kind, share, off, want)


class Figures:
    """The largest share of a bound, and the relative RMS difference, of each kind of product."""

    def __init__(self):
        self.seen = {}

    def add(self, kind, share, off, want):
        worst, squares, size = self.seen.get(kind, (0, 0, 0))
        of = (squares + float((off.astype(np.float64) ** 2).sum()), size + float((want.astype(np.float64) ** 2).sum()))
        self.seen[kind] = (max(worst, share), *of)

    def lines(self):
        return [f"{kind} {worst:.3f} of its bound, rms {(squares / size) ** 0.5:.1e}"
                for kind, (worst, squares, size) in self.seen.items()]  # fmt: skip


def check_products(modules, weights, ours, figures):
    """Every module's products, MLX's against those that the Go test wrote."""
    seen, stacked = Figures(), 0
    for path, m in modules.items():
        if m.path + ".x" not in ours:
            raise Mismatch(f"assay multiplied nothing with {path}")
        stacked += m.weight.ndim == 3
        check_module(m, weights[path], ours, seen)
    figures += [f"quantized_matmul on {len(modules) - stacked} modules, gather_qmm on {stacked} stacks", *seen.lines()]
