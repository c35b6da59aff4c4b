#!/bin/sh
# Builds libtokenizers.a, which engine/token links, from the Rust source that
# comes inside its Go module. Usage: setup/tokenizers.sh FOLDER/libtokenizers.a
set -eu
target=$1
folder=$(dirname "$target")
module=github.com/daulet/tokenizers

say() { echo "setup: $*"; }
fail() { echo "setup: $*" >&2; exit 1; }

grep -q "LDFLAGS: .*/$folder\$" engine/token/library.go ||
	fail "engine/token/library.go links no $folder: not that version, or not on this platform"

# rustup's cargo looks for its toolchain in $HOME. Where $HOME is a new one,
# the toolchain is still beside the cargo that PATH finds.
found() { cargo --version 2>/dev/null; }
if ! found >/dev/null && cargo=$(command -v cargo) && [ -d "${cargo%/*}/../../.rustup" ]; then
	RUSTUP_HOME=$(cd "${cargo%/*}/../../.rustup" && pwd)
	export RUSTUP_HOME
fi
version=$(found) || version="none that runs"
case $version in
"cargo 1."[0-9].* | "cargo 1."[0-6][0-9].* | "cargo 1.7"[0-7].* | none*)
	fail "the tokenizer library is built from Rust source: it needs cargo 1.78 or newer, here is $version." \
		"Get it with rustup (https://rustup.rs), on a Mac also with: brew install rust" ;;
esac

say "fetching the source of $module"
go mod download "$module"
source=$(go list -m -f '{{.Dir}}' "$module")

# The module cache is read-only, so cargo builds elsewhere.
mkdir -p .deps
build=$(mktemp -d .deps/build.XXXXXX)
trap 'rm -rf "$build"' EXIT
trap 'exit 1' HUP INT TERM
say "building $target with $version: one to three minutes, once"
CARGO_TARGET_DIR=$PWD/$build cargo build --release --locked --manifest-path "$source/Cargo.toml"
mkdir -p "$folder"
mv "$build/release/libtokenizers.a" "$target"
say "built $target"
