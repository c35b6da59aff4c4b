"""The reference model's weights: upstream FP8 and FP4 decoded exactly, and quantized by MLX's rule. Numpy only."""

import json
import re

import numpy as np


def stored_tensors(folder):
    """Yields (name, dtype, shape, bytes) of every tensor of a sharded safetensors folder."""
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    for shard in sorted(set(index["weight_map"].values())):
        data = (folder / shard).read_bytes()
        start = 8 + int.from_bytes(data[:8], "little")
        for name, t in json.loads(data[8:start]).items():
            if name != "__metadata__":
                lo, hi = t["data_offsets"]
                yield name, t["dtype"], t["shape"], data[start + lo : start + hi]


def e4m3_values():
    """The 256 values of F8_E4M3 (FN): no infinities, 0x7F and 0xFF are NaN."""
    code = np.arange(256)
    exponent, mantissa = code >> 3 & 15, code & 7
    size = np.where(exponent == 0, np.ldexp(mantissa, -9), np.ldexp(1 + mantissa / 8, exponent - 7))
    size[code & 127 == 127] = np.nan
    return np.where(code < 128, size, -size).astype(np.float32)


E4M3 = e4m3_values()
E2M1 = np.float32([0, 0.5, 1, 1.5, 2, 3, 4, 6, 0, -0.5, -1, -1.5, -2, -3, -4, -6])


def plain(dtype, shape, data):
    """A tensor that needs no scale: BF16 widened, E8M0 as 2^(byte-127), the rest as it is, codes as bytes."""
    if dtype == "BF16":
        return (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32).reshape(shape)
    if dtype == "F8_E8M0":
        return np.ldexp(np.float32(1), np.frombuffer(data, "u1").astype(np.int32) - 127).reshape(shape)
    return np.frombuffer(data, {"F32": "<f4", "I64": "<i8", "I8": "u1", "F8_E4M3": "u1"}[dtype]).reshape(shape)


def reference_weights(folder):
    """name -> array of every tensor but the scales, which are multiplied in: exact, each value is a BF16 value."""
    stored = {name: (dtype, plain(dtype, shape, data)) for name, dtype, shape, data in stored_tensors(folder)}
    weights = {}
    for name, (dtype, a) in stored.items():
        if dtype == "F8_E8M0":
            continue
        if dtype == "F8_E4M3":  # one scale a block of 128 x 128
            scale = stored[name.removesuffix("weight") + "scale"][1].repeat(128, 0).repeat(128, 1)
            a = E4M3[a] * scale[: a.shape[0], : a.shape[1]]
        elif dtype == "I8":  # FP4: low nibble first, one scale for 32 values of a row
            a = E2M1[np.stack([a & 15, a >> 4], -1).reshape(a.shape[0], -1)]
            a = a * stored[name.removesuffix("weight") + "scale"][1].repeat(32, 1)
        if a.dtype == np.float32 and not np.isfinite(a).all():
            raise ValueError(f"oracle: {name}: a value is not finite")
        weights[name] = a
    return weights


def round_away(v):
    """Nearest integer, halves away from zero; exact for float32 values, because the sum is done in float64."""
    v = v.astype(np.float64)
    return np.trunc(v + np.copysign(0.5, v)).astype(np.float32)


def to_bf16(v):
    """Round finite float32 to the nearest BF16, ties to even; the result is float32 again."""
    u = v.view(np.uint32).astype(np.uint64)
    return ((u + 0x7FFF + (u >> 16 & 1)) >> 16 << 16).astype(np.uint32).view(np.float32)


def quantize(w, bits, group, cpu=False):
    """Codes [out, in/group, group] with BF16 scale and bias [out, in/group, 1], as MLX's GPU kernel chooses them.

    All arithmetic is float32 with correctly rounded division; codes are chosen before the scale is rounded.
    MLX's CPU rule (cpu=True) rounds halves to even and starts the maximum at -inf instead of 0.
    """
    x = w.reshape(w.shape[0], -1, group)
    n = np.float32(2**bits - 1)
    round_ = np.rint if cpu else round_away
    lo, hi = x.min(-1, keepdims=True), x.max(-1, keepdims=True)
    if not cpu:
        hi = np.maximum(hi, np.float32(0))
    s = np.maximum((hi - lo) / n, np.float32(1e-7))
    low_edge = np.abs(lo) > np.abs(hi)
    edge, s = np.where(low_edge, lo, hi), np.where(low_edge, s, -s)
    q0 = round_(edge / s)
    z = np.where(q0 != 0, edge, np.float32(0))
    s = np.where(q0 != 0, edge / np.where(q0 != 0, q0, np.float32(1)), s)
    codes = np.clip(round_((x - z) / s), np.float32(0), n)
    assert codes.dtype == s.dtype == z.dtype == np.float32
    return codes, to_bf16(s), to_bf16(z)


def variant_weights(reference, name):
    """The reference's weights as the named variant holds them, each value float32(scale*code) + bias in float32."""
    if name == "bf16":
        return reference
    m = re.fullmatch(r"(cpu-)?g(32|64|128)-n([234568]|16)-e([234568]|16)", name)
    if not m:
        raise ValueError(f"oracle: variant {name!r}: want bf16 or [cpu-]g<group>-n<bits>-e<bits of routed experts>")
    out = dict(reference)
    for key, w in reference.items():
        bits = int(m[4] if ".ffn.experts." in key else m[3])
        if key.endswith(".weight") and w.ndim == 2 and not key.endswith("ffn.gate.weight") and bits != 16:
            codes, s, z = quantize(w, bits, int(m[2]), cpu=bool(m[1]))
            out[key] = (s * codes + z).reshape(w.shape)  # numpy rounds the product and the sum
    return out
