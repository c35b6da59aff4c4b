package apple

import (
	"bytes"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"unsafe"
)

// fake stands in for the Objective-C runtime and Metal. It refuses messages that
// a system of its version does not have, arguments of another type than the
// table's, objects of another class, objects that are gone, and messages outside
// an autorelease pool; it says at the end what was never released. It runs no
// Metal: kernels are Go functions.
type fake struct {
	t     testing.TB
	macOS version

	mu      sync.Mutex
	objects map[id]*object
	pools   map[string][][]id // of each goroutine, innermost last
	sent    map[*method]bool
	last    id

	family  uintptr // the newest that the GPU supports
	unified bool
	width   int
	refuse  map[*method]bool // creators that return nil
	kernels map[string]func(grid, threads [3]uint64, args map[int]any)
	source  string // of the last library
	options map[string]uintptr
	fault   string        // label of the encoder whose command buffer fails
	hang    chan struct{} // where set, command buffers do not complete until it closes
	barrier int
	fences  []string
	status  map[id]uintptr
	kept    [][]byte // what C strings point to
}

type object struct {
	class string
	refs  int
	value any
}

func newFake(t testing.TB, macOS version) *fake {
	return &fake{
		t: t, macOS: macOS, objects: map[id]*object{}, pools: map[string][][]id{}, sent: map[*method]bool{},
		last: 0x1000, family: 1009, unified: true, width: 32, refuse: map[*method]bool{},
		kernels: map[string]func(_, _ [3]uint64, _ map[int]any){}, options: map[string]uintptr{}, status: map[id]uintptr{},
	}
}

// conforms says which protocols and superclasses an object's class has.
var conforms = map[string][]string{
	"MTLComputeCommandEncoder": {"MTLCommandEncoder"},
}

func (f *fake) is(o *object, class string) bool {
	if class == "NSObject" || strings.TrimPrefix(o.class, "+") == class {
		return true
	}
	for _, c := range conforms[o.class] {
		if c == class {
			return true
		}
	}
	return false
}

func (f *fake) make(class string, value any) id {
	f.last += 16
	f.objects[f.last] = &object{class: class, refs: 1, value: value}
	return f.last
}

// pooled makes an object that the innermost pool releases.
func (f *fake) pooled(class string, value any) id {
	o := f.make(class, value)
	stack := f.pools[goroutine()]
	stack[len(stack)-1] = append(stack[len(stack)-1], o)
	return o
}

func (f *fake) drop(o id) {
	x := f.objects[o]
	if x == nil {
		f.t.Errorf("release of an object that is gone")
		return
	}
	if x.refs--; x.refs == 0 {
		delete(f.objects, o)
	}
}

// leaks are the classes of what was never released, a class itself left out.
func (f *fake) leaks() []string {
	var out []string
	for _, o := range f.objects {
		if !strings.HasPrefix(o.class, "+") {
			out = append(out, o.class)
		}
	}
	return out
}

func goroutine() string {
	var b [64]byte
	name, _, _ := bytes.Cut(b[:runtime.Stack(b[:], false)], []byte(" ["))
	return string(name)
}

// has wants the system to have what is looked up.
func (f *fake) has(s *symbol) {
	if f.macOS < s.since {
		f.t.Errorf("%s: not on macOS %d", s.name, f.macOS)
	}
}

func (f *fake) class(c *symbol) id {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.has(c)
	for i, o := range f.objects {
		if o.class == "+"+c.name {
			return i
		}
	}
	return f.make("+"+c.name, nil)
}

func (f *fake) constant(c *symbol) id {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.has(c)
	return f.pooled("NSString", c.name)
}

func (f *fake) selector(m *method) uintptr { return uintptr(m.index) + 1 }

func (f *fake) createDevice() id {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.has(createDevice)
	return f.make("MTLDevice", nil)
}

func (f *fake) push() uintptr {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.has(poolPush)
	g := goroutine()
	f.pools[g] = append(f.pools[g], nil)
	return uintptr(len(f.pools[g]))
}

func (f *fake) pop(pool uintptr) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.has(poolPop)
	g := goroutine()
	stack := f.pools[g]
	if int(pool) != len(stack) {
		f.t.Errorf("pool %d ends, the innermost of its thread is %d", pool, len(stack))
		return
	}
	for _, o := range stack[len(stack)-1] {
		f.drop(o)
	}
	f.pools[g] = stack[:len(stack)-1]
}

// send checks a message and answers it.
func (f *fake) send(to id, m *method, a args) uintptr {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.has(messageSend)
	f.sent[m] = true
	if len(f.pools[goroutine()]) == 0 {
		f.t.Errorf("%s: outside any autorelease pool", m.selector)
		f.pools[goroutine()] = make([][]id, 1)
	}
	if f.macOS < m.since {
		f.t.Errorf("%s: not on macOS %d", m.selector, f.macOS)
	}
	o := f.objects[to]
	if o == nil || !f.is(o, m.receiver) {
		f.t.Errorf("%s: sent to %+v, want a %s", m.selector, o, m.receiver)
		return 0
	}
	result, params := parse(m.types)
	if toClass := params[0] == "#"; toClass != strings.HasPrefix(o.class, "+") {
		f.t.Errorf("%s: sent to %s, declared %s", m.selector, o.class, m.types)
	}
	params = params[2:]
	for i, v := range a {
		if i >= len(params) {
			if v != 0 {
				f.t.Errorf("%s: argument %d is %#x, it takes %d", m.selector, i, v, len(params))
			}
			continue
		}
		f.checkArg(m, params[i], v)
	}
	answer := answers[m]
	if answer == nil {
		f.t.Errorf("%s: the stand-in has no answer", m.selector)
		return 0
	}
	r := answer(f, to, o, a)
	if result == "v" && r != 0 {
		f.t.Errorf("%s: answer of a message without one", m.selector)
	}
	return r
}

func (f *fake) checkArg(m *method, typ string, v uintptr) {
	switch {
	case typ == "B" && v > 1:
		f.t.Errorf("%s: %d is no BOOL", m.selector, v)
	case strings.HasPrefix(typ, `@"`):
		if o := f.objects[id(v)]; o == nil || !f.is(o, strings.Trim(typ[1:], `"`)) {
			f.t.Errorf("%s: argument %+v, want %s", m.selector, o, typ)
		}
	case (strings.HasPrefix(typ, "{") || typ == "r^v" || typ == "^v" || typ == "^@") && v == 0:
		f.t.Errorf("%s: a null pointer for %s", m.selector, typ)
	case typ == ":" && (v == 0 || int(v) > len(methods)):
		f.t.Errorf("%s: %d is no selector", m.selector, v)
	}
}

// parse splits a method's type into the result and the parameters.
func parse(types string) (string, []string) {
	var parts []string
	for s := types; s != ""; {
		n := 0
		for s[n] == 'r' || s[n] == '^' {
			n++
		}
		switch {
		case s[n] == '{':
			n += strings.IndexByte(s[n:], '}')
		case strings.HasPrefix(s[n:], `@"`):
			n += 2 + strings.IndexByte(s[n+2:], '"')
		case strings.HasPrefix(s[n:], "@?"):
			n++
		}
		parts = append(parts, s[:n+1])
		s = s[n+1:]
	}
	return parts[0], parts[1:]
}

// words reads three 64-bit words, as of a structure.
func words(p uintptr) [3]uint64 { return *(*[3]uint64)(pointer(p)) }

// bytesAt reads memory of the caller's.
func bytesAt(p, n uintptr) []byte { return unsafe.Slice((*byte)(pointer(p)), n) }

// fail stores an error as an NSError ** wants it.
func (f *fake) fail(p uintptr, domain string, code int, text string) {
	*(*id)(pointer(p)) = f.pooled("NSError", &failure{domain: domain, code: code, text: text})
}

type failure struct {
	domain string
	code   int
	text   string
	info   id
}

func (f *fake) string(s string) uintptr { return uintptr(f.pooled("NSString", s)) }

func (f *fake) String() string { return fmt.Sprintf("macOS %d", f.macOS) }
