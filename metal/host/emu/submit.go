package emu

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"unsafe"

	"assay/metal/host"
	"assay/metal/msl"
)

// Submit runs dispatches. It returns when they are done, with the first error.
func (d *Device) Submit(ds []host.Dispatch) error {
	for len(ds) > 0 {
		n := 1
		for n < len(ds) && !ds[n].Barrier {
			n++
		}
		if err := d.runJob(ds[:n]); err != nil {
			return err
		}
		ds = ds[n:]
	}
	return nil
}

// runJob runs dispatches that have no barrier between them.
func (d *Device) runJob(ds []host.Dispatch) error {
	order := make([]int, len(ds))
	for i := range order {
		order[i] = i
	}
	seed := d.opt.Seed
	if d.opt.Checked {
		r := rand.New(rand.NewPCG(uint64(seed), uint64(len(ds))))
		r.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	}
	perturb := uintptr(0)
	if d.opt.Perturb {
		perturb = 1
	}
	if !d.opt.Checked && !d.opt.Perturb {
		seed = 0
	}
	job := call(d.rt.job, uintptr(seed), perturb)
	if job == 0 {
		return errors.New("emu: no memory for a job")
	}
	defer call(d.rt.jobFree, job)
	groups := 0
	for _, i := range order {
		if err := d.add(job, &ds[i]); err != nil {
			return err
		}
		groups += ds[i].Grid[0] * ds[i].Grid[1] * ds[i].Grid[2]
	}
	if call(d.rt.start, job) == 0 {
		return errors.New("emu: the checker can number no more threadgroups in this process")
	}
	var wg sync.WaitGroup
	for range min(d.opt.Workers, groups) - 1 {
		wg.Go(func() { call(d.rt.run, job) })
	}
	ran := call(d.rt.run, job)
	wg.Wait()
	text := make([]byte, 4096) // as long as msl_error's
	if n := call(d.rt.jobError, job, uintptr(unsafe.Pointer(&text[0]))); n > 0 {
		return d.failure(string(text[:n]))
	}
	if ran == 0 {
		return errors.New("emu: no memory for a threadgroup")
	}
	return nil
}

// add checks a dispatch and gives it to a job.
func (d *Device) add(job uintptr, s *host.Dispatch) error {
	d.mu.Lock()
	k := d.kernels[s.Kernel]
	d.mu.Unlock()
	if k == nil {
		return fmt.Errorf("emu: %s (%s): no such kernel was compiled", s.Kernel, s.Label)
	}
	if err := d.check(k, s); err != nil {
		return fmt.Errorf("emu: %s (%s): %w", s.Kernel, s.Label, err)
	}
	args := make([]hostArg, len(s.Args), len(s.Args)+1)
	uses := make([]hostUse, 0, 2*len(s.Args)+1)
	for i, a := range s.Args {
		if a.Buffer == nil {
			args[i] = hostArg{p: unsafe.Pointer(&a.Bytes[0]), n: uint64(len(a.Bytes))}
			continue
		}
		b := a.Buffer.(*Buffer)
		args[i] = hostArg{p: unsafe.Pointer(&b.data[a.At]), n: uint64(b.Len() - a.At), memory: b.handle}
		for _, u := range a.Uses {
			for _, ig := range d.opt.Ignore {
				if ig.Kernel == k.function && ig.Argument == k.args[i].name {
					u.Access &^= ig.Access
				}
			}
			if u.Access != 0 {
				uses = append(uses, hostUse{uint64(i), uint64(u.At), uint64(u.At + u.Len), uint64(u.Access)})
			}
		}
	}
	nargs, nuses := len(args), len(uses)
	args, uses = append(args, hostArg{}), append(uses, hostUse{}) // so that each has a first
	label := append([]byte(s.Label), 0)
	shape := [4]uint32{uint32(s.Grid[0]), uint32(s.Grid[1]), uint32(s.Grid[2]), uint32(s.Threads)}
	if call(d.rt.add, job, k.info, uintptr(unsafe.Pointer(&label[0])), uintptr(unsafe.Pointer(&shape[0])),
		uintptr(unsafe.Pointer(&args[0])), uintptr(nargs), uintptr(unsafe.Pointer(&uses[0])), uintptr(nuses)) == 0 {
		return errors.New("emu: no memory for a dispatch")
	}
	return nil
}

// check errs on a dispatch that does not suit its kernel.
func (d *Device) check(k *kernel, s *host.Dispatch) error {
	if most := min(k.threads, d.info.Limits.MaxThreads); s.Threads > most || s.Threads < 32 || s.Threads%32 != 0 {
		return fmt.Errorf("%d threads in a threadgroup, want a multiple of 32, at most %d", s.Threads, most)
	}
	if len(s.Args) != len(k.args) {
		return fmt.Errorf("%d arguments, want %d", len(s.Args), len(k.args))
	}
	for i := range s.Args {
		if err := d.checkArg(&s.Args[i], k.args[i]); err != nil {
			return fmt.Errorf("argument %d (%s): %w", i, k.args[i].name, err)
		}
	}
	return checkAliases(k, s)
}

func (d *Device) checkArg(a *host.Arg, want argument) error {
	if want.kind == msl.Constant {
		if a.Buffer != nil {
			return errors.New("a buffer is bound to the argument struct, which is bytes")
		}
		if int64(len(a.Bytes)) != want.size || want.size > host.MaxBytes {
			return fmt.Errorf("%d bytes, the argument struct has %d", len(a.Bytes), want.size)
		}
		return nil
	}
	b, ok := a.Buffer.(*Buffer)
	if !ok {
		return fmt.Errorf("bound to %T, want a buffer of this device", a.Buffer)
	}
	if b.dev != d || b.data == nil {
		return errors.New("the buffer is another device's, or was freed")
	}
	if a.At < 0 || a.At+want.size > b.Len() {
		return fmt.Errorf("begins at byte %d of a buffer of %d", a.At, b.Len())
	}
	if align := max(4, min(want.size, 16)); a.At%align != 0 {
		return fmt.Errorf("begins at byte %d, which is no multiple of %d", a.At, align)
	}
	for _, u := range a.Uses {
		if u.At < 0 || u.Len <= 0 || u.At+u.Len > b.Len() {
			return fmt.Errorf("uses bytes %d to %d of a buffer of %d", u.At, u.At+u.Len, b.Len())
		}
		if u.Access&host.Write != 0 && (want.kind == msl.Read || b.mapped) {
			return errors.New("declares to write what is read-only")
		}
	}
	return nil
}

// checkAliases errs where an argument that is const reads what another writes:
// compilers may take it that nobody does.
func checkAliases(k *kernel, s *host.Dispatch) error {
	for i, a := range s.Args {
		if k.args[i].kind != msl.Read {
			continue
		}
		for j, b := range s.Args {
			if a.Buffer != b.Buffer || j == i {
				continue
			}
			for _, u := range a.Uses {
				for _, v := range b.Uses {
					if v.Access&host.Write != 0 && u.At < v.At+v.Len && v.At < u.At+u.Len {
						return fmt.Errorf("%s, which is const, reads bytes [%d, %d), of which %s writes [%d, %d)",
							k.args[i].name, u.At, u.At+u.Len, k.args[j].name, v.At, v.At+v.Len)
					}
				}
			}
		}
	}
	return nil
}

// failure makes an error of the runtime's text, its places turned into lines.
func (d *Device) failure(text string) error {
	name, _, _ := strings.Cut(text, " ")
	d.mu.Lock()
	k := d.kernels[name]
	d.mu.Unlock()
	if k != nil && strings.Contains(text, " line") && !strings.Contains(text, "\x02") {
		text += " (lines of " + k.file + ")"
	}
	return errors.New("emu: " + withLines(text))
}
