"""llama.cpp: perplexity, scoring, prefill and decode of the native formats: experts as MXFP4, FP8 matrices as Q8_0."""

import json
import re

from ours import bench, score, start_of
from tools import Unavailable, in_turn, last_line, say, setup, timed

PEER = "llama.cpp"
WINDOW = 1024
PPL_BOUND = 1e-3  # relative; llama.cpp rounds activations to 8 bits
PREFILL_TARGET, DECODE_TARGET = 2.5, 3
DEPTH = 512  # of decode
CLOCK = r"\b(\d+)\.(\d\d)\.(\d{3})\.(\d{3}) I "  # before each line of its log


def prepare():
    """Sets up, once. Returns what run needs."""
    return setup("peers/llama.sh", setup("interop/venv.sh", "oracle/requirements.txt", "torch"))


def run(report, options, work, folder):
    report.versions[PEER] = (folder / "VERSION").read_text().strip()
    perplexity(report, options, work, folder)
    scoring(report, options, work, folder)
    for tokens, _, repetitions in options.windows:
        prefilling(report, options, work, folder, tokens, repetitions)
    decoding(report, options, work, folder)


def llama_perplexity(folder, text, windows, options):
    """Scores the second half of windows. Returns (seconds of the process, seconds of scoring, perplexity, windows)."""
    shape = ["-c", WINDOW, "-t", options.threads, *(["--chunks", windows] if windows else [])]
    command = [folder / "llama-perplexity", "-m", folder / "model.gguf", "-f", text, *shape]
    seconds, _, log = timed(command, options.threads)
    began = re.search(CLOCK + r"perplexity: calculating perplexity over ([0-9]+) chunks", log)
    ended = re.search(CLOCK + r"Final estimate: PPL = ([0-9.]+|-?nan|inf)", log)
    if not began or not ended:
        raise Unavailable(f"llama-perplexity prints no estimate with its time, but: {last_line(log)}")
    return seconds, clock(ended) - clock(began), float(ended[5]), int(began[5])


def clock(m):
    """Seconds since the process began, from minutes, seconds, milliseconds and microseconds."""
    return int(m[1]) * 60 + int(m[2]) + int(m[3]) / 1e3 + int(m[4]) / 1e6


def perplexity(report, options, work, folder):
    """Whether both find the same perplexity of the same targets, the whole held-out text."""
    say(f"{PEER}: perplexity")
    _, _, theirs, n = llama_perplexity(folder, work / "heldout.txt", options.ppl_windows, options)
    protocol = ["--protocol", "llama.cpp"]
    _, ours = score(work / "heldout.txt", "native", WINDOW, options.ppl_windows, options, *protocol)
    ppl = ours["perplexity"]["value"]
    off = ppl / theirs - 1
    good = abs(off) <= PPL_BOUND and n == ours["windows"]
    says = f"assay {ppl:.4f} in {ours['windows']} windows of {WINDOW}, llama.cpp {theirs:.4f} in {n}"
    says += f"; off by {100 * off:+.3f} %, at most {100 * PPL_BOUND:g} %"
    report.check(PEER, "perplexity of native", good, says)


def scoring(report, options, work, folder):
    """Time of scoring with its protocol. Ours scores bf16, which has native's values: one pass, as theirs is."""
    say(f"{PEER}: scoring")
    windows, text = options.score_windows, work / "heldout.txt"
    start = start_of(work, options)
    a, b = in_turn(
        options.repetitions,
        lambda: score(text, "bf16", WINDOW, windows, options, "--protocol", "llama.cpp")[0],
        lambda: llama_perplexity(folder, text, windows, options),
    )
    tokens = WINDOW * windows
    alone = [[tokens / (s - start) for s in a], [tokens / s for _, s, *_ in b]]
    whole = [[tokens / s for s in a], [tokens / s for s, *_ in b]]
    note = f"{tokens} tokens; by its own clock; assay's bf16 less {start:.2f} s of start"
    report.row(PEER, f"scoring, window {WINDOW}", "tok/s", *alone, PREFILL_TARGET, note)
    report.row(PEER, f"scoring, window {WINDOW}, whole processes", "tok/s", *whole)


def llama_bench(folder, options, *test):
    """tok/s of one test of llama-bench: one repetition after its warm-up."""
    command = [folder / "llama-bench", "-m", folder / "model.gguf", "-t", options.threads, "-r", 1, "-o", "json", *test]
    _, out, _ = timed(command, options.threads)
    (result,) = json.loads(out)
    return result["avg_ts"]


def prefilling(report, options, work, folder, tokens, repetitions):
    say(f"{PEER}: prefill of {tokens}")
    a, b = in_turn(
        repetitions,
        lambda: bench(work, "native", tokens, 1, options)["prefill"],
        lambda: llama_bench(folder, options, "-p", tokens, "-n", 0),
    )
    report.row(PEER, f"prefill of {tokens}", "tok/s", a, b, PREFILL_TARGET, "native; its tokens are random")


def decoding(report, options, work, folder):
    say(f"{PEER}: decode")
    n = options.decode
    a, b = in_turn(
        options.repetitions,
        lambda: bench(work, "native", DEPTH, n, options)["decode"],
        lambda: llama_bench(folder, options, "-p", 0, "-n", n, "-d", DEPTH),
    )
    note = f"native, {n} tokens; its tokens are random"
    report.row(PEER, f"decode at depth {DEPTH}", "tok/s", a, b, DECODE_TARGET, note)
