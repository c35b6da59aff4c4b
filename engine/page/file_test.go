package page

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"unsafe"
)

// TestReadOnly: a mapping begins on a shared page, and the pages around a part of
// it hold that part where it is.
func TestReadOnly(t *testing.T) {
	for _, size := range []int{1, 4096, Shared - 1, Shared, 3*Shared + 5} {
		want := bytes.Repeat([]byte("assay."), size/6+1)[:size]
		name := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(name, want, 0o644); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		data, err := ReadOnly(f, int64(size))
		f.Close()
		if err != nil || !bytes.Equal(data, want) || uintptr(unsafe.Pointer(&data[0]))%Shared != 0 {
			t.Fatalf("%d bytes at %p: %v", len(data), &data[0], err)
		}
		part := data[size/2 : size/2+(size+2)/3]
		pages, ok := Around(part)
		at := offset(pages, part)
		if !ok || at < 0 || at >= Shared || len(pages)%Shared != 0 || uintptr(unsafe.Pointer(&pages[0]))%Shared != 0 || len(pages)-at-len(part) >= Shared {
			t.Errorf("%d bytes: the part lies at %d of %d bytes of pages, %v", size, at, len(pages), ok)
		}
		if _, ok := Around(want); ok {
			t.Error("memory of Go's is taken for a mapping")
		}
		if err := Close(data); err != nil {
			t.Error(err)
		}
		if err := Close(data); err == nil {
			t.Error("a mapping ends twice")
		}
	}
}
