package main

import (
	"context"
	"fmt"
	"strings"

	"assay/metal/host"
	"assay/metal/host/emu"
	"assay/metal/kernels"
	"assay/metal/msl"
)

// device is a checked CPU that compiles mutated kernels and notes what dispatches
// use.
type device struct {
	host.Device
	source    *msl.Source
	mutate    *msl.Mutant       // nil: the kernels as they are
	functions map[string]string // kernel function by instance
	uses      map[string]bool   // "function argument access", of the dispatches so far
}

// newDevice opens a device whose compiled kernels lie in a folder. A mutant is of
// the kernels' text, or a use that is ignored.
func newDevice(folder, key string, limits host.Limits) (*device, error) {
	src, err := msl.Parse(kernels.Source())
	if err != nil {
		return nil, err
	}
	d := &device{source: src, functions: map[string]string{}, uses: map[string]bool{}}
	opt := emu.Options{Checked: true, Seed: 1, Cache: folder, Limits: limits}
	if use, ok := strings.CutPrefix(key, "use "); ok {
		u, err := parseUse(use)
		if err != nil {
			return nil, err
		}
		opt.Ignore = []emu.Ignored{u}
	} else if key != "" {
		for _, m := range src.Mutants() {
			if m.Key() == key {
				d.mutate = &m
			}
		}
		if d.mutate == nil {
			return nil, fmt.Errorf("no check is named %q", key)
		}
	}
	if d.Device, err = emu.New(opt); err != nil {
		return nil, err
	}
	return d, nil
}

// Compile compiles a program, mutated.
func (d *device) Compile(ctx context.Context, p host.Program) error {
	src, err := msl.Parse(p.Source)
	if err != nil {
		return err
	}
	for _, name := range p.Kernels {
		if in, ok := src.Instance(name); ok {
			d.functions[name] = in.Kernel
		}
	}
	if d.mutate != nil {
		p.Source = d.mutate.Apply(p.Source)
	}
	return d.Device.Compile(ctx, p)
}

// Submit runs dispatches, and notes what they declare.
func (d *device) Submit(ds []host.Dispatch) error {
	for i := range ds {
		f := d.functions[ds[i].Kernel]
		params := d.source.Kernel(f).Buffers()
		for j, a := range ds[i].Args {
			d.uses[f] = true
			for _, u := range a.Uses {
				for _, access := range []host.Access{host.Read, host.Write} {
					if u.Access&access != 0 {
						d.uses[useKey(f, params[j].Name, access)] = true
					}
				}
			}
		}
	}
	return d.Device.Submit(ds)
}

// useKey names one use of one argument of a kernel's dispatches.
func useKey(function, argument string, access host.Access) string {
	return fmt.Sprintf("%s: %s %s", function, verbs[access], argument)
}

var verbs = map[host.Access]string{host.Read: "reads", host.Write: "writes"}

func parseUse(key string) (emu.Ignored, error) {
	f := strings.Fields(strings.Replace(key, ":", "", 1))
	for access, verb := range verbs {
		if len(f) == 3 && f[1] == verb {
			return emu.Ignored{Kernel: f[0], Argument: f[2], Access: access}, nil
		}
	}
	return emu.Ignored{}, fmt.Errorf("no use is named %q", key)
}
