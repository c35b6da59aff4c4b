package sweep

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"time"
)

// A state is the streams between two parts of a batch, on disk: where a killed
// run goes on.

// stateMagic begins a state, with its version.
const stateMagic = "assay state 1\n"

// stateHead is what a state holds, as JSON behind its length; then come the
// streams, by node and group, and a checksum of all before it.
type stateHead struct {
	Key    StateKey `json:"key"`
	Part   int      `json:"part"` // the next to run
	Nodes  []string `json:"nodes"`
	Floats []int    `json:"floats"` // of each group
}

// StateKey names what made a state's streams. A state of another key is not used.
type StateKey struct {
	Model   string `json:"model"`   // digest of the source
	Windows string `json:"windows"` // digest of the windows
	Engine  string `json:"engine"`  // engine, kernels, activations and options
	Batch   string `json:"batch"`   // its first and last window
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// writeState replaces the state at path. The file appears whole or not at all.
func writeState(path string, head stateHead, streams [][]*slab) error {
	text, err := json.Marshal(head)
	if err != nil {
		return fmt.Errorf("sweep: state: %w", err)
	}
	f, err := os.Create(path + ".tmp")
	if err != nil {
		return fmt.Errorf("sweep: state: %w", err)
	}
	sum := crc32.New(castagnoli)
	w := io.MultiWriter(f, sum)
	front := append([]byte(stateMagic), binary.LittleEndian.AppendUint32(nil, uint32(len(text)))...)
	_, err = w.Write(append(front, text...))
	for _, node := range streams {
		for _, s := range node {
			if err == nil {
				_, err = w.Write(s.block.Bytes()[:4*len(s.x)])
			}
			s.block.Rest()
		}
	}
	if err == nil {
		_, err = f.Write(binary.LittleEndian.AppendUint32(nil, sum.Sum32()))
	}
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(path+".tmp", path)
	}
	if err != nil {
		os.Remove(path + ".tmp")
		return fmt.Errorf("sweep: state: %w", err)
	}
	return nil
}

// readState reads the state at path if it has the key, knows all nodes that
// wanted returns for its part, and is whole; into slabs of store, by these nodes
// and group. Otherwise ok is false, and what slabs there are hold nothing of use.
func readState(path string, key StateKey, floats []int, wanted func(part int) []string, store *store) (part int, streams [][]*slab, ok bool) {
	f, err := os.Open(path)
	if err != nil {
		return 0, nil, false
	}
	defer f.Close()
	sum := crc32.New(castagnoli)
	r := io.TeeReader(bufio.NewReaderSize(f, 1<<20), sum)
	head, ok := readHead(r)
	if !ok || head.Key != key || fmt.Sprint(head.Floats) != fmt.Sprint(floats) {
		return 0, nil, false
	}
	at := map[string]int{}
	for i, n := range head.Nodes {
		at[n] = i + 1
	}
	names := wanted(head.Part)
	streams = make([][]*slab, len(names))
	index := map[int]int{}
	for i, n := range names {
		if at[n] == 0 {
			return 0, nil, false
		}
		index[at[n]-1] = i
	}
	for i := range head.Nodes {
		to, needed := index[i]
		for _, n := range floats {
			if !needed {
				if _, err := io.CopyN(io.Discard, r, 4*int64(n)); err != nil {
					return 0, streams, false
				}
				continue
			}
			s, err := store.take(n)
			if err == nil {
				streams[to] = append(streams[to], s)
				_, err = io.ReadFull(r, s.block.Bytes()[:4*n])
				s.block.Rest()
			}
			if err != nil {
				return 0, streams, false
			}
		}
	}
	want := sum.Sum32()
	var tail [4]byte
	_, err = io.ReadFull(r, tail[:])
	return head.Part, streams, err == nil && binary.LittleEndian.Uint32(tail[:]) == want
}

func readHead(r io.Reader) (head stateHead, ok bool) {
	front := make([]byte, len(stateMagic)+4)
	if _, err := io.ReadFull(r, front); err != nil || !bytes.HasPrefix(front, []byte(stateMagic)) {
		return head, false
	}
	n := binary.LittleEndian.Uint32(front[len(stateMagic):])
	if n > 1<<24 {
		return head, false
	}
	text := make([]byte, n)
	if _, err := io.ReadFull(r, text); err != nil {
		return head, false
	}
	return head, json.Unmarshal(text, &head) == nil
}

// savePace decides when a state is worth its writing.
type savePace struct {
	last  time.Time // of the last state, or of the batch's start
	speed float64   // bytes a second that states are written at
}

// How old work must be to be worth a state, and the share of the time that
// writing may take. Where states are so large that the share does not allow one
// at each part, a kill loses the parts since the last: 40 GB at 1 GB/s are written
// every 17 minutes.
const (
	loseAtMost = time.Minute
	writeShare = 0.04
)

// due says whether a state of n bytes is to be written now: there is enough to
// lose, and the writing takes no more than its share of the time since the last.
func (p *savePace) due(now time.Time, n int64) bool {
	since := now.Sub(p.last)
	return since >= loseAtMost && float64(n)/p.speed <= writeShare*since.Seconds()
}

// wrote learns from a state of n bytes that was written from start to now.
func (p *savePace) wrote(start, now time.Time, n int64) {
	p.last = now
	if d := now.Sub(start).Seconds(); d > 0 {
		p.speed = float64(n) / d
	}
}
