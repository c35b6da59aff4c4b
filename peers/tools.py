"""Running programs: assay, and peers, some of which stay up and answer a line of JSON with another."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STRATA = ["prose", "technical", "chinese", "code"]


class Unavailable(Exception):
    """Why a peer cannot be had or does not run, as a sentence."""


class Broken(Exception):
    """Why assay itself does not run, as a sentence."""


def say(line):
    print(f"peers: {line}", file=sys.stderr, flush=True)


def last_line(text):
    return (text.strip().splitlines() or ["no reason given"])[-1]


def environment(threads):
    """The environment of a peer that takes its number of threads from there."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    return {**os.environ, **dict.fromkeys(names, str(threads))}


def timed(command, threads, kind=Unavailable):
    """Runs a program to its end. Returns (seconds of the whole process, stdout, stderr)."""
    start = time.perf_counter()
    done = subprocess.run([str(c) for c in command], cwd=ROOT, env=environment(threads), capture_output=True, text=True)
    seconds = time.perf_counter() - start
    if done.returncode:
        raise kind(f"{Path(str(command[0])).name} exits with {done.returncode}: {last_line(done.stderr)}")
    return seconds, done.stdout, done.stderr


def setup(*command):
    """Runs a script of set-up that prints a folder or file, showing what it says. Its last word is why it failed."""
    said = []
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([str(c) for c in command], cwd=ROOT, text=True, **pipes) as p:
        for line in p.stderr:
            print(line, end="", file=sys.stderr, flush=True)
            said.append(line)
        out = p.stdout.read()
    if p.returncode:
        raise Unavailable(last_line("".join(said)).removeprefix("peers: ").removeprefix("interop: "))
    return ROOT / out.strip()


class Worker:
    """A program that reads a line of JSON, does what it asks, and prints a line of JSON, until its input ends."""

    def __init__(self, *command, threads):
        self.name = Path(str(command[1])).name
        self.says = tempfile.TemporaryFile("w+")  # noqa: SIM115
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self.says}
        self.process = subprocess.Popen([str(c) for c in command], env=environment(threads), text=True, **pipes)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.communicate()
        self.says.close()

    def __call__(self, **request):
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            self.says.seek(0)
            raise Unavailable(f"{self.name} stops: {last_line(self.says.read())}")
        answer = json.loads(line)
        if "error" in answer:
            raise Unavailable(f"{self.name}: {answer['error']}")
        return answer


def serve(answer):
    """The other end of a Worker: answer takes a request as keyword arguments and returns what to print."""
    for line in sys.stdin:
        try:
            reply = answer(**json.loads(line))
        except Exception as e:
            reply = {"error": f"{type(e).__name__}: {e}".replace("\n", " ")}
        print(json.dumps(reply), flush=True)


def heldout(strata=STRATA):
    """The held-out text: strata one after the other, each as assay joins its pieces."""
    folder = ROOT / "datasets" / "heldout"
    pieces = [p for s in strata for p in sorted((folder / s).glob("*.txt"), key=lambda p: p.name)]
    return "\n".join(p.read_bytes().decode("utf-8") for p in pieces)


def in_turn(repetitions, *sides):
    """Calls all sides one after the other, again and again. Returns the list of what each returned."""
    out = [[] for _ in sides]
    for _ in range(repetitions):
        for results, side in zip(out, sides, strict=True):
            results.append(side())
    return out
