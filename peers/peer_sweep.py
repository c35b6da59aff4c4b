"""The quality part of the default sweep against transformers processes, one a variant.

Theirs score only: no KL divergence, no agreement, no reference kept. Some variants' processes are timed; the others are
taken to last as long as these do on average.
"""

import json
import shutil
import statistics

import peer_transformers
from ours import ASSAY, assay
from peer_transformers import NLL_BOUND
from tools import ROOT, Broken, in_turn, say, setup, timed

PEER = "transformers, one process a variant"
VARIANTS = ["bf16", "g64-n6-e3"]
TARGET, TARGET_SCORING = 5, 4


def prepare():
    """Sets up, once. Returns what run needs."""
    return setup("interop/venv.sh", "oracle/requirements.txt", "torch")


def run(report, options, work, python):
    experts = fastest_experts(options, work, python)
    folders = {n: ROOT / "refmodel" if n == "bf16" else build(work / n, n, options) for n in VARIANTS}
    plan = ["--windows", "1"] if options.quick else []

    def ours():
        say("assay: the sweep's quality part")
        shutil.rmtree(work / "sweep", ignore_errors=True)
        return assay("sweep", "--out", work / "sweep", "--no-speed", *plan, threads=options.threads)

    protocol = {}

    def theirs(name):
        say(f"{PEER}: {name}")
        shape = [protocol["window"], protocol["windows"], experts, options.threads]
        seconds, out, _ = timed([python, ROOT / "peers" / "work_sweep.py", folders[name], *shape], options.threads)
        return {"whole": seconds, **json.loads(out)}

    def ours_first():
        seconds, out = ours()
        protocol.update(out["protocol"])
        return seconds, {v["name"]: v for v in out["variants"]}

    a, *b = in_turn(options.sweeps, ours_first, *(lambda name=name: theirs(name) for name in VARIANTS))
    compare(report, a, dict(zip(VARIANTS, b, strict=True)))


def fastest_experts(options, work, python):
    """The way to compute experts that transformers scores fastest with, which each of its processes is told."""
    with peer_transformers.worker(options, work, python) as w:
        return w(do="prepare", dtype="fp32")["score"]


def build(folder, recipe, options):
    timed([ASSAY, "build", "--source", ROOT / "refmodel", "--recipe", recipe, "--out", folder], options.threads, Broken)
    return folder


def compare(report, ours, theirs):
    """ours are (seconds, variants by name) of each sweep, theirs the processes of each variant."""
    variants = ours[0][1]
    tokens = next(iter(variants.values()))["scored"]
    mean = {
        part: [len(variants) * statistics.mean(p[part] for p in turn) for turn in zip(*theirs.values(), strict=True)]
        for part in ("whole", "import", "load", "score")
    }
    seconds = [s for s, _ in ours]
    note = f"{len(variants)} variants, {tokens} tokens; its {len(theirs)} timed ({', '.join(theirs)}), scaled up"
    report.row(PEER, "quality part of the sweep", "s", seconds, mean["whole"], TARGET, note)
    note = "left out: " + ", ".join(f"{k} {statistics.median(mean[k]):.0f} s" for k in ("import", "load"))
    report.row(PEER, "the same, its scoring alone", "s", seconds, mean["score"], TARGET_SCORING, note)
    for name, processes in theirs.items():
        nll, want = variants[name]["nll"]["value"], processes[0]["nll"]
        good = abs(nll - want) <= NLL_BOUND and processes[0]["tokens"] == tokens
        says = f"assay {nll:.7f}, transformers {want:.7f}; off by {nll - want:+.1e}, at most {NLL_BOUND:g}"
        report.check(PEER, f"NLL of {name}, {tokens} tokens", good, says)
