package emu

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"assay/metal/msl"
)

//go:embed shim/*.h shim/*.cpp
var shim embed.FS

// builder compiles C++ into libraries, which it keeps in a folder by digest of
// all that they are made of. Several processes may use one folder: a library
// appears under its name when it is whole.
type builder struct {
	cxx     string
	version string
	folder  string
	flags   []string // of kernels
	key     string   // digest of the compiler, the processor and the shim's headers
	checked bool
	runtime string // file name of the runtime's library, once built
}

// baseFlags hold for kernels of every build. Kernels round as written: fma where
// they say so, and nowhere else.
var baseFlags = []string{"-std=c++17", "-fPIC", "-march=native", "-fno-strict-aliasing", "-fno-exceptions", "-fno-rtti",
	"-fno-math-errno", "-fno-trapping-math", "-w"}

// sanitizers make the compiler call the runtime's hooks.
const sanitizers = "-fsanitize=thread,alignment,bounds,object-size,shift,signed-integer-overflow,integer-divide-by-zero,float-cast-overflow"

func newBuilder(opt Options) (*builder, error) {
	cxx, version, err := findCompiler()
	if err != nil {
		return nil, err
	}
	b := &builder{cxx: cxx, version: version, checked: opt.Checked, folder: opt.Cache}
	if b.folder == "" {
		b.folder = DefaultCache()
	}
	if b.folder, err = filepath.Abs(b.folder); err != nil {
		return nil, fmt.Errorf("emu: %w", err)
	}
	if err := os.MkdirAll(b.folder, 0o755); err != nil {
		return nil, fmt.Errorf("emu: the folder of compiled kernels: %w", err)
	}
	if err := b.trim(time.Now()); err != nil {
		return nil, fmt.Errorf("emu: %w", err)
	}
	b.flags = append(b.flags, baseFlags...)
	contract := "-ffp-contract=off"
	if opt.Perturb {
		b.flags = append(b.flags, "-DMSL_PERTURB")
		if opt.Seed&1 != 0 {
			contract = "-ffp-contract=fast"
		}
	}
	b.flags = append(b.flags, contract)
	if opt.Checked {
		b.flags = append(b.flags, "-O1", "-g1", "-DMSL_CHECKED", sanitizers)
	} else {
		b.flags = append(b.flags, "-O3")
	}
	h := sha256.New()
	fmt.Fprintln(h, version, cpuName(), cpuField("flags", ""), runtime.GOARCH, msl.Types)
	for _, f := range shimFiles(".h") {
		fmt.Fprintln(h, f.Name, f.Text)
	}
	b.key = hex.EncodeToString(h.Sum(nil))
	return b, nil
}

// DefaultCache is the folder where compiled kernels are kept, where Options name
// no other.
func DefaultCache() string {
	folder, err := os.UserCacheDir()
	if err != nil {
		folder = filepath.Join(os.TempDir(), fmt.Sprint("assay-", os.Getuid()))
	}
	return filepath.Join(folder, "assay", "emu")
}

// findCompiler returns the C++ compiler: $CXX, else g++, else clang++, whichever
// runs first.
func findCompiler() (cxx, version string, err error) {
	tried := []string{"g++", "clang++"}
	if c := os.Getenv("CXX"); c != "" {
		tried = []string{c}
	}
	for _, c := range tried {
		path, err := exec.LookPath(c)
		if err != nil {
			continue
		}
		out, err := exec.Command(path, "--version").Output()
		if err == nil {
			first, _, _ := strings.Cut(string(out), "\n")
			return path, first, nil
		}
	}
	return "", "", fmt.Errorf("emu: needs a C++ compiler to compile the kernels, and finds none that runs (tried: %s; "+
		"CXX names another). Get one with: apt-get install g++ (Debian)", strings.Join(tried, ", "))
}

// shimFiles returns the shim's sources whose name ends so.
func shimFiles(suffix string) []msl.File {
	var out []msl.File
	entries, err := fs.ReadDir(shim, "shim")
	if err != nil {
		panic(err) // embedded
	}
	for _, e := range entries {
		text, err := fs.ReadFile(shim, "shim/"+e.Name())
		if err != nil {
			panic(err)
		}
		if strings.HasSuffix(e.Name(), suffix) {
			out = append(out, msl.File{Name: e.Name(), Text: string(text)})
		}
	}
	return out
}

// digest names what is built of parts with this builder.
func (b *builder) digest(flags []string, parts ...string) string {
	h := sha256.New()
	fmt.Fprintf(h, "%s\n%q\n", b.key, flags)
	for _, p := range parts {
		fmt.Fprintf(h, "%d\n%s", len(p), p)
	}
	return hex.EncodeToString(h.Sum(nil))[:40]
}

// path is where a library of the folder stands.
func (b *builder) path(name string) string { return filepath.Join(b.folder, name) }

func (b *builder) has(name string) bool {
	_, err := os.Stat(b.path(name))
	return err == nil
}

// build compiles sources into the library of a name, linked against others of
// the folder, unless it is there.
func (b *builder) build(ctx context.Context, name string, flags []string, sources []msl.File, against ...string) error {
	if b.has(name) {
		return nil
	}
	work, err := os.MkdirTemp(b.folder, "build-")
	if err != nil {
		return fmt.Errorf("emu: %w", err)
	}
	defer os.RemoveAll(work)
	for _, f := range append(append(shimFiles(".h"), msl.File{Name: "types.h", Text: msl.Types}), sources...) {
		if err := os.WriteFile(filepath.Join(work, f.Name), []byte(f.Text), 0o644); err != nil {
			return fmt.Errorf("emu: %w", err)
		}
	}
	link := []string{"-shared", "-o", "library", "-Wl,-soname," + name, "-Wl,-rpath,$ORIGIN"}
	for _, f := range sources {
		object := f.Name + ".o"
		args := append(append([]string{}, flags...), "-c", f.Name, "-o", object)
		if err := b.command(ctx, work, args...); err != nil {
			return err
		}
		link = append(link, object)
	}
	for _, l := range against {
		link = append(link, b.path(l))
	}
	if err := b.command(ctx, work, append(link, "-pthread", "-ldl")...); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(work, "library"), b.path(name)); err != nil {
		return fmt.Errorf("emu: %w", err)
	}
	return nil
}

// command runs the compiler in a folder. Its error is all that the compiler says.
func (b *builder) command(ctx context.Context, dir string, args ...string) error {
	cmd := exec.CommandContext(ctx, b.cxx, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return fmt.Errorf("emu: %s refuses the kernels:\n%s", filepath.Base(b.cxx), strings.TrimSpace(string(out)))
	}
	if err != nil {
		return fmt.Errorf("emu: %s: %w", b.cxx, err)
	}
	return nil
}
