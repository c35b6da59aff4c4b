"""numpy's OpenBLAS, which multiplies float32 matrices on request. See tools.Worker.

Its number of threads comes from the environment.
"""

import time

import numpy as np
from tools import serve

SECONDS = 0.25  # at least, of a measurement


def multiply(tokens, cols, rows):
    """FLOP/s of y[tokens, rows] = x[tokens, cols] w[rows, cols]^T."""
    rng = np.random.default_rng(1)
    x, w = (rng.standard_normal((n, cols), np.float32) for n in (tokens, rows))
    y = np.empty((tokens, rows), np.float32)
    np.matmul(x, w.T, out=y)
    n, start = 0, time.perf_counter()
    while time.perf_counter() - start < SECONDS:
        np.matmul(x, w.T, out=y)
        n += 1
    return {"rate": 2 * tokens * cols * rows * n / (time.perf_counter() - start)}


def answer(do, **shape):
    if do == "versions":
        blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
        return {"numpy": np.__version__, blas["name"]: blas["version"]}
    return multiply(**shape)


if __name__ == "__main__":
    serve(answer)
