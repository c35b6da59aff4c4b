package checkpoint_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/nlpodyssey/safetensors"

	"assay/engine/checkpoint"
	"assay/engine/checkpoint/checkpointtest"
	"assay/engine/tensor"
)

// one is the header of a file with a single tensor "a".
func one(dtype, shape, offsets string) string {
	return fmt.Sprintf(`{"a":{"dtype":%s,"shape":%s,"data_offsets":%s}}`, dtype, shape, offsets)
}

func TestHeaderIsReadAsWritten(t *testing.T) {
	data := []byte{1, 2, 3, 4, 5, 6, 7, 8, 9}
	file := checkpointtest.Raw(`{"b":{"shape":[2,3],"dtype":"F8_E4M3","data_offsets":[3,9]},"__metadata__":{"format":"pt"},`+
		`"a":{"data_offsets":[1,3],"dtype":"BF16","shape":[]},"\u0065mpty":{"dtype":"I64","shape":[0,7],"data_offsets":[1,1]},`+
		`"s":{"dtype":"F8_E8M0","shape":[1],"data_offsets":[0,1]}}   `, data)
	h, err := checkpoint.ParseHeader(file)
	if err != nil {
		t.Fatal(err)
	}
	want := []struct {
		info string
		data []byte
	}{
		{"s F8_E8M0[1]", data[:1]}, {"empty I64[0,7]", data[1:1]}, {"a BF16[]", data[1:3]}, {"b F8_E4M3[2,3]", data[3:]},
	}
	for i, e := range h.Entries {
		if e.String() != want[i].info || !bytes.Equal(h.Data(file, e), want[i].data) {
			t.Errorf("entry %d is %s %v, want %s %v", i, e, h.Data(file, e), want[i].info, want[i].data)
		}
	}
	if len(h.Entries) != len(want) || h.Metadata["format"] != "pt" {
		t.Errorf("%d entries, metadata %v", len(h.Entries), h.Metadata)
	}
}

// hostile are files that no reader should accept, and what to say of each.
var hostile = []struct {
	name string
	file []byte
	want string
}{
	{"nothing", nil, "0 bytes, want 8 for the header's length"},
	{"half a length", []byte{1, 0, 0, 0}, "4 bytes, want 8 for the header's length"},
	{"no header", make([]byte, 8), "header does not begin with {"},
	{"length beyond the file", binary.LittleEndian.AppendUint64(nil, 9), "header of 9 bytes in a file of 8"},
	{"length beyond the limit", binary.LittleEndian.AppendUint64(nil, 100<<20+1), "header of 104857601 bytes, want at most 104857600"},
	{"length of 2^64-1", binary.LittleEndian.AppendUint64(nil, 1<<64-1), "header of 18446744073709551615 bytes"},
	{"null", checkpointtest.Raw(`null`, nil), "header does not begin with {"},
	{"space in front", checkpointtest.Raw(` {}`, nil), "header does not begin with {"},
	{"cut off", checkpointtest.Raw(`{"a":{"dtype":"F32"`, nil), `tensor "a": jsontext: unexpected EOF`},
	{"more after it", checkpointtest.Raw(`{} {}`, nil), "header: more than spaces after the closing }"},
	{"newline after it", checkpointtest.Raw("{}\n", nil), "header: more than spaces after the closing }"},
	{"tensor is a number", checkpointtest.Raw(`{"a":1}`, nil), `header: tensor "a": want an object`},
	{"tensor without a name", checkpointtest.Raw(`{"":{}}`, nil), `tensor "": a tensor needs a name`},
	{"name twice", checkpointtest.Raw(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"\u0061":{}}`, []byte{0}), `header: name "a" is there twice`},
	{"key twice", checkpointtest.Raw(`{"a":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, []byte{0}), `tensor "a": name "dtype" is there twice`},
	{"metadata twice", checkpointtest.Raw(`{"__metadata__":{},"__metadata__":{}}`, nil), `name "__metadata__" is there twice`},
	{"metadata not text", checkpointtest.Raw(`{"__metadata__":{"k":1}}`, nil), `__metadata__: "k": want a string`},
	{"metadata null", checkpointtest.Raw(`{"__metadata__":null}`, nil), `header: want an object`},
	{"bad UTF-8", checkpointtest.Raw("{\"\xff\":{}}", nil), "invalid UTF-8"},
	{"half a surrogate pair", checkpointtest.Raw(`{"\ud800":{}}`, nil), `invalid surrogate pair`},
	{"unknown key", checkpointtest.Raw(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"x":1}}`, []byte{0}), `tensor "a": "x": unknown key`},
	{"key in capitals", checkpointtest.Raw(`{"a":{"DType":"U8"}}`, nil), `tensor "a": "DType": unknown key`},
	{"name of a megabyte", checkpointtest.Raw(`{"`+strings.Repeat("x", 1<<20)+`":1}`, nil), `name "xxxxxxxxxxxxxxxxxxxx"... of 1048576 bytes, want at most 1024`},
	{"dtype of a megabyte", checkpointtest.Raw(one(`"`+strings.Repeat("x", 1<<20)+`"`, `[1]`, `[0,1]`), nil), `unknown dtype "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"`},
	{"number of a megabyte", checkpointtest.Raw(one(`"U8"`, `[`+strings.Repeat("1", 1<<20)+`]`, `[0,1]`), nil), `"shape": 1111111111111111111111111111111111111111, want a whole number`},
	{"no dtype", checkpointtest.Raw(`{"a":{"shape":[1],"data_offsets":[0,1]}}`, []byte{0}), `tensor "a": want dtype, shape and data_offsets`},
	{"unknown dtype", checkpointtest.Raw(one(`"F8_E5M2"`, `[1]`, `[0,1]`), []byte{0}), `tensor "a": unknown dtype "F8_E5M2"`},
	{"dtype null", checkpointtest.Raw(one(`null`, `[1]`, `[0,1]`), []byte{0}), `"dtype": want a string`},
	{"negative dimension", checkpointtest.Raw(one(`"U8"`, `[-1]`, `[0,1]`), []byte{0}), `"shape": -1, want a whole number of 0 or more`},
	{"minus zero", checkpointtest.Raw(one(`"U8"`, `[-0]`, `[0,0]`), nil), `"shape": -0, want a whole number`},
	{"fraction", checkpointtest.Raw(one(`"U8"`, `[1.0]`, `[0,1]`), []byte{0}), `"shape": 1.0, want a whole number`},
	{"exponent", checkpointtest.Raw(one(`"U8"`, `[1e0]`, `[0,1]`), []byte{0}), `"shape": 1e0, want a whole number`},
	{"dimension in quotes", checkpointtest.Raw(one(`"U8"`, `["1"]`, `[0,1]`), []byte{0}), `"shape": want a whole number`},
	{"shape null", checkpointtest.Raw(one(`"U8"`, `null`, `[0,1]`), []byte{0}), `"shape": want an array`},
	{"dimension of 2^64", checkpointtest.Raw(one(`"U8"`, `[18446744073709551616]`, `[0,1]`), []byte{0}), `"shape": 18446744073709551616, want a whole number`},
	{"absurd dimension beside 0", checkpointtest.Raw(one(`"U8"`, `[0,1099511627777]`, `[0,0]`), nil), "dimension 1099511627777"},
	{"product of 2^64", checkpointtest.Raw(one(`"U8"`, `[4294967296,4294967296]`, `[0,0]`), nil), "is too large"},
	{"product of 2^64 beside 0", checkpointtest.Raw(one(`"U8"`, `[4294967296,0,4294967296]`, `[0,0]`), nil), "is too large"},
	{"product of 2^63", checkpointtest.Raw(one(`"I64"`, `[1073741824,1073741824]`, `[0,0]`), nil), "is too large"},
	{"nine dimensions", checkpointtest.Raw(one(`"U8"`, `[1,1,1,1,1,1,1,1,1]`, `[0,1]`), []byte{0}), `"shape": more than 8 numbers`},
	{"one offset", checkpointtest.Raw(one(`"U8"`, `[1]`, `[0]`), []byte{0}), "data_offsets [0], want begin and end"},
	{"three offsets", checkpointtest.Raw(one(`"U8"`, `[1]`, `[0,1,2]`), []byte{0}), `"data_offsets": more than 2 numbers`},
	{"offsets reversed", checkpointtest.Raw(one(`"U8"`, `[1]`, `[1,0]`), []byte{0}), "data_offsets [1 0], want begin and end"},
	{"size of another dtype", checkpointtest.Raw(one(`"F32"`, `[2,3]`, `[0,12]`), make([]byte, 12)), `tensor "a": 12 bytes for F32 [2 3], want 24`},
	{"size of another shape", checkpointtest.Raw(one(`"U8"`, `[3]`, `[0,2]`), make([]byte, 2)), `tensor "a": 2 bytes for U8 [3], want 3`},
	{"cut short", checkpointtest.Raw(one(`"U8"`, `[3]`, `[0,3]`), make([]byte, 2)), `tensor "a" ends at byte 3 of 2: the file is cut short`},
	{"bytes in front", checkpointtest.Raw(one(`"U8"`, `[1]`, `[1,2]`), make([]byte, 2)), `1 bytes before tensor "a" belong to none`},
	{"bytes at the end", checkpointtest.Raw(one(`"U8"`, `[1]`, `[0,1]`), make([]byte, 4)), `3 bytes after the last tensor belong to none`},
	{"overlap", checkpointtest.Raw(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}`, make([]byte, 3)), `tensors "a" and "b" overlap`},
	{"same bytes twice", checkpointtest.Raw(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}`, make([]byte, 2)), `tensors "a" and "b" overlap`},
}

func TestHostileHeaders(t *testing.T) {
	for _, c := range hostile {
		t.Run(c.name, func(t *testing.T) {
			_, err := checkpoint.ParseHeader(c.file)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error %v, want %s", err, c.want)
			}
			if strings.ContainsAny(err.Error(), "\n\x00") || len(err.Error()) > 200 {
				t.Errorf("not one short sentence: %q", err)
			}
		})
	}
}

// A header of an array that goes on and on is left at its ninth number.
func TestLongArraysAreNotRead(t *testing.T) {
	file := checkpointtest.Raw(one(`"U8"`, "["+strings.Repeat("0,", 5_000_000)+"0]", `[0,0]`), nil)
	allocated := testing.AllocsPerRun(1, func() {
		if _, err := checkpoint.ParseHeader(file); err == nil {
			t.Error("accepted")
		}
	})
	if allocated > 100 {
		t.Errorf("%v allocations, want at most 100", allocated)
	}
}

// Whatever the reader accepts it reads as nlpodyssey/safetensors does, if that
// knows the dtypes; and what it read, written again, reads the same.
func FuzzHeader(f *testing.F) {
	for _, c := range hostile {
		f.Add(c.file)
	}
	for _, dtype := range []tensor.DType{tensor.F64, tensor.F32, tensor.BF16, tensor.F8E4M3, tensor.I8, tensor.Bool} {
		info := tensor.Info{Name: "x." + string(dtype), DType: dtype, Shape: []int{2, 3}}
		file, err := checkpointtest.File([]tensor.Tensor{{Info: info, Data: make([]byte, info.Bytes())}})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(file)
	}
	f.Add(checkpointtest.Raw(`{"a":{"dtype":"I64","shape":[0,5],"data_offsets":[0,0]},"b":{"dtype":"BF16","shape":[],"data_offsets":[0,2]}}`, []byte{1, 2}))
	f.Fuzz(func(t *testing.T, file []byte) {
		h, err := checkpoint.ParseHeader(file)
		if err != nil {
			return
		}
		checkSecondReader(t, file, h)
		var tensors []tensor.Tensor
		for _, e := range h.Entries {
			if e.Name == "__metadata__" {
				t.Fatal("a tensor named __metadata__")
			}
			tensors = append(tensors, tensor.Tensor{Info: e.Info, Data: h.Data(file, e)})
		}
		again, err := checkpointtest.File(tensors)
		if err != nil {
			t.Fatal(err)
		}
		h2, err := checkpoint.ParseHeader(again)
		if err != nil {
			t.Fatal(err)
		}
		if len(h2.Entries) != len(tensors) {
			t.Fatalf("%d tensors come back of %d", len(h2.Entries), len(tensors))
		}
		for _, e := range h2.Entries {
			was := checkpointtest.Find(tensors, e.Name)
			if was.DType != e.DType || !slices.Equal(was.Shape, e.Shape) || !bytes.Equal(was.Data, h2.Data(again, e)) {
				t.Fatalf("%s comes back as %s", was, e)
			}
		}
	})
}

func checkSecondReader(t *testing.T, file []byte, h checkpoint.Header) {
	for _, e := range h.Entries {
		if _, err := safetensors.ParseDType(string(e.DType)); err != nil {
			return
		}
	}
	other, err := safetensors.Deserialize(file)
	if err != nil {
		t.Fatalf("nlpodyssey/safetensors: %v", err)
	}
	if other.Len() != len(h.Entries) {
		t.Fatalf("nlpodyssey/safetensors reads %d tensors of %d", other.Len(), len(h.Entries))
	}
	for _, e := range h.Entries {
		v, ok := other.Tensor(e.Name)
		if !ok || v.DType().String() != string(e.DType) || fmt.Sprint(v.Shape()) != fmt.Sprint(e.Shape) || !bytes.Equal(v.Data(), h.Data(file, e)) {
			t.Fatalf("%s: nlpodyssey/safetensors reads %s %v", e, v.DType(), v.Shape())
		}
	}
}
