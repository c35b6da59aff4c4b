package cuda

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"unsafe"
)

// find finds a compiler.
func find(o Options) (compiler, error) {
	var tried []string
	if o.Compiler == "" || o.Compiler == "nvrtc" {
		c, err := findNVRTC(o.Dirs)
		if err == nil {
			return c, nil
		}
		tried = append(tried, err.Error())
	}
	if o.Compiler == "" || o.Compiler == "nvcc" {
		c, err := findNVCC(o.Dirs)
		if err == nil {
			return c, nil
		}
		tried = append(tried, err.Error())
	}
	if len(tried) == 0 {
		return nil, fmt.Errorf("cuda: compiler %q, want nvrtc or nvcc", o.Compiler)
	}
	return nil, fmt.Errorf("cuda: no compiler for CUDA: %s", strings.Join(tried, "; "))
}

// nvrtc is CUDA's compiler as a library.
type nvrtc struct {
	version string
	at      map[string]uintptr
}

var nvrtcFunctions = []string{
	"nvrtcVersion", "nvrtcCreateProgram", "nvrtcDestroyProgram", "nvrtcCompileProgram", "nvrtcGetErrorString",
	"nvrtcGetProgramLogSize", "nvrtcGetProgramLog", "nvrtcGetCUBINSize", "nvrtcGetCUBIN",
}

// places are where CUDA and Python's packages put libnvrtc, as patterns. The
// first is the system's own search.
func places(dirs []string) []string {
	const lib = "libnvrtc.so*"
	out := []string{}
	for _, d := range dirs {
		out = append(out, filepath.Join(d, lib))
	}
	for _, root := range []string{"/usr/local/cuda", "/usr/local/cuda-*", "/opt/cuda"} {
		out = append(out, filepath.Join(root, "lib64", lib), filepath.Join(root, "targets/*/lib", lib))
	}
	out = append(out, "/usr/lib/*-linux-gnu/"+lib, "/usr/lib64/"+lib)
	roots := []string{"/usr/lib", "/usr/local/lib"}
	if python, err := exec.LookPath("python3"); err == nil {
		roots = append(roots, filepath.Join(filepath.Dir(filepath.Dir(python)), "lib"))
	}
	for _, r := range roots {
		for _, p := range []string{"site-packages", "dist-packages"} {
			out = append(out, filepath.Join(r, "python3*", p, "nvidia/*/lib", lib))
		}
	}
	return out
}

func findNVRTC(dirs []string) (*nvrtc, error) {
	files := []string{}
	patterns := places(dirs)
	for i, p := range patterns {
		if i == len(dirs) { // what the caller named comes before the system's search
			files = append(files, "libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so")
		}
		found, _ := filepath.Glob(p)
		found = slices.DeleteFunc(found, func(f string) bool { return strings.Contains(filepath.Base(f), ".alt.") })
		slices.Sort(found)
		slices.Reverse(found) // the longest names are the libraries, the rest links to them
		files = append(files, found...)
	}
	var first error
	for _, f := range files {
		c, err := openNVRTC(f)
		if err == nil {
			return c, nil
		}
		if first == nil || strings.Contains(f, "/") { // the error of a file that is there says more
			first = err
		}
	}
	return nil, fmt.Errorf("libnvrtc: %w (nor in %s)", first, strings.Join(patterns, ", "))
}

func openNVRTC(file string) (*nvrtc, error) {
	h, err := dlopen(file)
	if err != nil {
		return nil, err
	}
	c := &nvrtc{at: map[string]uintptr{}}
	for _, f := range nvrtcFunctions {
		if c.at[f], err = dlsym(h, f); err != nil {
			return nil, err
		}
	}
	v := new([2]int32)
	if r := int32(invoke(c.at["nvrtcVersion"], address(&v[0]), address(&v[1]))); r != 0 {
		return nil, fmt.Errorf("%s: version: error %d", file, r)
	}
	c.version = fmt.Sprintf("%d.%d", v[0], v[1])
	return c, nil
}

func (c *nvrtc) name() string { return "nvrtc " + c.version }

// compile cannot be interrupted: the library has no way to.
func (c *nvrtc) compile(_ context.Context, text string, options []string) ([]byte, error) {
	source, name := append([]byte(text), 0), []byte("program.cu\x00")
	program := new(uintptr)
	if err := c.check("create", invoke(c.at["nvrtcCreateProgram"], address(program), address(&source[0]), address(&name[0]), 0, 0, 0)); err != nil {
		return nil, err
	}
	defer invoke(c.at["nvrtcDestroyProgram"], address(program))
	// Functions without a mark are the device's, as constexpr ones of the dialect are.
	options = append(slices.Clone(options), "-default-device")
	kept, list := make([][]byte, len(options)), make([]uintptr, len(options))
	for i, o := range options {
		kept[i] = append([]byte(o), 0)
		list[i] = address(&kept[i][0])
	}
	r := invoke(c.at["nvrtcCompileProgram"], *program, uintptr(len(list)), address(&list[0]))
	runtime.KeepAlive(kept)
	runtime.KeepAlive(source)
	if int32(r) != 0 {
		said, _ := c.fetch(*program, "nvrtcGetProgramLogSize", "nvrtcGetProgramLog")
		return nil, fmt.Errorf("%w\n%s", c.check("compile", r), bytes.TrimRight(said, "\x00\n"))
	}
	code, err := c.fetch(*program, "nvrtcGetCUBINSize", "nvrtcGetCUBIN")
	if err == nil && len(code) == 0 {
		err = fmt.Errorf("cuda: %s: no machine code for %s", c.name(), options[0])
	}
	return code, err
}

// fetch gets what a program has, by the functions for its size and itself.
func (c *nvrtc) fetch(program uintptr, size, get string) ([]byte, error) {
	n := new(uint64)
	if err := c.check("fetch", invoke(c.at[size], program, address(n))); err != nil || *n == 0 {
		return nil, err
	}
	b := make([]byte, *n)
	return b, c.check("fetch", invoke(c.at[get], program, address(unsafe.SliceData(b))))
}

func (c *nvrtc) check(what string, r uintptr) error {
	if int32(r) == 0 {
		return nil
	}
	return fmt.Errorf("cuda: %s: %s: %s", c.name(), what, cString(invoke(c.at["nvrtcGetErrorString"], r)))
}
