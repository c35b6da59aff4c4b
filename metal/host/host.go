// Package host is what the Metal backend asks of a GPU: buffers, compiled
// kernels, and dispatches run in order. Three drivers implement Device: Apple's
// Metal (metal/host/apple), a CPU that runs the same kernels through a shim
// (metal/host/emu), and CUDA (metal/host/cuda). It knows no model.
package host

import "context"

// Limits are what Metal bounds on a device.
type Limits struct {
	MaxBuffer   int64 // bytes of one buffer (maxBufferLength)
	Threadgroup int   // bytes of threadgroup memory
	MaxThreads  int   // threads of a threadgroup
	WorkingSet  int64 // bytes that should be resident at once; 0 where unknown
}

// Info describes a device.
type Info struct {
	Driver string // "metal", "emu" or "cuda"
	Name   string // the device's own, such as "Apple M3 Ultra"
	System string // version of what compiles and runs: macOS, CUDA driver, C++ compiler
	Memory int64  // bytes of memory that the device can use
	Limits Limits
	Shared bool // device memory is the host's: Buffer.Bytes is not nil
}

// PageSize is what the memory of a mapped buffer is aligned to, and a multiple
// of what it is long: Apple's page.
const PageSize = 16 << 10

// Device is one GPU or what stands for one. It serves one goroutine.
type Device interface {
	Info() Info
	// NewBuffer makes a buffer of n zero bytes. It refuses more than the limits.
	NewBuffer(n int64) (Buffer, error)
	// Map makes a read-only buffer of memory that stays where it is until the
	// buffer is freed: whole pages of PageSize. It errs with ErrNoMap where the
	// device cannot read the host's memory; the caller then copies.
	Map(data []byte) (Buffer, error)
	// Compile makes the kernels of a program known by name. It errs with all
	// that the compiler says.
	Compile(ctx context.Context, p Program) error
	// Submit runs dispatches after all that was submitted before: each that says
	// Barrier after all before it, others side by side. It may return before they
	// are done.
	Submit(ds []Dispatch) error
	// Wait waits until all that was submitted is done and returns the first
	// error of any of it.
	Wait() error
	Close() error
}

// Buffer is device memory.
type Buffer interface {
	Len() int64
	// Bytes is the buffer's memory where the host shares it, else nil. What the
	// device writes stands there after Wait.
	Bytes() []byte
	// Write and Read copy to and from the buffer. They wait for what was
	// submitted.
	Write(at int64, data []byte) error
	Read(at int64, dst []byte) error
	Free()
}

// Program is kernels to compile.
type Program struct {
	Source  string   // Metal Shading Language in the project's dialect, instantiations included
	Kernels []string // the host names that it instantiates
}

// Dispatch is one kernel's run over a grid of threadgroups.
type Dispatch struct {
	Kernel  string // a host name
	Label   string // what errors and profiles call it, such as "layers.3.attn.wq_a"
	Grid    [3]int // threadgroups
	Threads int    // of a threadgroup, a multiple of 32
	Args    []Arg  // by buffer index
	Bytes   int64  // about what it moves, for profiles and for splitting long work
	FLOPs   int64  // about what it computes
	Barrier bool   // waits for all before it; the Encoder decides
}

// Arg is one entry of a dispatch's argument table: a buffer from an offset on,
// or bytes that are copied.
type Arg struct {
	Buffer Buffer
	At     int64 // where the kernel's pointer points
	Uses   []Use // what the dispatch may touch of the buffer
	Bytes  []byte
}

// Use is a range of a buffer that a dispatch reads or writes.
type Use struct {
	At, Len int64
	Access  Access
}

// Access is how a range is used.
type Access uint8

// Accesses.
const (
	Read      Access = 1
	Write     Access = 2
	ReadWrite Access = 3
)
