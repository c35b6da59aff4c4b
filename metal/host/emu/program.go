package emu

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"assay/metal/host"
	"assay/metal/msl"
)

// most is how many instances of a kernel are compiled in one piece: the compiler
// reads the shim once for them, and pieces are compiled side by side.
const most = 6

// unit is instances of one kernel that are compiled together.
type unit struct {
	names   []string
	digests []string // of each instance, by which the cache finds it
}

// Compile makes the kernels of a program known. It refuses a program that breaks
// the rules of the dialect.
func (d *Device) Compile(ctx context.Context, p host.Program) error {
	src, err := msl.Parse(p.Source)
	if err != nil {
		return err
	}
	if err := d.lint(src, p.Source); err != nil {
		return err
	}
	units, links, err := d.plan(src, p.Kernels)
	if err != nil {
		return err
	}
	if err := d.buildAll(ctx, src, units); err != nil {
		return err
	}
	for name, link := range links {
		if err := d.load(src, name, link); err != nil {
			return err
		}
	}
	return nil
}

// lint holds a program to the rules, once for all programs that differ in their
// instances only.
func (d *Device) lint(src *msl.Source, text string) error {
	kernels, _, _ := strings.Cut(text, msl.InstancesLine)
	digest := sha256.Sum256([]byte(kernels))
	d.mu.Lock()
	known := d.linted == digest
	d.mu.Unlock()
	if known {
		return nil
	}
	if err := msl.Failure(src.Lint()); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.linted = digest
	return nil
}

// plan groups the kernels that the folder lacks, and says for each of all by
// which name it will find its library.
func (d *Device) plan(src *msl.Source, names []string) (units []*unit, links map[string]string, err error) {
	links = map[string]string{}
	open := map[string]*unit{}
	for _, name := range names {
		d.mu.Lock()
		_, have := d.kernels[name]
		d.mu.Unlock()
		if have || links[name] != "" {
			continue
		}
		text, err := src.Extract(name)
		if err != nil {
			return nil, nil, err
		}
		digest := d.builder.digest(d.builder.flags, text, d.builder.runtime)
		links[name] = "k-" + digest
		if d.builder.has(links[name]) {
			continue
		}
		in, _ := src.Instance(name)
		u := open[in.Kernel]
		if u == nil || len(u.names) == most {
			u = &unit{}
			open[in.Kernel] = u
			units = append(units, u)
		}
		u.names = append(u.names, name)
		u.digests = append(u.digests, digest)
	}
	return units, links, nil
}

// buildAll compiles units side by side.
func (d *Device) buildAll(ctx context.Context, src *msl.Source, units []*unit) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make([]error, len(units))
	slots := make(chan struct{}, runtime.NumCPU())
	var wg sync.WaitGroup
	for i, u := range units {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			if errs[i] = d.buildUnit(ctx, src, u); errs[i] != nil {
				cancel()
			}
		})
	}
	wg.Wait()
	slices.SortStableFunc(errs, func(a, b error) int { // a refusal before what it cancelled
		return boolInt(errors.Is(a, context.Canceled)) - boolInt(errors.Is(b, context.Canceled))
	})
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// buildUnit compiles one unit's library and links each instance's name to it.
func (d *Device) buildUnit(ctx context.Context, src *msl.Source, u *unit) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	text, err := src.Extract(u.names...)
	if err != nil {
		return err
	}
	cpp, err := msl.CPU(text)
	if err != nil {
		return err
	}
	b := d.builder
	library := "u-" + b.digest(b.flags, strings.Join(u.digests, " ")) + ".so"
	source := msl.File{Name: "kernels.cpp", Text: "#include \"cpu.h\"\n" + cpp}
	if err := b.build(ctx, library, b.flags, []msl.File{source}, b.runtime); err != nil {
		return err
	}
	for _, digest := range u.digests {
		tmp := b.path(fmt.Sprintf("link-%016x", rand.Uint64()))
		if err := os.Symlink(library, tmp); err != nil {
			return fmt.Errorf("emu: %w", err)
		}
		if err := os.Rename(tmp, b.path("k-"+digest)); err != nil {
			return fmt.Errorf("emu: %w", err)
		}
	}
	return nil
}

// load opens a kernel's library and keeps what it says of the kernel.
func (d *Device) load(src *msl.Source, name, link string) error {
	library, err := os.Readlink(d.builder.path(link))
	if err != nil {
		return fmt.Errorf("emu: %w", err)
	}
	if err := d.builder.touch(library, time.Now()); err != nil {
		return fmt.Errorf("emu: %w", err)
	}
	k, err := d.rt.kernel(d.builder.path(library), name)
	if err != nil {
		return err
	}
	in, _ := src.Instance(name)
	k.file, _ = src.KernelFile(src.Kernel(in.Kernel))
	d.mu.Lock()
	defer d.mu.Unlock()
	d.kernels[name] = k
	return nil
}
