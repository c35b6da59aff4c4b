#!/bin/sh
# Times bin/assay beside other programs that do the same work on this machine. Usage: peers/run.sh [--help]
set -eu
cd "$(dirname "$0")/.."
export PYTHONDONTWRITEBYTECODE=1

python=${PYTHON:-python3}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || {
	echo >&2 "peers: Python 3.11 or newer is needed, and $python is not one. Name another with PYTHON=..."
	exit 1
}
exec "$python" peers/main.py "$@"
