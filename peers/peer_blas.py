"""OpenBLAS: sgemm of numpy at V4-Flash's shapes and a square, the machine's measured rate of products in float32."""

from ours import gobench
from tools import ROOT, Worker, in_turn, say, setup

PEER = "openblas"
SHAPES = {  # name -> tokens, columns, rows
    "square": (2048, 2048, 2048),
    "expert in": (1024, 4096, 2048),
    "expert out": (1024, 2048, 4096),
    "queries": (1024, 1024, 32768),
}
TOKENS, COLS, ROWS = 2048, 4096, 256  # of BenchmarkMatMul
FORMATS = ["f32", "bf16", "affine8g32", "affine6g64", "affine4g32", "affine3g32", "mxfp4", "mxfp8"]


def prepare():
    """Sets up, once. Returns what run needs."""
    return setup("interop/venv.sh", "oracle/requirements.txt", "torch")


def run(report, options, work, python):
    command = [python, ROOT / "peers" / "work_blas.py"]
    with Worker(*command, threads=1) as one, Worker(*command, threads=options.threads) as several:
        report.versions[PEER] = ", ".join(f"{k} {v}" for k, v in one(do="versions").items())
        say(f"{PEER}: sgemm")
        for name, shape in SHAPES.items():
            sides = [lambda w=w, shape=shape: sgemm(w, *shape) for w in (one, several)]
            note = "tokens x columns x rows: " + " x ".join(map(str, shape))
            for n, rates in zip((1, options.threads), in_turn(options.repetitions, *sides), strict=True):
                report.row(PEER, f"sgemm, {name}, {threads(n)}", "GFLOP/s", [], rates, None, note)
        say(f"{PEER}: products of one thread")
        products(report, options, one)


def threads(n):
    return "1 thread" if n == 1 else f"{n} threads"


def products(report, options, one):
    """assay's product of each format and sgemm's, of the same shape, on one thread."""
    kernels = report.about["kernels"]
    *ours, theirs = in_turn(
        options.repetitions,
        *(lambda f=f: product(kernels, f) for f in FORMATS),
        lambda: sgemm(one, TOKENS, COLS, ROWS),
    )
    for f, samples in zip(FORMATS, ours, strict=True):
        note = f"MatMul and sgemm, {TOKENS} x {COLS} x {ROWS}"
        report.row(PEER, f"product, {f}, 1 thread", "GFLOP/s", samples, theirs, None, note)


def product(kernels, form):
    return gobench("engine/cpu/kernel", f"MatMul/{kernels}/{form}/cols={COLS}/n={TOKENS}")["GFLOP/s"]


def sgemm(worker, tokens, cols, rows):
    return worker(do="multiply", tokens=tokens, cols=cols, rows=rows)["rate"] / 1e9
