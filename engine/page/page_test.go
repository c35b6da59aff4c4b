package page

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// TestMap: what is written to a block is in the file, at its place, before and
// after the block rests.
func TestMap(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := Map(f, Size, 2*Size)
	if err != nil {
		t.Fatal(err)
	}
	b.Floats()[1] = 1 // 0x3f800000
	b.Rest()
	if got := b.Floats()[1]; got != 1 {
		t.Errorf("after its rest the block holds %g, want 1", got)
	}
	if err := b.Free(); err != nil {
		t.Error(err)
	}
	data, err := os.ReadFile(f.Name())
	if err != nil || len(data) != 3*Size || data[Size+6] != 0x80 || data[Size+7] != 0x3f {
		t.Errorf("the file has %d bytes, % x at the block's second float32, %v", len(data), data[Size+4:Size+8], err)
	}
	if err := b.Free(); err != nil {
		t.Errorf("a second Free: %v", err)
	}
}

func TestAlloc(t *testing.T) {
	b, err := Alloc(3 * Size)
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range b.Floats() {
		if v != 0 {
			t.Fatalf("float %d of new memory is %g", i, v)
		}
	}
	b.Floats()[3*Size/4-1] = 2
	b.Rest()
	if b.Floats()[3*Size/4-1] != 2 || len(b.Bytes()) != 3*Size {
		t.Error("memory that is no file's is lost when it rests")
	}
	if err := b.Free(); err != nil {
		t.Error(err)
	}
	if runtime.GOOS == "linux" {
		if _, err := Alloc(1 << 60); err == nil {
			t.Error("2^60 bytes of memory were there")
		}
	}
}

// A block that the disk has no room for is refused, and not a crash later.
func TestMapFull(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if b, err := Map(f, 0, 1<<50); err == nil {
		b.Free()
		t.Error("a petabyte was there")
	}
}
