"""MLX against assay number by number: bytes of quantize, values of dequantize, products of quantized_matmul.

    python interop/compare.py WORK     reads WORK/numbers/NAME and WORK/numbers/NAME.products.safetensors
"""

import sys
from pathlib import Path

import mlx.core as mx
from bundles import NUMBERS
from formats import check_affine, check_mx, check_plain, check_quantize
from products import check_products
from report import Report
from stored import modules, read_bundle, read_file, upstream_modules, upstream_plain


def main(folder):
    mx.set_default_device(mx.cpu)
    print(f"mlx {mx.__version__} on its CPU device")
    report, upstream = Report(), upstream_modules()
    for name in NUMBERS:
        native, found, weights = name == "native", {}, {}
        if not native:
            with report.check(f"quantize {name}") as figures:
                found = modules(folder / name)
                check_quantize(found, upstream, figures)
        with report.check(f"dequantize {name}") as figures:
            found = found or modules(folder / name)
            weights = {path: m.values() for path, m in found.items()}
            (check_mx if native else check_affine)(found, upstream if native else weights, figures)
        with report.check(f"products {name}") as figures:
            check_products(found, weights, read_file(folder / f"{name}.products.safetensors"), figures)
    with report.check("plain native") as figures:
        check_plain(read_bundle(folder / "native"), upstream_plain(), figures)
    report.exit()


if __name__ == "__main__":
    main(Path(sys.argv[1]) / "numbers")
