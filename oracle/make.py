"""The oracle: per-token log-probabilities of the reference model by transformers, for assay's tests.

    python oracle/make.py                                  write oracle/oracle.json
    python oracle/make.py --check FOLDER                   compare with figures made elsewhere
    python oracle/make.py --text FILE --window 256 --windows 4 --variants bf16,g32-n8-e4 --json

Nothing here is shared with the Go code: the upstream FP8 and FP4 weights are decoded by a few lines of
numpy, MLX's affine rule is written down once more, and the forward pass is transformers' own, in float32
with eager attention. README.md says how to run it and what came out.
"""

import argparse
import base64
import hashlib
import importlib.metadata
import json
import sys
from pathlib import Path

import numpy as np
import torch
from check import check
from model import NEAR_TIE, cut, encode, progress, score

ROOT = Path(__file__).resolve().parent.parent
STRATA = ["prose", "technical", "chinese", "code"]
VARIANTS = ["bf16", "g32-n8-e4", "g64-n6-e3", "g128-n4-e4", "g128-n8-e3"]
WINDOW = 1024  # positions a window of oracle.json feeds, and tokens it scores


def figures(scores):
    """scores as JSON can hold them: log-probabilities as base64 of little-endian float32."""
    ties = ("window", "position", "layer", "kind", "gap", "chosen", "left_out")
    return {
        name: {
            "logprobs": base64.b64encode(s["logprobs"].astype("<f4").tobytes()).decode(),
            **{k: [round(float(v), 9) for v in s[k]] for k in ("nll", "kl", "top1")},
            "near_ties": [dict(zip(ties, t, strict=True)) for t in s["near_ties"]],
        }
        for name, s in scores.items()
    }


def versions():
    names = ["torch", "transformers", "tokenizers", "safetensors", "numpy"]
    return {n: importlib.metadata.version(n).partition("+")[0] for n in names}


def stratum_text(name):
    """The stratum's pieces in name order with one newline between them, as assay joins them."""
    pieces = sorted((ROOT / "datasets" / "heldout" / name).glob("*.txt"), key=lambda p: p.name)
    return "\n".join(p.read_bytes().decode("utf-8") for p in pieces)


def write(args):
    """Scores the first window of each stratum of the project's own text and writes oracle.json."""
    windows = [cut(encode(args.model, stratum_text(s)), WINDOW, 1)[0] for s in STRATA]
    scores = score(args.model, VARIANTS, windows)
    files = sorted(p for p in args.model.iterdir() if p.suffix in (".json", ".safetensors"))
    oracle = {
        "what": "Natural-log probabilities of the next token by transformers (float32, eager attention, CPU) on the "
        "reference model, made by oracle/make.py: the first 1024-token window of each stratum of datasets/heldout, "
        "evaluated alone from position 0 (ids[0:1024] are fed, ids[1:1025] scored). logprobs: base64 of float32, "
        "little-endian, [windows * 1024]. nll: mean, nats per token; kl: mean D(bf16 || variant) over the full "
        "vocabulary, nats; top1: share of positions with the same first token; one figure a window. Variants "
        "g<group>-n<bits of non-experts>-e<bits of routed experts> by MLX's GPU rule. ids_sha256: of the window's "
        "1025 ids as little-endian uint32. near_ties: places where a router's or indexer's last chosen and first left "
        f"out score within {NEAR_TIE:g}, so that another correct implementation may choose the other; it may then "
        "differ at that position and at any after it in the window.",
        "versions": versions(),
        "model_sha256": {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in files},
        "windows": [
            {"stratum": s, "ids_sha256": hashlib.sha256(np.array(w, "<u4").tobytes()).hexdigest(), "first_ids": w[:8]}
            for s, w in zip(STRATA, windows, strict=True)
        ],
        "variants": figures(scores),
    }
    args.out.write_text(json.dumps(oracle, indent=1, ensure_ascii=False) + "\n")
    progress(f"wrote {args.out.name}, {args.out.stat().st_size} bytes")
    return 0


def score_text(args):
    """Scores one text file, untouched bytes in, and prints a table or JSON."""
    windows = cut(encode(args.model, args.text.read_bytes().decode("utf-8")), args.window, args.windows)
    scores = score(args.model, args.variants, windows)
    if args.json:
        head = {"versions": versions(), "window": args.window, "windows": len(windows)}
        print(json.dumps({**head, "variants": figures(scores)}))
        return 0
    for name, s in scores.items():
        nll = np.mean(s["nll"])
        print(f"{name:14} nll {nll:.7f} ppl {np.exp(nll):.7f} kl {np.mean(s['kl']):.7f} top1 {np.mean(s['top1']):.7f}")
    return 0


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", type=Path, default=ROOT / "refmodel", help="upstream-layout folder (default refmodel)")
    p.add_argument("--out", type=Path, default=ROOT / "oracle" / "oracle.json", help="file to write")
    p.add_argument(
        "--check", type=Path, metavar="FOLDER", help="holds refmodel/{oracle,variants}.json, data/wikitext-2"
    )
    p.add_argument("--text", type=Path, help="score this file instead")
    p.add_argument("--window", type=int, default=1024)
    p.add_argument("--windows", type=int, default=sys.maxsize, help="at most so many windows (default all)")
    p.add_argument(
        "--variants", type=lambda s: s.split(","), help="for --text (default bf16) and --check (default all)"
    )
    p.add_argument("--json", action="store_true", help="with --text: figures and log-probabilities as JSON")
    p.add_argument("--threads", type=int, default=1)
    args = p.parse_args()
    torch.set_num_threads(args.threads)
    if args.check:
        return check(args)
    if args.text:
        args.variants = args.variants or ["bf16"]
        return score_text(args)
    return write(args)


if __name__ == "__main__":
    sys.exit(main())
