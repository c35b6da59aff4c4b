package checkpoint_test

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"assay/engine/checkpoint"
	"assay/engine/checkpoint/checkpointtest"
)

// A file that ParseHeader takes is read alike; in one that it refuses there is
// a problem.
func TestScanAgreesWithParse(t *testing.T) {
	files := [][]byte{checkpointtest.Raw(`{"b":{"shape":[2,3],"dtype":"U8","data_offsets":[0,6]},"a":{"data_offsets":[6,8],"dtype":"BF16","shape":[]}} `, make([]byte, 8))}
	for _, h := range hostile {
		files = append(files, h.file)
	}
	for _, file := range files {
		want, err := checkpoint.ParseHeader(file)
		got, problems := checkpoint.ScanHeader(bytes.NewReader(file), int64(len(file)))
		if (err != nil) != (len(problems) > 0) {
			t.Errorf("%.80q: ParseHeader says %v, ScanHeader %v", file, err, problems)
		}
		if err == nil && !reflect.DeepEqual(got, want) {
			t.Errorf("%.80q: %+v, want %+v", file, got, want)
		}
	}
}

// All that is wrong is found, and what is sound is read on.
func TestScanGoesOn(t *testing.T) {
	file := checkpointtest.Raw(`{"__metadata__":{"format":"mlx","n":[1]},"a":{"dtype":"F4","shape":[2,[3]],"data_offsets":[0,1]},"b":7,`+
		`"c":{"dtype":"U8","shape":[4],"data_offsets":[0,3]},"d":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"e":{"dtype":"U8","shape":[99],"data_offsets":[0,99]},`+
		`"d":{"dtype":"U8","shape":[2],"data_offsets":[4,6]}}`, make([]byte, 8))
	h, problems := checkpoint.ScanHeader(bytes.NewReader(file), int64(len(file)))
	var got []string
	for _, p := range problems {
		got = append(got, p.Tensor+": "+p.Err.Error())
	}
	want := []string{`__metadata__: __metadata__: "n": want a string`, `a: "shape": want a whole number`, "b: want an object",
		"c: 3 bytes for U8 [4], want 4", "e: ends at byte 99 of 8: the file is cut short"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("problems\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	var names string
	for _, e := range h.Entries {
		names += e.Name
	}
	if names != "ddabce" || h.Metadata["format"] != "mlx" || h.Offset(h.Entries[1]) != h.Bytes()+4 {
		t.Errorf("entries %s, metadata %v", names, h.Metadata)
	}
}
