"""MLX on its CPU device, which quantizes and multiplies on request. See tools.Worker."""

import importlib.metadata
import resource
import time

import mlx.core as mx
from tools import serve

SECONDS = 0.25  # at least, of a measurement


def cpu_seconds():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def rate(f, each):
    """How much of each a second f does, and how many cores it takes."""
    f()
    n, start, used = 0, time.perf_counter(), cpu_seconds()
    while time.perf_counter() - start < SECONDS:
        f()
        n += 1
    wall = time.perf_counter() - start
    return {"rate": each * n / wall, "cores": (cpu_seconds() - used) / wall}


def weights(rows, cols):
    w = mx.random.normal((rows, cols), key=mx.random.key(1))
    mx.eval(w)
    return w


def answer(do, rows=None, cols=None, bits=None, group=None, tokens=None):
    if do == "versions":
        return {"mlx": importlib.metadata.version("mlx")}
    w = weights(rows, cols)
    if do == "quantize":
        return rate(lambda: mx.eval(*mx.quantize(w, group_size=group, bits=bits)), rows * cols)
    q = mx.quantize(w, group_size=group, bits=bits)
    x = weights(tokens, cols)
    mx.eval(*q, x)
    f = lambda: mx.eval(mx.quantized_matmul(x, *q, transpose=True, group_size=group, bits=bits))  # noqa: E731
    return rate(f, 2 * tokens * rows * cols)


if __name__ == "__main__":
    mx.set_default_device(mx.cpu)
    serve(answer)
