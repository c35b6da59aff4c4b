"""transformers and torch: scoring and decoding the same tokens of the reference model, in float32 and in bfloat16."""

from ours import bench, score, start_of
from tools import ROOT, Worker, in_turn, say, setup

PEER = "transformers"
DTYPES = ["fp32", "bf16"]
TARGETS = {("fp32", 1024): 4, ("fp32", 4096): 10, ("fp32", "decode"): 25}
NLL_BOUND = 5e-4  # nats a token, between float32 and float32
DEPTH = 512  # of decode


def prepare():
    """Sets up, once. Returns what run needs."""
    return setup("interop/venv.sh", "oracle/requirements.txt", "torch")


def worker(options, work, python):
    script, text = ROOT / "peers" / "work_transformers.py", work / "heldout.txt"
    return Worker(python, script, ROOT / "refmodel", text, options.threads, threads=options.threads)


def run(report, options, work, python):
    with worker(options, work, python) as theirs:
        pins = theirs(do="versions")
        report.versions[PEER] = ", ".join(f"{k} {v}" for k, v in pins.items()) + "; eager attention"
        for dtype in DTYPES:
            way = theirs(do="prepare", dtype=dtype)
            report.versions[PEER] += f"; {dtype}: experts {way['score']}, in decode {way['decode']}"
        start = start_of(work, options)
        for window, windows, repetitions in options.windows:
            say(f"{PEER}: scoring {windows} x {window}")
            scoring(report, start, window, *scores(options, work, theirs, window, windows, repetitions))
        say(f"{PEER}: decode")
        decoding(report, options, work, theirs)


def scores(options, work, theirs, window, windows, repetitions):
    """assay's processes, and by dtype the answers of transformers."""
    request = {"do": "score", "window": window, "windows": windows}
    a, *b = in_turn(
        repetitions,
        lambda: score(work / "heldout.txt", "bf16", window, windows, options),
        *(lambda dtype=dtype: theirs(dtype=dtype, **request) for dtype in DTYPES),
    )
    return a, dict(zip(DTYPES, b, strict=True))


def scoring(report, start, window, ours, theirs):
    """ours are the processes, theirs the answers of each dtype; start is what a process takes that scores nothing."""
    scored = ours[0][1]["scored"]
    less_start = [scored / (seconds - start) for seconds, _ in ours]
    whole = [scored / seconds for seconds, _ in ours]
    for dtype, answers in theirs.items():
        peer, rates = f"{PEER} {dtype}", [t["tokens"] / t["seconds"] for t in answers]
        note = f"{scored} tokens; assay less {start:.2f} s of start"
        report.row(peer, f"scoring, window {window}", "tok/s", less_start, rates, TARGETS.get((dtype, window)), note)
        report.row(peer, f"scoring, window {window}, assay's whole process", "tok/s", whole, rates)
    nll, want, tokens = ours[0][1]["nll"]["value"], theirs["fp32"][0]["nll"], theirs["fp32"][0]["tokens"]
    says = f"assay {nll:.7f} on {scored} tokens, {PEER} {want:.7f} on {tokens}; off by {nll - want:+.1e}"
    good = abs(nll - want) <= NLL_BOUND and scored == tokens
    report.check(f"{PEER} fp32", f"NLL, window {window}", good, f"{says}, at most {NLL_BOUND:g}")


def decoding(report, options, work, theirs):
    """assay decodes bf16, and native: the same values in the checkpoint's own formats."""
    request = {"do": "decode", "depth": DEPTH, "tokens": options.decode}
    bf16, native, *b = in_turn(
        options.repetitions,
        *(lambda v=v: bench(work, v, DEPTH, options.decode, options)["decode"] for v in ("bf16", "native")),
        *(lambda dtype=dtype: theirs(dtype=dtype, **request) for dtype in DTYPES),
    )
    note = f"{options.decode} tokens"
    for dtype, answers in zip(DTYPES, b, strict=True):
        rates = [t["tokens"] / t["seconds"] for t in answers]
        peer, target = f"{PEER} {dtype}", TARGETS.get((dtype, "decode"))
        report.row(peer, f"decode at depth {DEPTH}, native", "tok/s", native, rates, target, note)
        report.row(peer, f"decode at depth {DEPTH}, bf16", "tok/s", bf16, rates, target, note)
