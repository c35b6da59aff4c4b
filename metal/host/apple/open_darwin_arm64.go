package apple

import (
	"fmt"
	"unsafe"

	"github.com/ebitengine/purego"
	"github.com/ebitengine/purego/objc"
)

// Open opens the GPU that the system prefers.
func Open(o Options) (*Device, error) {
	s, err := load()
	if err != nil {
		return nil, err
	}
	return open(s, o)
}

// system is the Mac's own runtime. Selectors, classes and functions are looked
// up once, so that a message is one call.
type system struct {
	selectors []objc.SEL
	classes   []id
	functions []uintptr
	constants []id
}

// Libraries are in the system's cache of libraries, under these names.
var libraries = []string{
	"/usr/lib/libobjc.A.dylib",
	"/System/Library/Frameworks/Foundation.framework/Foundation",
	"/System/Library/Frameworks/Metal.framework/Metal",
}

func load() (*system, error) {
	for _, name := range libraries {
		if _, err := purego.Dlopen(name, purego.RTLD_NOW|purego.RTLD_GLOBAL); err != nil {
			return nil, fmt.Errorf("apple: %w", err)
		}
	}
	s := new(system)
	for _, m := range methods {
		s.selectors = append(s.selectors, objc.RegisterName(m.selector))
	}
	for _, c := range classes {
		class := id(objc.GetClass(c.name))
		if class == 0 && c.since <= oldest {
			return nil, fmt.Errorf("apple: the system has no class %s", c.name)
		}
		s.classes = append(s.classes, class)
	}
	for _, f := range functions {
		p, err := purego.Dlsym(purego.RTLD_DEFAULT, f.name)
		if err != nil {
			return nil, fmt.Errorf("apple: %w", err)
		}
		s.functions = append(s.functions, p)
	}
	for _, c := range constants {
		p, err := purego.Dlsym(purego.RTLD_DEFAULT, c.name)
		if err != nil {
			return nil, fmt.Errorf("apple: %w", err)
		}
		s.constants = append(s.constants, *(*id)(pointer(p)))
	}
	return s, nil
}

func (s *system) class(c *symbol) id         { return s.classes[c.index] }
func (s *system) constant(c *symbol) id      { return s.constants[c.index] }
func (s *system) selector(m *method) uintptr { return uintptr(s.selectors[m.index]) }

func (s *system) send(to id, m *method, a args) uintptr {
	r, _, _ := purego.SyscallN(s.functions[messageSend.index], uintptr(to), s.selector(m), a[0], a[1], a[2], a[3])
	return r
}

func (s *system) createDevice() id {
	r, _, _ := purego.SyscallN(s.functions[createDevice.index])
	return id(r)
}

func (s *system) push() uintptr {
	r, _, _ := purego.SyscallN(s.functions[poolPush.index])
	return r
}

func (s *system) pop(pool uintptr) {
	purego.SyscallN(s.functions[poolPop.index], pool)
}

// An argument is a register, and so is what a method returns.
var _ [8 - unsafe.Sizeof(id(0))]struct{}
