"""Times bin/assay beside programs that do the same work on this machine: same threads, same tokens, in turn.

    peers/run.sh [--quick] [--strict] [--only llama.cpp,mlx] [--json FILE]

Everything that peers need is set up under .deps first, once. A peer that cannot be had is skipped with its reason. The
exit status is 1 where a peer finds other scores than assay, where assay does not run, and with --strict where a target
is missed.
"""

import argparse
import dataclasses
import datetime
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import peer_blas
import peer_llama
import peer_mlx
import peer_sweep
import peer_transformers
from ours import assay
from report import Report
from tools import ROOT, Broken, Unavailable, heldout, say

PARTS = {
    "transformers": peer_transformers,
    "llama.cpp": peer_llama,
    "mlx": peer_mlx,
    "openblas": peer_blas,
    "sweep": peer_sweep,
}


@dataclasses.dataclass
class Options:
    """How much is measured. windows are (window, windows, repetitions)."""

    threads: int
    quick: bool = False
    repetitions: int = 5
    windows: tuple = ((512, 4, 5), (1024, 8, 5), (4096, 1, 3))
    decode: int = 64
    score_windows: int = 8
    ppl_windows: int = 0  # all
    sweeps: int = 2


def quick(threads):
    """A few minutes, to see that everything runs; its figures are rough."""
    shapes = ((512, 2, 2), (1024, 2, 2), (4096, 1, 1))
    return Options(threads, True, 2, shapes, 32, 4, 4, 1)


def processor():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def cores():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def git(*arguments):
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True).stdout.strip()


def about(options):
    """What stands with every figure: who was measured, where, and how."""
    plan = ["--variants", "bf16", "--prefill", "8", "--decode", "1", "--repetitions", "1"]
    engine = assay("bench", *plan, threads=options.threads)[1]["engine"]
    load = os.getloadavg()[0]
    if load > 0.5:
        say(f"the machine is busy (load {load:.1f}); what is measured now is not what it can do")
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": (git("rev-parse", "HEAD") or "unknown") + (", with changes" if git("status", "--porcelain") else ""),
        "processor": processor(),
        "cores": cores(),
        "system": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "load": f"{load:.1f} as it began",
        "threads": options.threads,
        "kernels": engine["kernels"],
        "activations": engine["activations"],
        "options": "quick" if options.quick else "full",
        "go": subprocess.run(["go", "env", "GOVERSION"], cwd=ROOT, capture_output=True, text=True).stdout.strip(),
        "python": platform.python_version(),
    }


def prepare(report, parts):
    """Sets everything up before anything is timed. Returns part -> what its run needs."""
    ready = {}
    for name in parts:
        try:
            ready[name] = PARTS[name].prepare()
        except Unavailable as e:
            report.skip(PARTS[name].PEER, str(e))
    return ready


def measure(report, options, work, ready):
    (work / "heldout.txt").write_text(heldout(), "utf-8")
    (work / "small.txt").write_text(heldout(["prose"])[:200], "utf-8")
    took = []
    for name, given in ready.items():
        say(f"{name} ...")
        start = time.monotonic()
        try:
            PARTS[name].run(report, options, work, given)
        except Unavailable as e:
            report.skip(PARTS[name].PEER, str(e))
        except Broken as e:
            report.check(PARTS[name].PEER, "assay runs", False, str(e))
        took.append(f"{name} {time.monotonic() - start:.0f} s")
    report.about["took"] = ", ".join(took)


def arguments():
    p = argparse.ArgumentParser(
        prog="peers/run.sh", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--quick", action="store_true", help="fewer tokens and repetitions, to see that all runs")
    p.add_argument("--strict", action="store_true", help="exit with 1 where a target is missed")
    p.add_argument("--json", type=Path, metavar="FILE", help="write everything there too, every sample kept")
    p.add_argument("--threads", type=int, default=cores(), help="of everything (default: %(default)s, all)")
    p.add_argument("--only", default=",".join(PARTS), help="parts with commas between (default: %(default)s)")
    args = p.parse_args()
    args.parts = args.only.split(",")
    if unknown := [n for n in args.parts if n not in PARTS]:
        p.error(f"no part is called {unknown[0]!r}")
    return args


def main():
    args = arguments()
    options = quick(args.threads) if args.quick else Options(args.threads)
    report = Report({})
    with tempfile.TemporaryDirectory(prefix="peers-") as folder:
        ready = prepare(report, args.parts)
        try:
            report.about = about(options)
        except Broken as e:
            say(e)
            return 1
        measure(report, options, Path(folder), ready)
    print(report.text(), end="")
    if args.json:
        report.write(args.json)
    for c in report.wrong():
        say(f"WRONG {c.peer}: {c.what}: {c.says}")
    missed = report.missed() if args.strict else []
    for r in missed:
        say(f"{r.peer}: {r.what} is {r.ratio():.2f}x, wanted {r.target:g}x")
    return 1 if report.wrong() or missed else 0


if __name__ == "__main__":
    sys.exit(main())
