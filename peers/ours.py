"""bin/assay: the commands that are timed, all with --json. Nothing else of assay is used."""

import atexit
import functools
import json
import shutil
import statistics
import tempfile
from pathlib import Path

from tools import ROOT, Broken, timed

ASSAY = ROOT / "bin" / "assay"


def assay(*arguments, threads):
    """Runs a command. Returns (seconds of the whole process, what it printed)."""
    seconds, out, _ = timed([ASSAY, *arguments, "--json", "--threads", threads], threads, Broken)
    return seconds, json.loads(out)


def score(text, variant, window, windows, options, *more):
    """Scores the first windows of a text; 0 windows are all. Returns (seconds of the whole process, the variant's row).

    With bf16 that is one pass through the model; with any other the reference is scored too.
    """
    shape = ["--text", text, "--window", window, "--windows", windows]
    seconds, out = assay("eval", "--variants", variant, *shape, *more, threads=options.threads)
    (row,) = [v for v in out["variants"] if v["name"] == variant]
    return seconds, row


def start_of(work, options):
    """Seconds that `assay eval` takes to start, load and print: the same command with 8 tokens to score."""
    return statistics.median(score(work / "small.txt", "bf16", 8, 1, options)[0] for _ in range(5))


def bench(work, variant, prefill, decode, options):
    """prefill and decode of a variant in tok/s, each the median of two repetitions after one that does not count."""
    plan = ["--prefill", prefill, "--decode", decode, "--repetitions", "2", "--text", work / "heldout.txt"]
    _, out = assay("bench", "--variants", variant, *plan, threads=options.threads)
    (row,) = [v for v in out["variants"] if v["name"] == variant]
    return {k: row[k]["value"] for k in ("prefill", "decode")}


@functools.cache
def test_binary(package):
    """The package's benchmarks, compiled once a run."""
    out = Path(tempfile.mkdtemp(prefix="peers-")) / "benchmarks.test"
    atexit.register(shutil.rmtree, out.parent, ignore_errors=True)
    timed(["go", "test", "-c", "-o", out, f"./{package}"], 1, Broken)
    return out


def gobench(package, name, seconds=0.25):
    """Runs the benchmark of that name on one thread. Returns unit -> figure."""
    pattern = f"^Benchmark{name.replace('/', '$/^')}$"
    flags = ["-test.run", "^$", "-test.bench", pattern, "-test.benchtime", f"{seconds}s", "-test.cpu", "1"]
    _, out, _ = timed([test_binary(package), *flags], 1, Broken)
    found = [line.split() for line in out.splitlines() if line.startswith("Benchmark")]
    if [name] != [f[0].removeprefix("Benchmark") for f in found]:
        raise Broken(f"go test -bench in {package} has no {name}")
    _, _, *figures = found[0]
    return dict(zip(figures[1::2], map(float, figures[::2]), strict=True))
