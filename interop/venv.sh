#!/bin/sh
# Makes a virtual environment with the versions that a requirements file pins, once, and prints its python. pip takes
# the packages from wherever it is configured to. Usage: interop/venv.sh FILE [NAME]
set -eu
file=$1
name=${2:-$(basename "$file" .txt)}
python=${PYTHON:-python3}

say() { echo "interop: $*" >&2; }
fail() { say "$*"; exit 1; }

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
	fail "Python 3.11 or newer is needed, and $python is not one. Name another with PYTHON=..."

# The same packages under another Python, or in another place, are another environment.
key=$("$python" - "$file" <<-'PY'
	import hashlib, os, pathlib, platform, sys
	file = pathlib.Path(sys.argv[1])
	lines = [sys.version, sys.platform, platform.machine(), os.getcwd()]
	for line in file.read_text().splitlines():
	    lines += [(file.parent / line[3:]).read_text()] if line.startswith("-r ") else [line]
	print(hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12])
PY
)
folder=.deps/$name-$key
[ -e "$folder/complete" ] || {
	say "making $folder with pip, once"
	rm -rf "$folder"
	trap 'rm -rf "$folder"' EXIT
	trap 'exit 1' HUP INT TERM
	mkdir -p .deps
	"$python" -m venv "$folder" >&2 ||
		fail "$python cannot make virtual environments. Get that with: apt-get install python3-venv (Debian)"
	"$folder/bin/python" -m pip install -q --disable-pip-version-check -r "$file" >&2 ||
		fail "pip cannot install $file: no network, or its index lacks a version for this machine (see above)"
	touch "$folder/complete"
	trap - EXIT
}
echo "$folder/bin/python"
