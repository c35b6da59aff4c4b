"""OpenBLAS: sgemm of numpy at V4-Flash's shapes and a square, the machine's measured rate of products in float32."""

from ours import gobench_all
from tools import ROOT, Worker, say, setup

PEER = "openblas"
SHAPES = {  # name -> tokens, cols, rows
    "square 2048": (2048, 2048, 2048),
    "expert in, 1024 x 4096 x 2048": (1024, 4096, 2048),
    "expert out, 1024 x 2048 x 4096": (1024, 2048, 4096),
    "queries, 1024 x 1024 x 32768": (1024, 1024, 32768),
}
FORMATS = ["f32", "bf16", "affine8g32", "affine6g64", "affine4g32", "affine3g32", "mxfp4", "mxfp8"]


def prepare():
    """Sets up, once. Returns what run needs."""
    return setup("interop/venv.sh", "oracle/requirements.txt", "torch")


def run(report, options, work, python):
    say(f"{PEER}: sgemm")
    command = [python, ROOT / "peers" / "work_blas.py"]
    with Worker(*command, threads=1) as one, Worker(*command, threads=options.threads) as all_:
        report.versions[PEER] = ", ".join(f"{k} {v}" for k, v in one(do="versions").items())
        workers = {1: one, options.threads: all_}
        kernels = report.about["kernels"]
        products = {f: [] for f in FORMATS}
        rates = {(threads, shape): [] for threads in workers for shape in SHAPES}
        for _ in range(options.repetitions):
            for (threads, shape), samples in rates.items():
                sizes = dict(zip(("tokens", "cols", "rows"), SHAPES[shape], strict=True))
                samples.append(workers[threads](do="multiply", **sizes)["rate"] / 1e9)
            ours = gobench_all("engine/cpu/kernel", f"MatMul/^{kernels}$/.*/n=1024")
            for f, samples in products.items():
                found = ours.get(f"MatMul/{kernels}/{f}/n=1024", {})
                samples += [found["GFLOP/s"]] if "GFLOP/s" in found else []
    for (threads, shape), samples in rates.items():
        report.row(PEER, f"sgemm {shape}, {threads} thread{'' if threads == 1 else 's'}", "GFLOP/s", [], samples)
    for f, samples in products.items():
        note = "assay's MatMul of 1024 tokens, [256, 256], 1 thread, against the square"
        report.row(PEER, f"product {f}, 1 thread", "GFLOP/s", samples, rates[1, "square 2048"], None, note)
