#!/bin/sh
# Finds a clang++ of version 17 or newer, which checks the Metal kernels' address
# spaces, and prints its name. On Debian, as root, it installs one.
# Usage: CLANG=$(setup/clang.sh)
set -eu
find_clang() {
	for c in ${CLANG:-} clang++-19 clang++-20 clang++-18 clang++-17 clang++; do
		n=$($c --version 2>/dev/null | sed -n 's/.*clang version \([0-9]*\).*/\1/p' | head -1)
		if [ "${n:-0}" -ge 17 ]; then
			echo "$c"
			return 0
		fi
	done
	return 1
}
find_clang && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
	echo "setup: installing clang-19 with apt-get" >&2
	export DEBIAN_FRONTEND=noninteractive
	apt-get update -qq
	apt-get install -y -qq --no-install-recommends clang-19 >/dev/null
	find_clang && exit 0
fi
echo "setup: the kernels' check needs clang++ 17 or newer: apt-get install clang-19 (Debian)" >&2
exit 1
