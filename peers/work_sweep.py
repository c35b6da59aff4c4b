"""One variant scored by transformers in a process of its own, as a user would who has the variant as a folder.

    work_sweep.py FOLDER WINDOW WINDOWS EXPERTS THREADS     prints JSON: seconds of each part, NLL

FOLDER is a bundle, or refmodel for bf16. The weights are dequantized to float32 as they are loaded; the first windows
of each stratum of the held-out text are scored one by one.
"""

import json
import sys
import time

began = time.perf_counter()

from pathlib import Path  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
sys.path += [str(ROOT / "oracle"), str(ROOT / "interop")]

import torch  # noqa: E402
from make import STRATA, stratum_text  # noqa: E402
from model import cut, encode, load  # noqa: E402
from stored import REFMODEL, reference_weights, stored_tensors, upstream_tensors  # noqa: E402
from work_transformers import score  # noqa: E402


def weights(folder):
    if folder.samefile(REFMODEL):
        return reference_weights(folder)
    return upstream_tensors(folder, [name for name, dtype, *_ in stored_tensors(REFMODEL) if dtype != "F8_E8M0"])


def main(folder, window, windows, experts, threads):
    torch.set_num_threads(int(threads))
    imported = time.perf_counter()
    model = load(REFMODEL, weights(Path(folder)))
    model.set_experts_implementation(experts)
    loaded = time.perf_counter()
    cuts = [w for s in STRATA for w in cut(encode(REFMODEL, stratum_text(s)), int(window), int(windows))]
    scored = score(model, cuts)
    parts = {"import": imported - began, "load": loaded - imported, "score": scored["seconds"]}
    print(json.dumps({**parts, "nll": scored["nll"], "tokens": scored["tokens"]}))


if __name__ == "__main__":
    main(*sys.argv[1:])
