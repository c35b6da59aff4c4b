"""make.py --check: the quantizer against golden checksums, and the scores against figures made elsewhere."""

import json
import zlib

import numpy as np
from model import cut, encode, score
from weights import E2M1, quantize, to_bf16

# CRC-32 of the packed codes, of the scales and (by group, the same for all bits) of the biases that MLX's GPU rule
# makes of the specification's test matrix.
GOLDEN = {
    (2, 32): "3c71df23 533289f8", (2, 64): "240d5ea8 43ce37d9", (2, 128): "053fc8b2 f301dc9c",
    (3, 32): "fe6f958e 8f0dad7e", (3, 64): "3e1b9b4a 1162ce75", (3, 128): "8d630a4a 2881b806",
    (4, 32): "a96ef38e 1d2b6df5", (4, 64): "14d17177 0f40702d", (4, 128): "f467cc2d 5ae03880",
    (5, 32): "aabbc860 c08d1825", (5, 64): "73d94671 7b182eec", (5, 128): "b90f0e2d 5ea45bcc",
    (6, 32): "61f47b44 41649538", (6, 64): "2069dc85 a160b6fd", (6, 128): "3839e3da 8faca5fe",
    (8, 32): "3d07ec5b 163e7387", (8, 64): "34e34058 dba07c91", (8, 128): "03bf4221 8c664d24",
}  # fmt: skip
GOLDEN_BIASES = {32: "457de4e9", 64: "e7237c89", 128: "4b05f088"}


def golden_matrix():
    """8 rows x 512 columns from a linear congruential generator, as BF16 values (specification mlx-affine 1.12)."""
    s, state = np.empty(8 * 512, np.uint32), 1
    for i in range(s.size):
        state = (state * 1664525 + 1013904223) % 2**32
        s[i] = state
    s = s.reshape(8, 512)
    v = (s >> 8 & 0xFFFF) / 65536 - 0.5
    v[2:4] = E2M1[s[2:4] >> 28] / 128
    v[2:4][s[2:4] >> 28 == 8] = -0.0
    v[4], v[5] = -np.abs(v[4]) - 0.25, np.abs(v[5]) + 0.25
    v[6], v[7] = np.where(np.arange(512) < 256, -0.375, 0), v[7] * 2.0**-20
    return to_bf16(v.astype(np.float32))


def crc(a):
    return f"{zlib.crc32(a.tobytes()):08x}"


def bf16_crc(a):
    return crc((a.view(np.uint32) >> 16).astype("<u2"))


def check_quantizer(report):
    w = golden_matrix()
    report("quantizer: test matrix", bf16_crc(w) == "7e31bbbc")
    for (bits, group), want in GOLDEN.items():
        codes, scale, bias = quantize(w, bits, group)
        stream = np.unpackbits(codes.astype(np.uint8)[..., None], axis=-1, count=bits, bitorder="little")
        got = f"{crc(np.packbits(stream, bitorder='little'))} {bf16_crc(scale)} {bf16_crc(bias)}"
        report(f"quantizer: {bits} bits, group {group}: {got}", got == f"{want} {GOLDEN_BIASES[group]}")


def settle(args, name, windows, scores, agrees):
    """Scores a window that does not agree again with one near-tie decided the other way, the closest first, until it
    agrees; scores then holds that window's figures. Returns a note of what was swapped where."""
    notes = ""
    for i, window in enumerate(windows):
        if agrees(i, scores["logprobs"][i], scores["kl"][i]):
            continue
        ties = [t for w, *t in scores["near_ties"] if w == i]
        for tie in sorted(ties, key=lambda t: t[3])[:5]:
            other = score(args.model, [name], [window], swap=tie)[name]
            if agrees(i, other["logprobs"][0], other["kl"][0]):
                for k in ("logprobs", "nll", "kl", "top1"):
                    scores[k][i] = other[k][0]
                position, layer, kind, gap, chosen, left_out = tie
                notes += f"; window {i}: if layer {layer}'s {kind} takes {left_out} for {chosen} at position {position}"
                notes += f" (gap {gap:.1e})"
                break
    return notes


def rms(a):
    return np.sqrt(np.mean(a**2))


def check_oracle(args, path, report):
    """oracle.json: log-probabilities of bf16 in 4 windows of 1024 tokens, made with transformers 5.17."""
    theirs = json.loads(path.read_text())
    want = np.array(theirs["transformers_5_17_fp32_logprobs"]).reshape(-1, 1024)
    windows = cut(theirs["ids"], 1024, len(want))
    scores = score(args.model, ["bf16"], windows)["bf16"]
    notes = settle(args, "bf16", windows, scores, lambda i, logprobs, _: rms(logprobs - want[i]) < 1e-5)
    for i, off in enumerate(scores["logprobs"] - want):
        report(f"oracle.json: window {i}: rms {rms(off):.2e}, max {np.abs(off).max():.2e}", rms(off) < 1e-5)
    report(f"oracle.json: near-ties decided the other way{notes or ': none'}", True)


def check_variants(args, path, text, report):
    """variants.json: NLL, KL and top-1 in 8 windows of 1024 tokens of Wikitext-2, of the variants asked for or of all.

    Each window's KL (of bf16: its NLL) must agree.
    """
    theirs = json.loads(path.read_text())["variants"]
    names = args.variants or list(theirs)
    windows = cut(encode(args.model, text.read_bytes().decode("utf-8")[:60000]), 1024, 8)
    for name, got in score(args.model, names, windows).items():
        want = {"kl": 0, "top1": 1, **theirs[name]}

        def agrees(i, logprobs, kl, want=want):
            return abs(kl - want["klw"][i] if "klw" in want else -logprobs.mean() - want["windows"][i]) < 2e-6

        notes = settle(args, name, windows, got, agrees)
        good = all(agrees(i, got["logprobs"][i], got["kl"][i]) for i in range(len(windows)))
        off = {k: np.mean(got[k]) - want[k] for k in ("nll", "kl", "top1")}
        good = good and abs(off["nll"]) < 1e-5 and abs(off["kl"]) < 1e-6 and abs(off["top1"]) < 1e-4
        report(f"variants.json: {name}: off by " + ", ".join(f"{k} {v:+.1e}" for k, v in off.items()) + notes, good)


def check(args):
    """The quantizer against its golden CRCs, and this script against what was made elsewhere and lies in args.check."""
    failed = []

    def report(line, good):
        print(("ok    " if good else "WRONG ") + line, flush=True)
        if not good:
            failed.append(line)

    check_quantizer(report)
    oracle, variants = (args.check / "refmodel" / f for f in ("oracle.json", "variants.json"))
    if not oracle.exists() and not variants.exists():
        raise ValueError(f"oracle: {args.check}: neither refmodel/oracle.json nor refmodel/variants.json is there")
    if oracle.exists():
        check_oracle(args, oracle, report)
    if variants.exists():
        check_variants(args, variants, args.check / "data" / "wikitext-2" / "test.txt", report)
    print(f"{len(failed)} wrong")
    return 1 if failed else 0
