"""Whole bundles through the real mlx_lm.utils.load_model, strict, into the module tree of tree.py.

    python interop/load.py WORK     loads WORK/numbers/NAME and WORK/load/NAME

The version of mlx-lm that runs this is the one under test. It says which of two outcomes the published failure has: an
override keyed by a name on disk matches no module, so releases of mlx-lm up to 0.31.3 give the module the globals, and
0.32.0 and later look at the shapes.
"""

import json
import shutil
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import mlx.core as mx
import numpy as np
import tree
from bundles import LOAD, NUMBERS, PER_EXPERT, STACKED
from formats import same
from mlx.utils import tree_flatten
from mlx_lm.utils import load_model
from report import Mismatch, Report
from stored import declared, read_bundle

MLX_LM = version("mlx-lm")
INFERS = tuple(int(n) for n in MLX_LM.split(".")) >= (0, 32, 0)  # from shapes, where no override matches


def load(folder):
    """The model as mlx-lm loads it: into mlx-vlm's tree if the bundle was built for mlx-vlm."""
    classes = tree.PrefixedModel if folder.name.endswith(".mlx-vlm") else tree.Model, tree.ModelArgs
    return load_model(folder, strict=True, get_model_classes=lambda config: classes)[0]


def setting(module):
    return {"group_size": module.group_size, "bits": module.bits, "mode": module.mode}


def check_settings(model, quantization, figures):
    """Every quantized module has what config.json declares of it, and config.json declares nothing else."""
    modules = dict(model.named_modules())
    quantized = {path: m for path, m in modules.items() if hasattr(m, "bits")}
    if dead := sorted(quantization.keys() - modules.keys()):
        raise Mismatch(f"{len(dead)} overrides name no module, such as {dead[0]}")
    for path, m in quantized.items():
        if quantization.get(path) != setting(m):
            raise Mismatch(f"{path} has {setting(m)}, config.json says {quantization.get(path)}")
    if left := [path for path, q in quantization.items() if q and path not in quantized]:
        raise Mismatch(f"{left[0]} is not quantized, config.json says {quantization[left[0]]}")
    stacks = sum(type(m).__name__ == "QuantizedSwitchLinear" for m in quantized.values())
    plain = sum(hasattr(m, "to_quantized") for m in modules.values())
    figures.append(f"{len(quantized)} modules quantized as declared, {stacks} of them stacks, {plain} left plain")


def check_parameters(model, stored, figures):
    """The model's parameters are the stored bytes: all of them, and no others. Strict loading checks no dtype."""
    parameters = dict(tree_flatten(model.parameters()))
    if parameters.keys() != stored.keys():
        raise Mismatch(f"only one of model and files has {min(parameters.keys() ^ stored.keys())}")
    for name, (dtype, array) in stored.items():
        p = parameters[name]
        got = np.array(p.view(mx.uint16) if p.dtype == mx.bfloat16 else p)
        if (p.dtype == mx.bfloat16) != (dtype == "BF16"):
            raise Mismatch(f"{name} is {p.dtype}, not the file's {dtype}")
        same(name, got, array)
    figures.append(f"{len(parameters)} parameters byte for byte")


def as_parameters(folder):
    """A bundle's tensors by the names of the parameters that they become. Of one that sanitize has to rename and to
    stack those are the tensors of the same recipe's stacked bundle."""
    if folder.name == PER_EXPERT:
        return read_bundle(folder.with_name(STACKED))
    return read_bundle(folder)


def check_bundle(folder, figures):
    model = load(folder)
    check_settings(model, declared(folder), figures)
    check_parameters(model, as_parameters(folder), figures)


def key_by_disk_names(source, target):
    """A copy of a per-expert bundle whose overrides are keyed as its tensors are, which is how they were published."""
    shutil.copytree(source, target)
    config = json.loads((target / "config.json").read_text())
    quantization = {k: v for k, v in config["quantization"].items() if not isinstance(v, dict)}
    expert, other = (config["quantization"][k] for k in ("model.layers.0.ffn.switch_mlp.gate_proj", "lm_head"))
    for name in read_bundle(target):
        if name.endswith(".scales"):
            quantization[name.removesuffix(".scales")] = expert if ".experts." in name else other
    config["quantization"] = config["quantization_config"] = quantization
    (target / "config.json").write_text(json.dumps(config, indent=2))


def check_published_failure(folder, figures):
    """Overrides keyed by disk names: refused up to 0.31.3, loaded as they should be from 0.32.0 on."""
    try:
        with tempfile.TemporaryDirectory() as scratch:
            copy = Path(scratch) / folder.name
            key_by_disk_names(folder, copy)
            model = load(copy)
    except ValueError as e:
        if INFERS or "Expected shape" not in str(e):
            raise
        figures.append(f"refused: {e}")
        return
    if not INFERS:
        raise Mismatch("loaded, though no override matches a module")
    check_settings(model, declared(folder), figures)
    check_parameters(model, as_parameters(folder), figures)


def main(work):
    mx.set_default_device(mx.cpu)
    print(f"mlx-lm {MLX_LM}, mlx {mx.__version__}")
    report = Report()
    for part, bundles in ("numbers", NUMBERS), ("load", LOAD):
        for name in bundles:
            with report.check(f"load-{MLX_LM} {name}") as figures:
                check_bundle(work / part / name, figures)
    with report.check(f"load-{MLX_LM} overrides keyed by disk names") as figures:
        check_published_failure(work / "load" / PER_EXPERT, figures)
    report.exit()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
