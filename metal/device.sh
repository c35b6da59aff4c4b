#!/bin/sh
# Runs the Metal kernels on an NVIDIA GPU of a machine that has neither Go nor a
# network, but CUDA's driver and its compiler (libnvrtc or nvcc).
#
#   metal/device.sh pack DIR    here: DIR/device.tgz, the programs, about 20 MB
#   metal/device.sh DIR STEP... there, in the repository: the steps, each under
#                               ten minutes; files go to $OUT, else DIR/out
#
# Steps: driver (the shim and the launches), suite (every operation against its
# plain twin), memory (the suite, or its cases that match CASES, under memcheck,
# racecheck and synccheck), rates
# (kernels beside the card's copy), sweep (the default sweep of the reference
# model), pair (two layers of V4-Flash's size: as the CPU engine has them, and
# how fast). The model's weights are those of refmodel/ in the repository.
set -eu
cd "$(dirname "$0")/.."

pack() {
	mkdir -p "$1"
	work=$(mktemp -d)
	# The weights stay out of the program: the repository has them.
	go build -tags noembed -ldflags "-s -w" -o "$work/assay" ./cmd/assay
	for p in host/cuda suite timing; do
		CGO_ENABLED=0 go test -c -ldflags "-s -w" -o "$work/${p##*/}.test" "./metal/$p"
	done
	tar -C "$work" -czf "$1/device.tgz" .
	rm -r "$work"
	ls -l "$1/device.tgz"
}

# says runs a command, keeps what it says in a file, and shows the end of it.
says() {
	name=$1 lines=$2
	shift 2
	start=$(date +%s)
	status=0
	"$@" >"$out/$name.log" 2>&1 || status=$?
	echo "== $name: exit status $status, $(($(date +%s) - start)) s"
	tail -n "$lines" "$out/$name.log"
	[ $status = 0 ] || failed="$failed $name"
}

# cases shows what failed of a test's log, and how many passed.
cases() {
	grep -cE '^ +--- PASS' "$out/$1.log" | sed "s/\$/ cases pass/"
	grep -E -A 3 '^ +--- FAIL|^panic' "$out/$1.log" | head -n 40 || true
}

step() {
	case $1 in
	driver) says driver 3 "$bin/cuda.test" -test.v -test.run 'GPU|Text' ;;
	suite)
		says suite 1 "$bin/suite.test" -test.v -test.run TestCUDA
		cases suite
		;;
	memory)
		for tool in memcheck racecheck synccheck; do
			says $tool 2 timeout 190 compute-sanitizer --tool $tool --error-exitcode 9 "$bin/suite.test" -test.v -test.run "TestCUDA/f32\$/${CASES:-.}"
			grep -cE '^ +--- PASS' "$out/$tool.log" | sed "s/\$/ cases pass/"
		done
		;;
	rates) says rates 40 "$bin/timing.test" -test.v -test.run TestCUDA ;;
	sweep) says sweep 40 "$bin/assay" sweep --engine cuda --model refmodel --out "$out/sweep" ;;
	pair) pair ;;
	*)
		echo "no step $1" >&2
		exit 2
		;;
	esac
}

pair() {
	model=$bin/flash-pair
	says synth 2 "$bin/assay" synth --model deepseek-v4-flash --layers 2,3 --out "$model"
	cp refmodel/tokenizer.json "$model"
	says pair-speed 12 "$bin/assay" bench --engine cuda --model "$model" --variants g32-n8-e4 --prefill 2048 --decode 64 --repetitions 5
	# A layer alone: what the pair takes more is the other's, without head and embedding.
	for layer in 2 3; do
		says synth-$layer 0 "$bin/assay" synth --model deepseek-v4-flash --layers $layer --out "$bin/flash-$layer"
		cp refmodel/tokenizer.json "$bin/flash-$layer"
		says layer-$layer 5 "$bin/assay" bench --engine cuda --model "$bin/flash-$layer" --variants g32-n8-e4 --prefill 2048 --decode 64 --repetitions 5
	done
	for engine in cuda cpu; do
		says "pair-$engine" 6 "$bin/assay" sweep --engine $engine --model "$model" --variants g32-n8-e4 --window 300 --windows 1 --no-speed --out "$out/pair-$engine"
	done
}

if [ "${1:-}" = pack ] && [ $# = 2 ]; then
	pack "$2"
	exit
fi
if [ $# -lt 2 ]; then
	sed -n '2,/^set/p' "$0" | sed '/^set/d; s/^# \{0,1\}//'
	exit 2
fi
export ASSAY_NEEDS_CUDA=1 # no GPU is a failure
bin=${TMPDIR:-/tmp}/assay-device
out=${OUT:-$1/out}
failed=
mkdir -p "$bin" "$out"
tar -C "$bin" -xzf "$1/device.tgz"
shift
for s in "$@"; do step "$s"; done
[ -z "$failed" ] || echo "failed:$failed"
[ -z "$failed" ]
