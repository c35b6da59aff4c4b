"""transformers on the reference model, kept in memory, which scores and decodes on request. See tools.Worker.

    work_transformers.py MODEL TEXT THREADS

Each kind of work is done by the fastest of the ways that transformers has for the experts, tried once in prepare. Its
attention for this model is eager only.
"""

import sys
import time
from pathlib import Path

import torch

sys.path.append(str(Path(__file__).resolve().parent.parent / "oracle"))
from make import versions  # noqa: E402
from model import cut, encode, load  # noqa: E402
from weights import reference_weights  # noqa: E402

from tools import serve  # isort: skip

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
EXPERTS = {"score": ["eager", "grouped_mm"], "decode": ["eager", "grouped_mm", "batched_mm"]}


@torch.inference_mode()
def score(model, windows):
    """Seconds and mean NLL of windows of token ids, one after the other."""
    nll, start = 0.0, time.perf_counter()
    for ids in windows:
        logits = model(torch.tensor([ids[:-1]]), use_cache=False).logits[0].float()
        nll -= torch.log_softmax(logits, -1).gather(1, torch.tensor(ids[1:])[:, None]).mean().item()
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "tokens": sum(len(w) - 1 for w in windows), "nll": nll / len(windows)}


@torch.inference_mode()
def decode(model, ids, depth, tokens):
    """Seconds of decoding tokens one by one, each with its distribution, after depth of them."""
    cache = model(torch.tensor([ids[:depth]]), use_cache=True, logits_to_keep=1).past_key_values
    start = time.perf_counter()
    for t in ids[depth : depth + tokens]:
        logits = model(torch.tensor([[t]]), past_key_values=cache, use_cache=True).logits[0, -1]
        torch.log_softmax(logits.float(), -1)
    return {"seconds": time.perf_counter() - start, "tokens": tokens}


class Server:
    def __init__(self, folder, text):
        self.models, self.experts = {}, {}
        self.ids = encode(folder, text.read_text("utf-8"))
        self.weights = lambda: reference_weights(folder)
        self.folder = folder

    def __call__(self, do, dtype=None, **request):
        if do == "versions":
            return versions()
        if do == "prepare":
            return self.prepare(dtype)
        model = self.models[dtype]
        model.set_experts_implementation(self.experts[dtype, do])
        return self.work(model, do, **request)

    def work(self, model, do, window=None, windows=None, depth=None, tokens=None):
        if do == "score":
            return score(model, cut(self.ids, window, windows))
        return decode(model, self.ids, depth, tokens)

    def prepare(self, dtype):
        """Loads the model in a dtype and chooses. Returns the choice by kind of work."""
        model = self.models[dtype] = load(self.folder, self.weights()).to(DTYPES[dtype])
        trial = {"score": {"window": 512, "windows": 1}, "decode": {"depth": 128, "tokens": 12}}
        for do, ways in EXPERTS.items():
            seconds = {}
            for way in ways:
                model.set_experts_implementation(way)
                seconds[way] = min(self.work(model, do, **trial[do])["seconds"] for _ in range(2))
            self.experts[dtype, do] = min(seconds, key=seconds.get)
        return {do: self.experts[dtype, do] for do in EXPERTS}


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[3]))
    serve(Server(Path(sys.argv[1]), Path(sys.argv[2])))
