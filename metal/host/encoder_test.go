package host

import (
	"context"
	"errors"
	"strings"
	"testing"
)

// fake is a device that notes what it is asked.
type fake struct {
	sent [][]Dispatch
	err  error
}

func (f *fake) Info() Info {
	return Info{Limits: Limits{MaxBuffer: 1 << 20, Threadgroup: 32 << 10, MaxThreads: 1024}}
}
func (f *fake) NewBuffer(n int64) (Buffer, error)      { return &memory{n: n}, nil }
func (f *fake) Map([]byte) (Buffer, error)             { return nil, ErrNoMap }
func (f *fake) Compile(context.Context, Program) error { return nil }
func (f *fake) Submit(ds []Dispatch) error             { f.sent = append(f.sent, ds); return nil }
func (f *fake) Wait() error                            { return f.err }
func (f *fake) Close() error                           { return nil }

type memory struct{ n int64 }

func (m *memory) Len() int64                { return m.n }
func (m *memory) Bytes() []byte             { return nil }
func (m *memory) Write(int64, []byte) error { return nil }
func (m *memory) Read(int64, []byte) error  { return nil }
func (m *memory) Free()                     {}

// barriers adds dispatches that use one range each and says which waited.
func barriers(uses []use) string {
	dev := &fake{}
	e := NewEncoder(dev)
	var out strings.Builder
	e.Trace = func(d *Dispatch) {
		out.WriteByte("-|"[btoi(d.Barrier)])
	}
	for _, u := range uses {
		e.Add(Dispatch{Kernel: "k", Grid: [3]int{1, 1, 1}, Threads: 32, Args: []Arg{{Buffer: u.buffer, Uses: []Use{u.Use}}}})
	}
	return out.String()
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// TestBarriers: a dispatch waits exactly where it touches what was written since
// the last barrier, or writes what was touched.
func TestBarriers(t *testing.T) {
	a, b := &memory{1000}, &memory{1000}
	for _, c := range []struct {
		name, want string
		uses       []use
	}{
		{"reads", "---", []use{{a, Use{0, 10, Read}}, {a, Use{0, 10, Read}}, {a, Use{5, 10, Read}}}},
		{"read after write", "-|", []use{{a, Use{0, 10, Write}}, {a, Use{9, 1, Read}}}},
		{"beside it", "--", []use{{a, Use{0, 10, Write}}, {a, Use{10, 1, Read}}}},
		{"before it", "--", []use{{a, Use{10, 10, Write}}, {a, Use{0, 10, ReadWrite}}}},
		{"write after read", "-|", []use{{a, Use{0, 10, Read}}, {a, Use{0, 1, Write}}}},
		{"write after write", "-|", []use{{a, Use{0, 10, Write}}, {a, Use{0, 1, Write}}}},
		{"other buffer", "--", []use{{a, Use{0, 10, Write}}, {b, Use{0, 10, ReadWrite}}}},
		{"a barrier clears", "-|-|", []use{{a, Use{0, 10, Write}}, {a, Use{0, 10, Read}}, {a, Use{0, 10, Read}}, {a, Use{0, 10, Write}}}},
	} {
		if got := barriers(c.uses); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

// TestSplit: long work goes to the device in pieces, and an error stops what
// follows and comes out of one Wait.
func TestSplit(t *testing.T) {
	dev := &fake{}
	e := NewEncoder(dev)
	buf := &memory{1000}
	d := Dispatch{Kernel: "k", Label: "l", Grid: [3]int{1, 1, 1}, Threads: 32, Bytes: 4e9, Args: []Arg{{Buffer: buf, Uses: []Use{{0, 1, Read}}}}}
	for range 4 {
		e.Add(d)
	}
	if len(dev.sent) != 2 || len(dev.sent[0]) != 2 || e.Count() != 4 {
		t.Errorf("%d pieces, want 2 of two dispatches", len(dev.sent))
	}
	if err := e.Wait(); err != nil {
		t.Error(err)
	}
	for _, bad := range []struct {
		says string
		with func(*Dispatch)
	}{
		{"multiple of 32", func(d *Dispatch) { d.Threads = 33 }},
		{"multiple of 32", func(d *Dispatch) { d.Threads = 2048 }},
		{"empty in dimension 1", func(d *Dispatch) { d.Grid[1] = 0 }},
		{"at most 31", func(d *Dispatch) { d.Args = make([]Arg, 32) }},
		{"want 1 to 4096", func(d *Dispatch) { d.Args = []Arg{{Bytes: make([]byte, 4097)}} }},
		{"want 1 to 4096", func(d *Dispatch) { d.Args = []Arg{{}} }},
		{"begins at 1000", func(d *Dispatch) { d.Args = []Arg{{Buffer: buf, At: 1000}} }},
		{"uses bytes 999 to 1001", func(d *Dispatch) { d.Args = []Arg{{Buffer: buf, Uses: []Use{{999, 2, Read}}}} }},
	} {
		x := d
		bad.with(&x)
		sent := len(dev.sent)
		e.Add(x)
		e.Add(d)
		if err := e.Wait(); err == nil || !strings.Contains(err.Error(), bad.says) {
			t.Errorf("error %v, want one that says %q", err, bad.says)
		}
		if len(dev.sent) != sent {
			t.Errorf("%s: what followed the error was sent", bad.says)
		}
		if err := e.Wait(); err != nil {
			t.Errorf("the error came twice: %v", err)
		}
	}
	dev.err = errors.New("lost")
	if err := e.Wait(); err != dev.err {
		t.Errorf("error %v, want the device's", err)
	}
}
