#!/bin/sh
# Builds bundles of the reference model with bin/assay and holds assay's scores of them against those of transformers, in
# the environment that the oracle pins. Writes interop/torch.json. Usage: interop/torch.sh
set -eu
cd "$(dirname "$0")/.."
export PYTHONDONTWRITEBYTECODE=1

python=$(interop/venv.sh oracle/requirements.txt torch)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
"$python" interop/nll.py "$work"
