package checkpoint

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"

	"assay/engine/tensor"
)

// Digest returns the identity of the weights in hexadecimal: it reads all of
// them, once. How they are cut into shards, and in which order they lie there,
// does not matter. With u(n) as eight bytes, little-endian, and s(x) as
// u(len x), x:
//
//	SHA-256("assay checkpoint 1\n", s(config.json), u(number of tensors),
//	    for each tensor by name: s(name), s(dtype), u(rank), u(each dimension), s(data))
func (c *Checkpoint) Digest() (string, error) { return c.digest() }

func (c *Checkpoint) sum() (string, error) {
	return c.identity("assay checkpoint 1\n", func(t tensor.Tensor, w hashWriter) { w.sized(t.Data) })
}

// What a fingerprint reads of a large checkpoint.
const (
	fingerprintWhole   = 256 << 20 // bytes up to which it reads all
	fingerprintSamples = 1024      // places beyond that
	fingerprintBytes   = 4096      // read at each
)

// Fingerprint returns, in hexadecimal, what tells checkpoints apart without
// reading 160 GB: the digest of config.json and every name, type and shape, and
// of the weights themselves where they take up to 256 MB, else of 4 KiB at each
// of 1,024 places spread evenly. Other weights differ nearly everywhere and so
// here; a change of a few bytes may not show, for which there is Digest.
func (c *Checkpoint) Fingerprint() (string, error) { return c.print() }

// Identity returns Digest of a checkpoint of up to 256 MB, and of a larger one
// "fingerprint " and Fingerprint: what records name it by.
func (c *Checkpoint) Identity() (string, error) {
	if c.bytes <= fingerprintWhole {
		return c.Digest()
	}
	print, err := c.Fingerprint()
	return "fingerprint " + print, err
}

func (c *Checkpoint) sample() (string, error) {
	stride := int64(1) // between samples
	if c.bytes > fingerprintWhole {
		stride = c.bytes / fingerprintSamples
		c.from.sparse(true)
		defer func() {
			c.from.sparse(false)
			for _, t := range c.tensors { // cached pages around the samples were mapped with them
				c.from.release(t.Data)
			}
		}()
	}
	at, next := int64(0), int64(0) // bytes of all tensors before this one; the next sample
	return c.identity("assay fingerprint 1\n", func(t tensor.Tensor, w hashWriter) {
		size := int64(len(t.Data))
		if stride == 1 {
			w.sized(t.Data)
			return
		}
		for ; next < at+size; next += stride {
			from := next - at
			w.sized(t.Data[from:min(from+fingerprintBytes, size)])
		}
		at += size
	})
}

// identity hashes all that a checkpoint says of its tensors, and what data
// makes of each.
func (c *Checkpoint) identity(what string, data func(tensor.Tensor, hashWriter)) (string, error) {
	w := hashWriter{sha256.New()}
	w.Write([]byte(what))
	w.sized(c.config)
	w.number(len(c.names))
	for _, name := range c.names {
		t, err := c.Tensor(name)
		if err != nil {
			return "", err
		}
		w.sized([]byte(name))
		w.sized([]byte(t.DType))
		w.number(len(t.Shape))
		for _, d := range t.Shape {
			w.number(d)
		}
		data(t, w)
	}
	return hex.EncodeToString(w.Sum(nil)), nil
}

// hashWriter writes numbers and byte strings so that no two sequences of them
// give the same bytes.
type hashWriter struct{ hash.Hash }

func (w hashWriter) number(n int) {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], uint64(n))
	w.Write(b[:])
}

func (w hashWriter) sized(b []byte) {
	w.number(len(b))
	w.Write(b)
}
