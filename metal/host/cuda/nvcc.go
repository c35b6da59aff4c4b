package cuda

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// nvcc is CUDA's compiler as a program. It needs a C++ compiler beside it.
type nvcc struct{ path, version string }

func findNVCC(dirs []string) (*nvcc, error) {
	candidates := []string{}
	for _, d := range dirs {
		candidates = append(candidates, filepath.Join(d, "nvcc"))
	}
	candidates = append(candidates, "nvcc", "/usr/local/cuda/bin/nvcc", "/opt/cuda/bin/nvcc")
	for _, c := range candidates {
		path, err := exec.LookPath(c)
		if err != nil {
			continue
		}
		said, err := exec.Command(path, "--version").Output()
		if err != nil {
			return nil, fmt.Errorf("%s --version: %w", path, err)
		}
		return &nvcc{path, release(string(said))}, nil
	}
	return nil, fmt.Errorf("nvcc: not found on the path nor in %s", strings.Join(candidates[len(candidates)-2:], ", "))
}

// release is the version in what nvcc says of itself: "…, release 13.0, V13.0.48".
func release(said string) string {
	_, after, _ := strings.Cut(said, "release ")
	version, _, _ := strings.Cut(after, ",")
	return strings.TrimSpace(version)
}

func (c *nvcc) name() string { return "nvcc " + c.version }

func (c *nvcc) compile(ctx context.Context, text string, options []string) ([]byte, error) {
	dir, err := os.MkdirTemp("", "assay-cuda-")
	if err != nil {
		return nil, fmt.Errorf("cuda: %w", err)
	}
	defer os.RemoveAll(dir)
	in, out := filepath.Join(dir, "program.cu"), filepath.Join(dir, "program.cubin")
	if err := os.WriteFile(in, []byte(text), 0o666); err != nil {
		return nil, fmt.Errorf("cuda: %w", err)
	}
	said, err := exec.CommandContext(ctx, c.path, append([]string{"-cubin", "-O3", "-o", out, in}, options...)...).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("cuda: %s: %w\n%s", c.name(), err, strings.TrimSpace(string(said)))
	}
	code, err := os.ReadFile(out)
	if err != nil {
		return nil, fmt.Errorf("cuda: %s: %w", c.name(), err)
	}
	return code, nil
}
