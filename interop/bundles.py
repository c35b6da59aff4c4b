"""The bundles that are checked, and the command that builds them."""

import subprocess
import sys
from pathlib import Path

from report import Mismatch, Report
from stored import ROOT

GROUPS = (32, 64, 128)
BITS = (2, 3, 4, 5, 6, 8)

# All 18 cases of the affine format by MLX's CPU rule, which mx.quantize can be held against without a Mac.
CPU_RULE = [f"cpu-g{g}-n{b}-e{b}" for g in GROUPS for b in BITS]
GRID = [f"g{g}-n{n}-e{e}" for g in GROUPS for n in (8, 6, 4) for e in (4, 3)]

# folder -> arguments of `assay build`. Those under numbers/ are compared number by number, those under load/ loaded.
NUMBERS = {name: ["--recipe", name] for name in [*CPU_RULE, "native"]}
STACKED, PER_EXPERT = "g32-n8-e4", "g32-n8-e4.per-expert"
LOAD = {
    **{name: ["--recipe", name] for name in GRID},
    PER_EXPERT: ["--recipe", STACKED, "--layout", "per-expert"],
    "g32-n8-e4.mlx-vlm": ["--recipe", "g32-n8-e4", "--runtime", "mlx-vlm"],
    "native.mlx-vlm": ["--recipe", "native", "--runtime", "mlx-vlm"],
}


def build(folder, arguments):
    command = [ROOT / "bin" / "assay", "build", "--source", ROOT / "refmodel", *arguments, "--out", folder]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise Mismatch(f"assay build exits with {done.returncode}: {done.stderr.strip()}")


def main(work):
    """Builds everything under a folder."""
    report = Report()
    for part, bundles in {"numbers": NUMBERS, "load": LOAD}.items():
        (work / part).mkdir(parents=True)
        for name, arguments in bundles.items():
            with report.check(f"build {name}") as figures:
                build(work / part / name, arguments)
                figures.append(f"{sum(f.stat().st_size for f in (work / part / name).iterdir()) / 1e6:.1f} MB")
    report.exit()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
