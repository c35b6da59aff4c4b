// Package shard writes a folder of safetensors files whose contents are planned
// ahead, so that a build that is killed goes on where it was: every file gets
// its name only when it is whole, and a journal says which are. It knows
// neither model nor recipe: what the bytes are is the caller's.
package shard

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"assay/engine/tensor"
)

// align is the multiple of bytes at which a file's data begin.
const align = 64

// File is one safetensors file as planned: its name and its tensors in the
// order of their data.
type File struct {
	Name    string
	Tensors []tensor.Info
}

// Bytes returns the bytes of all tensors, without the header.
func (f File) Bytes() int64 {
	n := int64(0)
	for _, t := range f.Tensors {
		n += t.Bytes()
	}
	return n
}

// Header returns all that precedes the data: the header's length in eight
// bytes, little-endian; compact JSON, __metadata__ first where there is any,
// its keys sorted, then the tensors in their order, each where the last one
// ends; and spaces up to a multiple of 64 bytes. The file has len(Header) +
// Bytes bytes.
// Source: huggingface/safetensors README.md, section Format.
func (f File) Header(metadata map[string]string) []byte {
	b := append(make([]byte, 8, 256+192*len(f.Tensors)), '{')
	if len(metadata) > 0 {
		b = append(b, `"__metadata__":{`...)
		for i, key := range slices.Sorted(maps.Keys(metadata)) {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(quote(b, key), ':')
			b = quote(b, metadata[key])
		}
		b = append(b, '}')
	}
	at := int64(0)
	for i, t := range f.Tensors {
		if i > 0 || len(metadata) > 0 {
			b = append(b, ',')
		}
		b = append(quote(b, t.Name), `:{"dtype":`...)
		b = append(quote(b, string(t.DType)), `,"shape":[`...)
		for k, d := range t.Shape {
			if k > 0 {
				b = append(b, ',')
			}
			b = strconv.AppendInt(b, int64(d), 10)
		}
		b = fmt.Appendf(b, `],"data_offsets":[%d,%d]}`, at, at+t.Bytes())
		at += t.Bytes()
	}
	b = append(b, '}')
	for len(b)%align != 0 {
		b = append(b, ' ')
	}
	binary.LittleEndian.PutUint64(b, uint64(len(b)-8))
	return b
}

// quote appends s as JSON. Bad UTF-8, which Open refuses, becomes U+FFFD.
func quote(b []byte, s string) []byte {
	b, _ = jsontext.AppendQuote(b, s)
	return b
}

// Cut deals groups of tensors to files in their order. A group, such as the
// weight, scales and biases of one module, is never split; a file is closed
// when the next group would take it beyond limit bytes of tensors, and a group
// that is larger than limit has a file of its own. No file is empty. The names
// are model-00001-of-000NN.safetensors, also where there is one.
func Cut(groups [][]tensor.Info, limit int64) []File {
	var out []File
	size := int64(0)
	for _, group := range groups {
		if len(group) == 0 {
			continue
		}
		n := File{Tensors: group}.Bytes()
		if len(out) == 0 || size+n > limit {
			out, size = append(out, File{}), 0
		}
		last := &out[len(out)-1]
		last.Tensors = append(last.Tensors, group...)
		size += n
	}
	for i := range out {
		out[i].Name = fmt.Sprintf("model-%05d-of-%05d.safetensors", i+1, len(out))
	}
	return out
}

// Index returns the text of model.safetensors.index.json. totalParameters is
// left out if it is 0.
func Index(files []File, totalParameters int64) []byte {
	type index struct {
		Metadata  map[string]int64  `json:"metadata"`
		WeightMap map[string]string `json:"weight_map"`
	}
	x := index{map[string]int64{"total_size": 0}, map[string]string{}}
	if totalParameters != 0 {
		x.Metadata["total_parameters"] = totalParameters
	}
	for _, f := range files {
		x.Metadata["total_size"] += f.Bytes()
		for _, t := range f.Tensors {
			x.WeightMap[t.Name] = f.Name
		}
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(x); err != nil {
		panic(err) // strings and numbers
	}
	return b.Bytes()
}
