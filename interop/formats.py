"""Bytes and values: what MLX's quantize and dequantize make, against what a bundle stores."""

import mlx.core as mx
import numpy as np
from report import Mismatch
from stored import bf16

# What rounding to BF16 (8 bits) and to float32 (24 bits) adds at most, relative to the result.
U16, U32 = 2.0**-8, 2.0**-24


def mlx_bf16(bits):
    """Bits of BF16 as MLX's array."""
    return mx.array(bits).view(mx.bfloat16)


def same(what, got, want):
    """Raises unless two arrays are the same bytes."""
    got, want = np.ascontiguousarray(got), np.ascontiguousarray(want)
    if got.shape != want.shape or got.dtype != want.dtype:
        raise Mismatch(f"{what}: {got.dtype}{list(got.shape)}, want {want.dtype}{list(want.shape)}")
    differ = np.flatnonzero(got.view(f"u{got.itemsize}") != want.view(f"u{got.itemsize}"))
    if differ.size:
        i = differ[0]
        raise Mismatch(f"{what}: {differ.size} of {got.size} differ: [{i}] is {got.flat[i]}, want {want.flat[i]}")


def check_quantize(modules, upstream, figures):
    """mx.quantize of the upstream weights as BF16 gives the bundle's bytes, for each matrix that can be quantized."""
    if modules.keys() != upstream.keys():
        raise Mismatch(f"modules quantized by only one side, such as {min(modules.keys() ^ upstream.keys())}")
    for path, m in modules.items():
        w = mx.array(upstream[path]).astype(mx.bfloat16)
        weight, scales, biases = mx.quantize(w, group_size=m.group, bits=m.bits)
        same(path + ".weight", np.array(weight), m.weight)
        same(path + ".scales", np.array(scales.view(mx.uint16)), m.scales)
        same(path + ".biases", np.array(biases.view(mx.uint16)), m.biases)
    figures.append(f"{len(modules)} modules, {sum(w.size for w in upstream.values())} weights byte for byte")


def check_plain(stored, upstream, figures):
    """What no recipe quantizes is upstream's, value and dtype; upstream is its (name, dtype, value)."""
    count = {}
    for name, dtype, value in upstream:
        if name not in stored or stored[name][0] != dtype:
            raise Mismatch(f"{name} is {stored.get(name, ['not there'])[0]}, want {dtype}")
        same(name, bf16(stored[name][1]) if dtype == "BF16" else stored[name][1], value)
        count[dtype] = count.get(dtype, 0) + 1
    figures += [f"{n} {dtype} tensors byte for byte" for dtype, n in sorted(count.items())]


def check_affine(modules, weights, figures):
    """mx.dequantize gives our weights, bit for bit where scale and bias are float32.

    With them in BF16 it computes r = bf16(s·q), then bf16(r + z). The first rounding is off by at most U16·|s·q|, the
    second by U16·|r + z|, where |r + z| <= |s·q + z| + U16·|s·q|; float32 underneath and our own rounding add U32 each.
    """
    worst = 0.0
    for path, m in modules.items():
        want = weights[path]
        s, z = mlx_bf16(m.scales), mlx_bf16(m.biases)
        args = dict(group_size=m.group, bits=m.bits)
        exact = mx.dequantize(mx.array(m.weight), s.astype(mx.float32), z.astype(mx.float32), **args)
        same(path, np.array(exact), want)
        rounded = mx.dequantize(mx.array(m.weight), s, z, **args)
        if rounded.dtype != mx.bfloat16:
            raise Mismatch(f"{path}: {rounded.dtype} out of BF16 scales")
        off = np.abs(np.array(rounded.astype(mx.float32)) - want)
        product = np.abs(want - m.by_group(bf16(m.biases)))  # |s·q|, to float32
        bound = 1.01 * (U16 * product + U16 * (np.abs(want) + U16 * product) + 2 * U32 * (product + np.abs(want)))
        worst = max(worst, float(np.max(off[bound > 0] / bound[bound > 0], initial=0)))
        if worst > 1 or off[bound == 0].any():
            raise Mismatch(f"{path}: BF16 scales: off by {worst:.3f} of two roundings")
    figures += ["float32 bit for bit", f"with BF16 scales within {worst:.3f} of two roundings"]


def check_mx(modules, upstream, figures):
    """mx.dequantize of a repack gives the upstream weights exactly, in its own BF16 and in float32."""
    modes = {}
    for path, m in modules.items():
        for dtype in (None, mx.float32):
            w = mx.dequantize(mx.array(m.weight), mx.array(m.scales), mode=m.mode, dtype=dtype)
            if dtype is None and w.dtype != mx.bfloat16:
                raise Mismatch(f"{path}: {w.dtype}, want bfloat16")
            if not np.array_equal(np.array(w.astype(mx.float32)), upstream[path]):
                raise Mismatch(f"{path}: {m.mode} is not the upstream weights")
        modes[m.mode] = modes.get(m.mode, 0) + upstream[path].size
    if modes.keys() != {"mxfp4", "mxfp8"}:
        raise Mismatch(f"modes {sorted(modes)}, want mxfp4 and mxfp8")
    figures += [f"{n} {mode} weights exact in BF16 and float32" for mode, n in sorted(modes.items())]
