package cuda

import (
	_ "embed"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"assay/metal/msl"
)

//go:embed testdata/clang/cuda_runtime.h
var clangHeader string

// checkClang makes PTX of a program in clang's CUDA mode, with no CUDA toolkit.
func checkClang(t *testing.T, clang, source string) {
	t.Helper()
	dir := t.TempDir()
	in, out := filepath.Join(dir, "program.cu"), filepath.Join(dir, "program.ptx")
	for file, text := range map[string]string{in: source, filepath.Join(dir, "cuda_runtime.h"): clangHeader} {
		if err := os.WriteFile(file, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	said, err := exec.Command(clang, "-x", "cuda", "--cuda-gpu-arch=sm_80", "--cuda-device-only", "-nocudainc", "-nocudalib",
		"-std=c++17", "-O1", "-Wno-unknown-cuda-version", "-I", dir, "-S", "-o", out, in).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", clang, err, said)
	}
	ptx, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range probe.Kernels {
		if !strings.Contains(string(ptx), ".visible .entry "+msl.Export(k)+"(") {
			t.Errorf("%s: no kernel %s", clang, k)
		}
	}
}

// script is a stand-in for nvcc.
func script(t *testing.T, text string) string {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("no shell")
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "nvcc"), []byte("#!/bin/sh\n"+text), 0o777); err != nil {
		t.Fatal(err)
	}
	return dir
}

const versionText = `if [ "$1" = --version ]; then echo "Cuda compilation tools, release 13.7, V13.7.48"; exit; fi
`

func TestNVCC(t *testing.T) {
	dir := script(t, versionText+`while [ "$1" != -o ]; do shift; done; { echo "code of:"; cat "$3"; echo "$@"; } >"$2"`)
	c, err := find(Options{Compiler: "nvcc", Dirs: []string{dir}})
	if err != nil {
		t.Fatal(err)
	}
	if c.name() != "nvcc 13.7" {
		t.Errorf("compiler %q", c.name())
	}
	code, err := c.compile(t.Context(), "the text\n", []string{"-arch=sm_90"})
	if err != nil || !strings.HasPrefix(string(code), "code of:\nthe text\n") || !strings.HasSuffix(string(code), "-arch=sm_90\n") {
		t.Errorf("code %q, error %v", code, err)
	}
	dir = script(t, versionText+`echo "program.cu(1): error: a"; exit 2`)
	if c, err = find(Options{Compiler: "nvcc", Dirs: []string{dir}}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.compile(t.Context(), "", nil); err == nil || !strings.Contains(err.Error(), "nvcc 13.7: exit status 2\nprogram.cu(1): error: a") {
		t.Errorf("error %v", err)
	}
	dir = script(t, "exit 3")
	if _, err := find(Options{Compiler: "nvcc", Dirs: []string{dir}}); err == nil || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("error %v", err)
	}
}

// TestNoCompiler wants an error to say where was looked.
func TestNoCompiler(t *testing.T) {
	if _, err := find(Options{Compiler: "tcc"}); err == nil || err.Error() != `cuda: compiler "tcc", want nvrtc or nvcc` {
		t.Errorf("error %v", err)
	}
	bad := t.TempDir()
	if err := os.WriteFile(filepath.Join(bad, "libnvrtc.so.99"), []byte("no library"), 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := openNVRTC(filepath.Join(bad, "libnvrtc.so.99")); err == nil {
		t.Error("a file that is no library is opened")
	}
	t.Setenv("PATH", "")
	_, err := find(Options{})
	if err == nil {
		t.Skip("a compiler is here")
	}
	for _, want := range []string{"cuda: no compiler for CUDA: libnvrtc:", "/usr/local/cuda/lib64/libnvrtc.so*", "nvcc: not found"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q in it", err, want)
		}
	}
}

func TestPlaces(t *testing.T) {
	got := strings.Join(places([]string{"/mine"}), "\n")
	for i, want := range []string{"/mine/libnvrtc.so*", "/usr/local/cuda/lib64/libnvrtc.so*", "/usr/local/lib/python3*/dist-packages/nvidia/*/lib/libnvrtc.so*"} {
		if !strings.Contains(got, want) || i == 0 && !strings.HasPrefix(got, want) {
			t.Errorf("%s is not looked at in its turn", want)
		}
	}
}

// TestNoDriver wants a sentence where there is no GPU.
func TestNoDriver(t *testing.T) {
	if _, err := load(); err == nil {
		t.Skip("a driver is here")
	} else if want := "cuda: no NVIDIA driver here: "; runtime.GOOS == "linux" && !strings.HasPrefix(err.Error(), want) {
		t.Errorf("error %v, want %q", err, want)
	}
	if _, err := Open(Options{}); err == nil || !strings.HasPrefix(err.Error(), "cuda: ") {
		t.Errorf("error %v", err)
	}
}

// TestFunctions wants a name for each function of the driver.
func TestFunctions(t *testing.T) {
	if len(functions) != int(cuFuncLoad)+1 {
		t.Fatalf("%d names of %d functions", len(functions), cuFuncLoad+1)
	}
	for f, prefix := range map[function]string{cuInit: "cuInit", cuCtxSetCurrent: "cuCtxSetCurrent", cuStreamCreate: "cuStreamCreate",
		cuEventDestroy: "cuEventDestroy", cuLaunchKernel: "cuLaunchKernel", cuGraphLaunch: "cuGraphLaunch", cuFuncLoad: "cuFuncLoad", cuMemcpyDtoDAsync: "cuMemcpyDtoD", cuGetErrorString: "cuGetErrorString"} {
		if !strings.HasPrefix(functions[f], prefix) {
			t.Errorf("function %d is %s, want %s", f, functions[f], prefix)
		}
	}
}
