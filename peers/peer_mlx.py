"""MLX on the CPU: mx.quantize on one core against assay's quantizer, and MLX's quantized product."""

from ours import gobench
from tools import ROOT, Worker, in_turn, say, setup

PEER = "mlx"
ROWS, COLS = 64, 4096  # of BenchmarkQuantize
CASES = [(3, 32), (4, 32), (4, 64), (4, 128), (6, 64), (8, 32), (8, 64)]
TARGET = 5


def prepare():
    """Sets up, once. Returns what run needs."""
    return setup("interop/venv.sh", "interop/requirements/mlx-lm-0.32.2.txt")


def run(report, options, work, python):
    with Worker(python, ROOT / "peers" / "work_mlx.py", threads=options.threads) as theirs:
        report.versions[PEER] = f"mlx {theirs(do='versions')['mlx']}, CPU device"
        for bits, group in CASES:
            say(f"{PEER}: quantize, {bits} bits, group {group}")
            quantizing(report, options, theirs, bits, group)
        say(f"{PEER}: quantized product")
        multiplying(report, options, theirs)


def quantizing(report, options, theirs, bits, group):
    """Like against like is the CPU's rule; the GPU's, with other bytes, is what assay's variants take by default."""
    shape = {"rows": ROWS, "cols": COLS, "bits": bits, "group": group}
    rules = {"cpu": TARGET, "gpu": None}
    *ours, b = in_turn(
        options.repetitions,
        *(lambda rule=rule: quantizer(rule, bits, group) for rule in rules),
        lambda: theirs(do="quantize", **shape),
    )
    note = f"normal float32 [{ROWS}, {COLS}]; cores: assay 1, mlx {max(t['cores'] for t in b):.1f}"
    for (rule, target), a in zip(rules.items(), ours, strict=True):
        what = f"quantize, {bits} bits, group {group}" + (", assay by the GPU's rule" if rule == "gpu" else "")
        report.row(PEER, what, "G weights/s", a, [t["rate"] / 1e9 for t in b], target, note)


def quantizer(rule, bits, group):
    """G weights a second of assay's quantizer, float32 rows in, codes, scales and biases as stored out."""
    name = f"Quantize/data=gauss/encoder=mlx-{rule}/bits={bits}/group={group}"
    return gobench("engine/affine", name)["Mweights/s"] / 1e3


def multiplying(report, options, theirs):
    shape = {"rows": 2048, "cols": 4096, "tokens": 64, "bits": 4, "group": 32}
    b = [theirs(do="multiply", **shape) for _ in range(options.repetitions)]
    note = f"64 tokens, [2048, 4096], 4 bits, group 32, float32; cores: {max(t['cores'] for t in b):.1f}"
    report.row(PEER, "quantized product", "GFLOP/s", [], [t["rate"] / 1e9 for t in b], None, note)
