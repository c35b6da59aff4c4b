# `make help` lists the targets. GNU make 3.81, a Mac's, is enough.

# What is fetched and built once is kept by version: the version of the
# tokenizer library stands in go.mod, that of echarts in setup/package.json.
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
TOKENIZERS  := tokenizers-$(shell sed -n 's|.*github.com/daulet/tokenizers v\([^ ]*\).*|\1|p' go.mod)
ECHARTS     := .deps/echarts-$(shell sed -n 's|.*"echarts": *"\(.*\)".*|\1|p' setup/package.json)
PLATFORM    := $(shell go env GOHOSTOS 2>/dev/null)-$(shell go env GOHOSTARCH 2>/dev/null)
LIBRARY     := .deps/$(TOKENIZERS)/$(PLATFORM)/libtokenizers.a
ASSETS      := results/report/assets

# For the command line: make sweep OUT=folder ARGS="--no-speed"
OUT  := sweep-out
ARGS :=

export CGO_ENABLED := 1

.PHONY: help build sweep test race test-arm64 msl-check emu mutate interop interop-torch lint clean setup tools

help:
	@echo "make build   set up once (tokenizer library, chart library) and build bin/assay"
	@echo "make sweep   build, then: bin/assay sweep --out $(OUT) \$$(ARGS)"
	@echo "make test    build, then: go test \$$(ARGS) ./..."
	@echo "make race    the tests of parallel code under the race detector"
	@echo "make test-arm64  the CPU engine's tests as arm64 code, emulated on other machines"
	@echo "make emu     the Metal engine on an emulated device: all variants, all activations"
	@echo "make msl-check  the Metal kernels held to the dialect and to Metal's address spaces, by clang"
	@echo "make mutate  takes each check out of the Metal kernels and wants the tests to notice (an hour)"
	@echo "make interop  build, then hold bundles against MLX and mlx-lm (pip, 1 GB, once)"
	@echo "make interop-torch  build, then hold bundles' scores against transformers' (3 GB, once)"
	@echo "make bench-peers  build, then time it beside transformers, llama.cpp, MLX, OpenBLAS (6 GB, once)"
	@echo "make lint    gofmt, go vet here and for a Mac, staticcheck"
	@echo "make clean   remove all that make built and fetched; $(OUT) stays"
	@echo "OUT=folder names another folder for the sweep, ARGS=\"...\" adds arguments."

# The commit goes into the program, and from there into every record.
build: setup
	@echo "build: bin/assay"
	@vcs=false; if git rev-parse -q --verify HEAD >/dev/null 2>&1; then vcs=auto; fi; \
	go build -buildvcs=$$vcs -o bin/assay ./cmd/assay

sweep: build
	bin/assay sweep --out $(OUT) $(ARGS)

test: build
	go test $(ARGS) ./...

# The packages with parallel code, without long tests that run none of it.
PARALLEL := ./engine/affine ./engine/bundle ./engine/checkpoint ./engine/cpu/... ./engine/reference \
	./engine/shard ./engine/synth ./engine/token ./engine/variant ./eval/... ./results
SERIAL   := ^Test(Naive|Oracle|MatMul|Weights|Exp|Moments|FlashLayout|OthersBundles|RefusedBundles)$$

race: setup
	go test -race -short -skip '$(SERIAL)' $(ARGS) $(PARALLEL)

test-arm64: tools
	@setup/arm64.sh $(ARGS)

msl-check:
	@clang=$$(setup/clang.sh) && CLANG=$$clang ASSAY_NEEDS_CLANG=1 go test $(ARGS) ./metal/msl

# All variants and activations, and the perturbed build: half an hour.
emu: setup
	ASSAY_EMU=all go test -timeout 120m -v -run 'ReferenceModel|Perturbed|ForcedChoices' $(ARGS) ./metal

mutate: setup
	go run ./metal/mutate -record metal/mutate/record.txt $(ARGS)

interop: build
	@interop/run.sh

interop-torch: build
	@interop/torch.sh

bench-peers: build
	@peers/run.sh $(ARGS)

lint: setup
	@echo "lint: gofmt"
	@files=$$(gofmt -l .) && if [ -n "$$files" ]; then echo "not as gofmt writes them:"; echo "$$files"; exit 1; fi
	go vet ./...
	CGO_ENABLED=0 GOOS=darwin GOARCH=arm64 go vet ./...
	go run $(STATICCHECK) ./...

clean:
	rm -rf bin .deps $(ASSETS)/echarts.*

# go:embed takes files below its package only, hence the copies.
setup: $(LIBRARY) $(ECHARTS)
	@mkdir -p $(ASSETS)
	@for f in $(ECHARTS)/*; do cmp -s $$f $(ASSETS)/$${f##*/} || cp $$f $(ASSETS)/ || exit 1; done

$(LIBRARY): | tools
	@setup/tokenizers.sh $@

$(ECHARTS): | tools
	@setup/echarts.sh $@

tools:
	@go version >/dev/null 2>&1 || { echo >&2 \
	"setup: assay is written in Go, which is not here. Get it: https://go.dev/dl"; exit 1; }
	@setup/packages.sh
	@for cc in "$$(go env CC)" "$$(go env CXX)"; do $$cc --version >/dev/null 2>&1 || { echo >&2 \
	"setup: assay needs a C and a C++ compiler, and $$cc does not run. Get them with:" \
	"apt-get install gcc g++ libc6-dev (Debian), xcode-select --install (Mac)"; exit 1; }; done
