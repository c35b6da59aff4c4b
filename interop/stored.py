"""What lies in the files: bundles as their modules, and the upstream checkpoint decoded under the bundles' names.

Numpy only. The upstream FP8 and FP4 storage is decoded by the oracle's weights.py, which shares no line with the Go
code; the names are those of family (a) of the model's specification, section 8.1.
"""

import functools
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
REFMODEL = ROOT / "refmodel"
sys.path.append(str(ROOT / "oracle"))
from weights import E2M1, E4M3, plain, reference_weights, stored_tensors  # noqa: E402

# BF16 as its 16 bits; the rest as it is.
NUMPY = {"F32": "<f4", "I64": "<i8", "I32": "<i4", "U32": "<u4", "BF16": "<u2", "U8": "u1"}


def read_file(path):
    """name -> (dtype, array) of one safetensors file."""
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    out = {}
    for name, t in json.loads(data[8:start]).items():
        if name != "__metadata__":
            lo, hi = (start + at for at in t["data_offsets"])
            out[name] = t["dtype"], np.frombuffer(data[lo:hi], NUMPY[t["dtype"]]).reshape(t["shape"])
    return out


def read_bundle(folder):
    """name -> (dtype, array) of all of a bundle's files, found as mlx-lm finds them."""
    out = {}
    for path in sorted(folder.glob("model*.safetensors")):
        tensors = read_file(path)
        if twice := out.keys() & tensors.keys():
            raise ValueError(f"{path.name}: {min(twice)} is in another file too")
        out.update(tensors)
    if not out:
        raise ValueError(f"{folder} holds no model*.safetensors")
    return out


def declared(folder):
    """module path -> {bits, group_size, mode} as config.json overrides it, or false where it keeps a module plain."""
    quantization = json.loads((folder / "config.json").read_text())["quantization"]
    return {k: v for k, v in quantization.items() if k not in ("bits", "group_size", "mode")}


@dataclass
class Module:
    """A quantized matrix [out, in], or stack of them [experts, out, in], as stored."""

    path: str
    bits: int
    group: int
    mode: str
    weight: np.ndarray  # uint32 [..., out, in*bits/32]
    scales: np.ndarray  # [..., out, in/group]: the bits of BF16, or E8M0 bytes
    biases: np.ndarray | None  # the bits of BF16

    @functools.cached_property
    def codes(self):
        """The codes as bytes [..., out, in]: a row is a stream of bits, the least significant first."""
        stream = np.unpackbits(self.weight.view(np.uint8).reshape(-1), bitorder="little")
        codes = np.packbits(stream.reshape(-1, self.bits), axis=-1, bitorder="little")
        return codes.reshape(*self.weight.shape[:-1], -1)

    def by_group(self, a):
        """A column's own scale or bias, for all columns."""
        return a.repeat(self.group, -1)

    def values(self):
        """The weights by assay's rule, float32 [..., out, in]: float32(scale·code), then + bias, rounded again.

        BF16 scales have 8 bits and codes at most 8, so that product is exact, and a fused multiply-add gives the same.
        MX weights are exact: a code's value times a power of two.
        """
        if self.mode == "affine":
            return self.by_group(bf16(self.scales)) * self.codes.astype(np.float32) + self.by_group(bf16(self.biases))
        table = {"mxfp4": E2M1, "mxfp8": E4M3}[self.mode]
        return table[self.codes] * self.by_group(np.ldexp(np.float32(1), self.scales.astype(np.int32) - 127))


def modules(folder):
    """path -> Module of every quantized module of a bundle, by its own config.json."""
    tensors, out = read_bundle(folder), {}
    for path, q in declared(folder).items():
        if q:
            biases = tensors[path + ".biases"][1] if q["mode"] == "affine" else None
            weight, scales = tensors[path + ".weight"][1], tensors[path + ".scales"][1]
            out[path] = Module(path, q["bits"], q["group_size"], q["mode"], weight, scales, biases)
    return out


def bf16(bits):
    """BF16 as float32."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


PROJECTIONS = {"w1": "gate_proj", "w2": "down_proj", "w3": "up_proj"}
EXPERT = re.compile(r"layers\.(\d+)\.ffn\.experts\.(\d+)\.(w[123])\.(.+)")
RENAMES = [  # from upstream's names, applied in order
    (r"^embed\.", "model.embed_tokens."),
    (r"^head\.", "lm_head."),
    (r"^(?=norm\.|layers\.|hc_head_)", "model."),
    (r"\.hc_head_", ".hc_head."),
    (r"\.hc_(attn|ffn)_", r".\1_hc."),
    (r"\.ffn\.gate\.bias$", ".ffn.gate.e_score_correction_bias"),
    (r"(?<=\.shared_experts\.)w[123]", lambda m: PROJECTIONS[m[0]]),
]


def place(name):
    """Where a bundle keeps the tensor that upstream calls name: (its name, index in a stack of experts or None)."""
    if m := EXPERT.fullmatch(name):
        return f"model.layers.{m[1]}.ffn.switch_mlp.{PROJECTIONS[m[3]]}.{m[4]}", int(m[2])
    for pattern, by in RENAMES:
        name = re.sub(pattern, by, name)
    return name, None


def stacked(tensors, stack):
    """Tensors with upstream's names under the bundle's, experts stacked by the given function; others pass as they are."""
    out, stacks = {}, {}
    for name, array in tensors.items():
        name, expert = place(name)
        if expert is None:
            out[name] = array
        else:
            stacks.setdefault(name, {})[expert] = array
    return out | {name: stack([parts[e] for e in range(len(parts))]) for name, parts in stacks.items()}


def quantizable(name, w):
    """Whether a recipe may quantize an upstream tensor: all 2-D weights but the router's."""
    return name.endswith(".weight") and w.ndim == 2 and not name.endswith(".ffn.gate.weight")


def upstream_tensors(folder, names):
    """name -> array of a bundle's tensors under upstream's names, quantized ones as float32, the rest as stored."""
    stored, quantized = read_bundle(folder), {path: m.values() for path, m in modules(folder).items()}
    out = {}
    for name in names:
        placed, expert = place(name)
        a = quantized.get(placed.removesuffix(".weight"))
        if a is None:
            dtype, a = stored[placed]
            a = bf16(a) if dtype == "BF16" else a
        out[name] = a if expert is None else a[expert]
    return out


def upstream_plain(folder=REFMODEL):
    """(name in a bundle, dtype, value) of every upstream tensor that is neither FP8, FP4 nor their scales."""
    for name, dtype, shape, data in stored_tensors(folder):
        if dtype in ("BF16", "F32", "I64"):
            yield place(name)[0], dtype, plain(dtype, shape, data)


def upstream_modules(folder=REFMODEL):
    """path -> float32 of every matrix that may be quantized, experts stacked.

    Every value is a BF16 value: FP8 and FP4 codes times powers of two.
    """
    weights = {name: w for name, w in reference_weights(folder).items() if quantizable(name, w)}
    return {name.removesuffix(".weight"): w for name, w in stacked(weights, np.stack).items()}
