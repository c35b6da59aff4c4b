#!/bin/sh
# Runs the tests of the CPU engine and of all that uses its kernels as arm64
# code, which tests the NEON kernels: natively on an arm64 machine, under
# user-mode emulation on another with Linux, where Debian's root also gets the
# cross compiler and the emulator installed. The tokenizer library is left out.
# Usage: setup/arm64.sh [ARGUMENTS OF GO TEST]
set -eu
packages="./engine/cpu/... ./engine/affine ./engine/reference"

# Tests that need tokens of text, and one that measures time. The golden model's
# tests take every operation through a whole model.
skip='^Test(Naive|NativeIsExact|Oracle|PassIsSession|PrefillOfOne|PassAlone|LongWindow|CancelledSession|ScratchBytes|BenchSeesASlowKernel)$'

fail() { echo "test-arm64: $*" >&2; exit 1; }

runner=
if [ "$(go env GOHOSTARCH)" != arm64 ]; then
	[ "$(go env GOHOSTOS)" = linux ] || fail "needs an arm64 machine, or Linux to emulate one"
	root=/usr/aarch64-linux-gnu
	ready() {
		aarch64-linux-gnu-gcc --version && qemu-aarch64 --version && [ -e $root/lib/ld-linux-aarch64.so.1 ] && [ -e $root/include/stdio.h ]
	} >/dev/null 2>&1
	debian="gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user"
	if ! ready && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
		echo "setup: installing $debian with apt-get"
		export DEBIAN_FRONTEND=noninteractive
		apt-get update -qq
		# shellcheck disable=SC2086
		apt-get install -y -qq --no-install-recommends $debian >/dev/null
	fi
	ready || fail "needs a C compiler for arm64 (aarch64-linux-gnu-gcc), its C library in $root, and" \
		"qemu-aarch64. Get them with: apt-get install $debian (Debian)"
	export GOOS=linux GOARCH=arm64 CC=aarch64-linux-gnu-gcc
	runner="qemu-aarch64 -L $root"
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
sed '/^\/\/go:build/d' engine/token/library_nocgo.go > "$work/library.go"
echo "{\"Replace\": {\"$PWD/engine/token/library.go\": \"$work/library.go\"}}" > "$work/overlay.json"

# shellcheck disable=SC2086
CGO_ENABLED=1 go test -short -overlay "$work/overlay.json" -exec "$runner" -skip "$skip" "$@" $packages ||
	fail "failed. A test that fails for want of a tokenizer belongs to those that setup/arm64.sh skips"
