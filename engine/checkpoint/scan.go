package checkpoint

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/go-json-experiment/json/jsontext"

	"assay/engine/tensor"
)

// Kind says how bad a Problem is.
type Kind int

const (
	// Unreadable is a header that cannot be read to its end.
	Unreadable Kind = iota
	// BadMetadata is a __metadata__ that is no object of strings.
	BadMetadata
	// BadEntry is a tensor of which the header says something impossible.
	BadEntry
	// Beyond is a tensor that ends after the file.
	Beyond
	// Layout is a gap or an overlap, which some readers take.
	Layout
)

// Problem is something wrong with the header of a file.
type Problem struct {
	Kind   Kind
	Tensor string // "" where it is not one tensor's
	Err    error
}

// ScanHeader reads the header of a file of size bytes as ParseHeader does, but
// goes on where that gives up and returns all that is wrong. Entries has every
// tensor that was named, those with a problem too, and a name twice where the
// file has it twice. It reads nothing but the header, of at most 100 MB.
func ScanHeader(r io.ReaderAt, size int64) (Header, []Problem) {
	head, err := readHead(r, size)
	if err != nil {
		return Header{}, []Problem{{Kind: Unreadable, Err: err}}
	}
	s := scan{Header: Header{start: 8 + int64(len(head))}}
	s.dec = jsontext.NewDecoder(bytes.NewBuffer(head), jsontext.AllowDuplicateNames(true))
	if err := s.object(s.member); err != nil {
		s.problem(Unreadable, "", fmt.Errorf("header: %w", err))
		return s.Header, s.problems
	}
	if rest := head[s.dec.InputOffset():]; len(bytes.TrimLeft(rest, " ")) != 0 {
		s.problem(Unreadable, "", fmt.Errorf("header: more than spaces after the closing }"))
	}
	s.layout(size - s.start)
	return s.Header, s.problems
}

// Offset returns where in its file the bytes of an entry begin.
func (h Header) Offset(e Entry) int64 { return h.start + e.Begin }

// Bytes returns the bytes of the header, its length counted.
func (h Header) Bytes() int64 { return h.start }

// ErrPointer is the error about a file of which only a pointer is there.
var ErrPointer = errors.New("a git-LFS pointer and not the file, which git lfs pull would fetch")

// A pointer's first line begins so; a header's length would be its first 8 bytes.
const (
	pointerStart  = "version https://git-lfs"
	pointerLength = 0x206e6f6973726576
)

// IsPointer says whether a file holds a pointer of git-LFS.
func IsPointer(data []byte) bool { return bytes.HasPrefix(data, []byte(pointerStart)) }

// readHead returns the JSON of a header.
func readHead(r io.ReaderAt, size int64) ([]byte, error) {
	var length [8]byte
	if size < 8 {
		return nil, fmt.Errorf("%d bytes, want 8 for the header's length", size)
	}
	if _, err := r.ReadAt(length[:], 0); err != nil {
		return nil, reason(err)
	}
	n := binary.LittleEndian.Uint64(length[:])
	if n == pointerLength && size < 1000 {
		text := make([]byte, size)
		if _, err := r.ReadAt(text, 0); (err == nil || errors.Is(err, io.EOF)) && IsPointer(text) {
			return nil, ErrPointer
		}
	}
	switch {
	case n > maxHeader:
		return nil, fmt.Errorf("header of %d bytes, want at most %d", n, maxHeader)
	case n > uint64(size-8):
		return nil, fmt.Errorf("header of %d bytes in a file of %d", n, size)
	}
	head := make([]byte, n)
	if _, err := r.ReadAt(head, 8); err != nil && !(errors.Is(err, io.EOF) && n == 0) {
		return nil, reason(err)
	}
	if n == 0 || head[0] != '{' {
		return nil, fmt.Errorf("header does not begin with {")
	}
	return head, nil
}

// scan is a parser that keeps what it found.
type scan struct {
	parser
	Header
	problems []Problem
	bad      map[int]bool // indices of entries with a problem
}

func (s *scan) problem(k Kind, name string, err error) {
	s.problems = append(s.problems, Problem{k, name, err})
}

// member reads one tensor, or __metadata__, and gets to its end whatever is in it.
func (s *scan) member(name string) error {
	kind := BadEntry
	var err error
	if name == "__metadata__" {
		if kind = BadMetadata; s.Metadata != nil {
			s.problem(kind, name, errors.New("is there twice"))
		}
		err = s.metadata(&s.Header)
	} else {
		var e Entry
		e, err = s.entry(name)
		if err != nil {
			if s.bad == nil {
				s.bad = map[int]bool{}
			}
			s.bad[len(s.Entries)] = true
			e = Entry{Info: tensor.Info{Name: name, DType: e.DType, Shape: e.Shape}}
		}
		s.Entries = append(s.Entries, e)
	}
	if err == nil {
		return nil
	}
	if syntax := (*jsontext.SyntacticError)(nil); errors.As(err, &syntax) || errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	s.problem(kind, name, err)
	return s.skip()
}

// skip gets to the end of the value of a name of the header.
func (s *scan) skip() error {
	if _, n := s.dec.StackIndex(1); s.dec.StackDepth() == 1 && n%2 == 1 {
		return s.dec.SkipValue()
	}
	for s.dec.StackDepth() > 1 {
		if _, err := s.dec.ReadToken(); err != nil {
			return err
		}
	}
	return nil
}

// layout looks at where the sound entries lie in size bytes of data, and sorts
// all by that.
func (s *scan) layout(size int64) {
	sound := make([]Entry, 0, len(s.Entries))
	var unsound []Entry
	for i, e := range s.Entries {
		switch {
		case s.bad[i]:
			unsound = append(unsound, e)
		case e.End > size:
			s.problem(Beyond, e.Name, fmt.Errorf("ends at byte %d of %d: the file is cut short", e.End, size))
			unsound = append(unsound, e)
		default:
			sound = append(sound, e)
		}
	}
	slices.SortStableFunc(sound, func(a, b Entry) int {
		return cmp.Or(cmp.Compare(a.Begin, b.Begin), cmp.Compare(a.End, b.End))
	})
	at := int64(0)
	for _, e := range sound {
		switch {
		case len(unsound) > 0: // its place is unknown
		case e.Begin < at:
			s.problem(Layout, e.Name, fmt.Errorf("shares bytes with the tensor before it"))
		case e.Begin > at:
			s.problem(Layout, e.Name, fmt.Errorf("%d bytes before it belong to no tensor", e.Begin-at))
		}
		at = max(at, e.End)
	}
	if at != size && len(unsound) == 0 {
		s.problem(Layout, "", fmt.Errorf("%d bytes after the last tensor belong to none", size-at))
	}
	s.Entries = append(sound, unsound...)
}
