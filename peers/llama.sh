#!/bin/sh
# Builds llama.cpp from the source distribution that the requirements pin and converts the reference model for it, once.
# Prints the folder of llama-bench, llama-perplexity, model.gguf and VERSION. Its last line on standard error says why it
# could not. Usage: peers/llama.sh PYTHON, one that has transformers
set -eu
cd "$(dirname "$0")/.."
python=$1
pins=peers/requirements/llama.cpp.txt
version=$(sed -n 's/^llama-cpp-python==\([^ ]*\).*/\1/p' $pins)

say() { echo "peers: $*" >&2; }
fail() { say "$*"; exit 1; }
run() { nice -n 19 "$@" >"$folder/log" 2>&1 || { tail -n 20 "$folder/log" >&2; return 1; }; }

# Built for this processor from these files: another of either is another folder.
key=$( (cat $pins peers/llama.sh peers/convert.py refmodel/*.json refmodel/*.safetensors; uname -ms; "${CXX:-c++}" --version 2>&1 || true
	grep -m 1 '^flags' /proc/cpuinfo 2>/dev/null || true) | cksum | cut -d ' ' -f 1)
folder=.deps/llama.cpp-$version-$key
[ -e "$folder/complete" ] || {
	cmake --version >/dev/null 2>&1 || fail "llama.cpp is built with cmake, which is not here"
	for cc in "${CC:-cc}" "${CXX:-c++}"; do
		$cc --version >/dev/null 2>&1 || fail "llama.cpp needs a C and a C++ compiler, and $cc does not run"
	done

	rm -rf "$folder"
	trap 'rm -rf "$folder"' EXIT
	trap 'exit 1' HUP INT TERM
	mkdir -p "$folder/source"

	say "fetching the source of llama.cpp, 77 MB, once"
	run "$python" -m pip download --disable-pip-version-check --no-deps --no-binary :all: --require-hashes -r $pins -d "$folder" ||
		fail "pip cannot fetch the source of llama-cpp-python $version: no network, or its index lacks it (see above)"
	tar xzf "$folder"/llama_cpp_python-*.tar.gz -C "$folder/source" --strip-components=1
	source=$folder/source/vendor/llama.cpp

	say "building llama.cpp in $folder, once; this takes 5 to 15 minutes"
	run cmake -S "$source" -B "$folder/build" -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON -DBUILD_SHARED_LIBS=OFF \
		-DGGML_METAL=OFF -DGGML_BLAS=OFF -DGGML_ACCELERATE=OFF -DGGML_CCACHE=OFF -DLLAMA_OPENSSL=OFF \
		-DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_SERVER=OFF -DLLAMA_BUILD_APP=OFF ||
		fail "cmake cannot configure llama.cpp (see above)"
	run cmake --build "$folder/build" --target llama-bench --target llama-perplexity -j "$(getconf _NPROCESSORS_ONLN)" ||
		fail "llama.cpp does not build (see above)"
	cp "$folder/build/bin/llama-bench" "$folder/build/bin/llama-perplexity" "$folder"

	say "converting the reference model to GGUF, once"
	run "$python" peers/convert.py "$source" refmodel --outfile "$folder/model.gguf" --fp8-as-q8 ||
		fail "llama.cpp's converter fails (see above)"

	ggml=$(sed -n 's/^set(GGML_VERSION_[A-Z]* \([0-9]*\)).*/\1/p' "$source/ggml/CMakeLists.txt" | tr '\n' '.')
	echo "llama.cpp of llama-cpp-python $version, ggml ${ggml%.}, Release, native, $("${CXX:-c++}" --version | head -n 1)" >"$folder/VERSION"
	rm -rf "$folder/source" "$folder/build" "$folder/log" "$folder"/*.tar.gz
	touch "$folder/complete"
	trap - EXIT
}
echo "$folder"
