#!/bin/sh
# Builds bundles of the reference model with bin/assay and holds them against MLX and mlx-lm, at pinned versions. Prints
# a line a check; fails if any did. Usage: interop/run.sh
set -eu
cd "$(dirname "$0")/.."
export PYTHONDONTWRITEBYTECODE=1

newest=mlx-lm-0.32.2
others="mlx-lm-0.32.0 mlx-lm-0.31.3"
for name in $newest $others; do
	interop/venv.sh interop/requirements/$name.txt >/dev/null
done
python=$(interop/venv.sh interop/requirements/$newest.txt)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

failed=0
"$python" interop/bundles.py "$work" || failed=1
ASSAY_INTEROP=$work/numbers go test -count=1 -run '^TestInterop$' ./engine/cpu || failed=1
"$python" interop/compare.py "$work" || failed=1
for name in $newest $others; do
	"$(interop/venv.sh interop/requirements/$name.txt)" interop/load.py "$work" || failed=1
done
[ $failed = 0 ] || { echo "interop: a check failed, see FAIL above" >&2; exit 1; }
echo "interop: all checks passed"
