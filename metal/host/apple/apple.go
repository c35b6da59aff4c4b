// Package apple drives an Apple GPU: host.Device on Metal, called through the
// Objective-C runtime by ebitengine/purego, with no Objective-C compiler and no
// cgo. It leaves to the Metal backend what is computed, and to a test what it
// asks of the API: table.go lists every class, message and function in use.
//
// Kernels are compiled at run time from source, as Metal Shading Language 3.1
// in safe math mode with precise functions. Work is encoded for concurrent
// execution over untracked buffers, so nothing is ordered but by the barriers
// that a dispatch asks for, and by one fence from each submission to the next.
package apple

import (
	"fmt"
	goruntime "runtime"
	"strings"
	"time"
	"unsafe"

	"assay/metal/host"
)

// Options are how a Device is driven. The zero value is what runs by default.
type Options struct {
	// Limit is how long one submission may take before the device counts as
	// lost. 0 means 30 s: the system itself ends long ones much earlier.
	Limit time.Duration
	// Signposts names every dispatch to the system, so that the error of a
	// submission says which it reached. It costs a message and a string each.
	Signposts bool
}

const defaultLimit = 30 * time.Second

// id is an Objective-C object, 0 for nil.
type id uintptr

// args are a message's arguments. A structure of more than 16 bytes travels as
// the address of a copy that the receiver may change (AAPCS64, parameter
// passing, stage B).
type args [4]uintptr

// objective is the Objective-C runtime and the libraries' own functions and
// constants: on a Mac the system's, in tests a stand-in that holds every
// message against the table. It may serve several goroutines, each locked to
// its thread between push and pop.
type objective interface {
	class(c *symbol) id
	constant(c *symbol) id
	selector(m *method) uintptr
	send(to id, m *method, a args) uintptr
	createDevice() id
	push() uintptr
	pop(pool uintptr)
}

// Device is an Apple GPU.
type Device struct {
	objc      objective
	options   Options
	device    id
	queue     id
	fence     id
	commands  id // descriptor of every command buffer
	set       id // residency set, 0 where the system has none
	info      host.Info
	kernels   map[string]kernel
	flight    []submission // committed and not yet waited for, oldest first
	failed    error        // first error since the last Wait
	lost      error        // once set, the answer to everything
	unsettled bool         // the set has changes that no commit applied
	resident  int64        // bytes in the set
	sizes     *[6]uint64   // two MTLSize, or one NSOperatingSystemVersion
}

var _ host.Device = (*Device)(nil)

// open makes a Device over a runtime.
func open(rt objective, o Options) (*Device, error) {
	if o.Limit == 0 {
		o.Limit = defaultLimit
	}
	d := &Device{objc: rt, options: o, kernels: map[string]kernel{}, sizes: new([6]uint64)}
	defer d.scope()()
	process := id(rt.send(rt.class(classProcessInfo), processInfo, args{}))
	d.info.Driver = "metal"
	d.info.System = "macOS " + strings.TrimPrefix(d.text(id(rt.send(process, systemVersion, args{}))), "Version ")
	if !d.atLeast(process, oldest) {
		return nil, fmt.Errorf("apple: %s: Metal Shading Language 3.1 needs macOS %d", d.info.System, oldest/100)
	}
	if d.device = rt.createDevice(); d.device == 0 {
		return nil, fmt.Errorf("apple: %s: the system names no Metal device", d.info.System)
	}
	if err := d.describe(process); err != nil {
		d.free(d.device)
		return nil, err
	}
	if err := d.equip(); err != nil {
		d.dispose()
		return nil, err
	}
	return d, nil
}

// describe fills the info and refuses a GPU that cannot run the kernels.
func (d *Device) describe(process id) error {
	get := func(m *method) int64 { return int64(d.objc.send(d.device, m, args{})) }
	d.info.Name = d.text(id(d.objc.send(d.device, deviceName, args{})))
	if !truth(d.objc.send(d.device, supportsFamily, args{familyApple7})) {
		return fmt.Errorf("apple: %s: not of GPU family Apple7 (an M1 or later), which simdgroup matrices need", d.info.Name)
	}
	d.info.Shared = truth(d.objc.send(d.device, hasUnifiedMemory, args{}))
	if !d.info.Shared {
		return fmt.Errorf("apple: %s: its memory is not the host's", d.info.Name)
	}
	d.info.Memory = int64(d.objc.send(process, physicalMemory, args{}))
	d.info.Limits = host.Limits{
		MaxBuffer:   get(maxBufferLength),
		Threadgroup: int(get(maxThreadgroupMemory)),
		MaxThreads:  maxThreadgroup,
		WorkingSet:  get(maxWorkingSet),
	}
	return nil
}

// maxThreadgroup is Metal's limit of threads on every Apple GPU since Apple4
// (Metal feature set tables). A kernel's own may be lower, and holds at Submit.
const maxThreadgroup = 1024

// equip makes the objects that live as long as the device.
func (d *Device) equip() error {
	rt := d.objc
	if d.queue = id(rt.send(d.device, newCommandQueue, args{})); d.queue == 0 {
		return fmt.Errorf("apple: %s: no command queue", d.info.Name)
	}
	if d.fence = id(rt.send(d.device, newFence, args{})); d.fence == 0 {
		return fmt.Errorf("apple: %s: no fence", d.info.Name)
	}
	// The driver keeps alive what a command buffer uses, so that Metal need not.
	d.commands = d.create(classCommands)
	rt.send(d.commands, setRetainedReferences, args{0})
	rt.send(d.commands, setErrorOptions, args{encoderStatus})
	if !d.responds(d.device, newResidencySet) {
		return nil
	}
	descriptor := d.create(classResidencySet)
	defer d.free(descriptor)
	failure := new(id)
	d.set = id(rt.send(d.device, newResidencySet, args{uintptr(descriptor), address(failure)}))
	if d.set == 0 {
		return fmt.Errorf("apple: %s: residency set: %s", d.info.Name, d.failure(*failure))
	}
	rt.send(d.queue, addResidencySet, args{uintptr(d.set)})
	return nil
}

// Info describes the device.
func (d *Device) Info() host.Info { return d.info }

// Close waits for what was submitted and lets go of the device. Buffers must
// have been freed. It returns the error that Wait would.
func (d *Device) Close() error {
	if d.device == 0 {
		return nil
	}
	err := d.Wait()
	if d.lost == nil { // what a lost device still uses must stay
		defer d.scope()()
		d.dispose()
	}
	d.device = 0
	return err
}

func (d *Device) dispose() {
	for _, k := range d.kernels {
		d.free(k.pipeline)
	}
	clear(d.kernels)
	if d.set != 0 {
		d.objc.send(d.set, endResidency, args{})
	}
	for _, o := range []id{d.set, d.commands, d.fence, d.queue, d.device} {
		d.free(o)
	}
}

// scope locks the goroutine to its thread and opens an autorelease pool, which
// is a thread's. The result ends both.
func (d *Device) scope() func() {
	goruntime.LockOSThread()
	pool := d.objc.push()
	return func() {
		d.objc.pop(pool)
		goruntime.UnlockOSThread()
	}
}

// create makes an object that the caller frees.
func (d *Device) create(class *symbol) id {
	return id(d.objc.send(id(d.objc.send(d.objc.class(class), alloc, args{})), initObject, args{}))
}

// str makes an NSString that the caller frees.
func (d *Device) str(s string) id {
	b := []byte(s)
	b = append(b, 0) // so that an empty string too has an address
	o := id(d.objc.send(d.objc.class(classString), alloc, args{}))
	o = id(d.objc.send(o, initWithBytes, args{address(&b[0]), uintptr(len(s)), utf8Encoding}))
	goruntime.KeepAlive(b)
	return o
}

// text copies an NSString.
func (d *Device) text(o id) string {
	if o == 0 {
		return ""
	}
	p := (*byte)(pointer(d.objc.send(o, utf8String, args{})))
	if p == nil {
		return ""
	}
	n := 0
	for *(*byte)(unsafe.Add(unsafe.Pointer(p), n)) != 0 {
		n++
	}
	return string(unsafe.Slice(p, n))
}

func (d *Device) free(o id) {
	if o != 0 {
		d.objc.send(o, release, args{})
	}
}

func (d *Device) responds(o id, m *method) bool {
	return truth(d.objc.send(o, respondsToSelector, args{d.objc.selector(m)}))
}

// atLeast says whether the system is of this release or later.
func (d *Device) atLeast(process id, v version) bool {
	*d.sizes = [6]uint64{uint64(v) / 100, uint64(v) % 100}
	return truth(d.objc.send(process, isAtLeast, args{address(&d.sizes[0])}))
}

// failure is all that an NSError says.
func (d *Device) failure(e id) string {
	if e == 0 {
		return "no reason given"
	}
	domain, code := d.text(id(d.objc.send(e, errorDomain, args{}))), int(d.objc.send(e, errorCode, args{}))
	name := ""
	if domain == "MTLCommandBufferErrorDomain" && commandErrors[code] != "" {
		name = ", " + commandErrors[code]
	}
	return fmt.Sprintf("%s (%s %d%s)", d.text(id(d.objc.send(e, localizedDescription, args{}))), domain, code, name)
}

// truth reads a BOOL, which is the low byte of its register.
func truth(r uintptr) bool { return byte(r) != 0 }

// address is a Go pointer as an argument. What it points to must be reachable
// until the call returns; here it is made to be on the heap, which does not move.
func address[T any](p *T) uintptr {
	if sink.on {
		sink.p = unsafe.Pointer(p)
	}
	return uintptr(unsafe.Pointer(p))
}

// sink is never on; the compiler does not know, so what might be stored in it
// is not kept on a stack.
var sink struct {
	on bool
	p  unsafe.Pointer
}

// pointer turns what a message returned into a pointer. The memory is not Go's.
func pointer(r uintptr) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&r)) }
