"""transformers in float32 on the weights of bundles, dequantized to float32, against assay's scores of the bundles.

    python interop/nll.py WORK     builds WORK/NAME, scores both, writes interop/torch.json

The model and the windows are the oracle's: the first window of 1024 tokens of each stratum of datasets/heldout.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from bundles import build
from report import Mismatch, Report
from stored import REFMODEL, ROOT, reference_weights, upstream_tensors

# The oracle's, on the path that stored.py has set.
from make import STRATA, WINDOW, stratum_text, versions  # isort: skip
from model import cut, encode, hidden_states, load, log_probs  # isort: skip

BUNDLES = ["g32-n8-e4", "g64-n6-e3", "g128-n4-e4", "native"]
BOUND = 5e-4  # nats a token, on the mean of all windows


def theirs(weights, windows):
    """Mean NLL of each window by transformers."""
    model, out = load(REFMODEL, weights), []
    for ids in windows:
        state, _ = hidden_states(model, ids)
        out.append(-log_probs(model, state).gather(1, torch.tensor(ids[1:])[:, None]).mean().item())
    return out


def ours(folders):
    """Mean NLL over all windows by assay, of bf16 and then of each folder."""
    command = [ROOT / "bin" / "assay", "eval", "--json", "--corpus", "heldout", "--windows", "1"]
    command += ["--window", str(WINDOW), "--variants", ",".join(["bf16", *map(str, folders)])]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise Mismatch(f"assay eval exits with {done.returncode}: {done.stderr.strip()}")
    scored = json.loads(done.stdout)["variants"]
    if len(scored) != 1 + len(folders) or {v["scored"] for v in scored} != {WINDOW * len(STRATA)}:
        raise Mismatch(f"assay scored {[(v['name'], v['scored']) for v in scored]}")
    return [v["nll"]["value"] for v in scored]


def main(work):
    torch.set_num_threads(2)
    report, rows = Report(), {}
    names = list(reference_weights(REFMODEL))
    windows = [cut(encode(REFMODEL, stratum_text(s)), WINDOW, 1)[0] for s in STRATA]
    scores = []
    with report.check("build and score bundles"):
        for name in BUNDLES:
            build(work / name, ["--recipe", name])
        scores = ours([work / name for name in BUNDLES])
    for name, score in zip(BUNDLES, scores[1:], strict=False):
        with report.check(f"nll {name}") as figures:
            nll = theirs(upstream_tensors(work / name, names), windows)
            off = float(np.mean(nll)) - score
            rows[name] = {"nll": [round(v, 9) for v in nll], "assay": round(score, 9), "off": round(off, 9)}
            if not abs(off) <= BOUND:
                raise Mismatch(f"transformers {np.mean(nll):.7f}, assay {score:.7f}: off by {off:+.1e}, want {BOUND}")
            figures.append(f"transformers {np.mean(nll):.7f}, assay {score:.7f}: off by {off:+.1e}")
    if not report.failed:
        write(rows)
    report.exit()


def write(rows):
    what = (
        "Mean NLL, nats a token, of bundles of the reference model by transformers (float32, eager attention) on their "
        "weights dequantized to float32, made by interop/nll.py: nll, one figure a window, the first 1024 tokens of "
        f"{', '.join(STRATA)} of datasets/heldout; assay, its mean over them; off, their difference."
    )
    out = ROOT / "interop" / "torch.json"
    out.write_text(json.dumps({"what": what, "versions": versions(), "bundles": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
