package page

import (
	"sync"
	"unsafe"
)

// Shared is what addresses of read-only mappings are a multiple of: Apple's page,
// so that a GPU can read mapped files where they are.
const Shared = 16 << 10

// files are the read-only mappings there are.
var files struct {
	sync.Mutex
	all []mapping
}

type mapping struct {
	data  []byte // the file
	whole []byte // the addresses that are taken for it, a multiple of Shared
}

// Around returns the whole pages of Shared that part lies on, if part lies in a
// file that ReadOnly mapped. Bytes of them beyond the file must not be touched.
func Around(part []byte) (pages []byte, ok bool) {
	files.Lock()
	defer files.Unlock()
	for _, m := range files.all {
		if at := offset(m.data, part); at >= 0 {
			base := offset(m.whole, m.data)
			from := (base + at) &^ (Shared - 1)
			to := (base + at + len(part) + Shared - 1) &^ (Shared - 1)
			return m.whole[from:to], true
		}
	}
	return nil, false
}

// offset is where part lies in whole, or -1.
func offset(whole, part []byte) int {
	at := int(uintptr(unsafe.Pointer(unsafe.SliceData(part)))) - int(uintptr(unsafe.Pointer(unsafe.SliceData(whole))))
	if len(part) == 0 || at < 0 || at+len(part) > len(whole) {
		return -1
	}
	return at
}
