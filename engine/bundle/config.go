package bundle

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/go-json-experiment/json/jsontext"

	"assay/engine/affine"
	"assay/engine/mx"
	"assay/engine/tensor"
)

// Quant is the format of a module as config.json gives it.
type Quant struct {
	GroupSize int    `json:"group_size"`
	Bits      int    `json:"bits"`
	Mode      string `json:"mode"`
}

// ModeAffine is MLX's name of the affine format; mx.Format has the others.
const ModeAffine = "affine"

// QuantOf returns what config.json says of a format, and false for one that is
// not quantized.
func QuantOf(f tensor.Format) (Quant, bool) {
	switch f := f.(type) {
	case affine.Format:
		return Quant{f.GroupSize, f.Bits, ModeAffine}, true
	case mx.Format:
		return Quant{mx.GroupSize, f.Bits(), f.String()}, true
	}
	return Quant{}, false
}

// The keys of config.json that tell how a bundle is quantized.
const (
	quantizationKey = "quantization"
	twinKey         = "quantization_config"
)

// Config returns the bundle's config.json: upstream's, with how this layout is
// quantized in place of how upstream is, under both names that readers look for.
// Every quantized module of the main model is named, and none of the MTP block,
// which no runtime builds; the globals are the format of most weights.
func (l *Layout) Config(upstream []byte) ([]byte, error) {
	members, err := readMembers(upstream)
	if err != nil {
		return nil, fmt.Errorf("bundle: config.json: %w", err)
	}
	members = slices.DeleteFunc(members, func(m member) bool { return m.name == quantizationKey || m.name == twinKey })
	if q := l.quantization(); q != nil {
		members = append(members, member{quantizationKey, q}, member{twinKey, q})
	}
	return writeMembers(members)
}

// quantization returns the object of the key, or nil where nothing is quantized.
func (l *Layout) quantization() jsontext.Value {
	weights := map[Quant]int64{}
	byPath := map[string]Quant{}
	var paths []string
	for _, m := range l.Modules {
		q, ok := QuantOf(m.Steps[0].Format)
		if !ok || m.Steps[0].MTP {
			continue
		}
		for _, s := range m.Steps {
			weights[q] += s.Elements()
		}
		if _, twice := byPath[m.Path]; !twice {
			byPath[m.Path] = q
			paths = append(paths, m.Path)
		}
	}
	if len(paths) == 0 {
		return nil
	}
	globals := byPath[paths[0]]
	for _, p := range paths {
		if weights[byPath[p]] > weights[globals] {
			globals = byPath[p]
		}
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, `{"group_size": %d, "bits": %d, "mode": %q`, globals.GroupSize, globals.Bits, globals.Mode)
	for _, p := range paths {
		name, _ := json.Marshal(p)          // of a string: no error
		value, _ := json.Marshal(byPath[p]) // of numbers and a string
		fmt.Fprintf(&b, ",\n%s: %s", name, value)
	}
	b.WriteByte('}')
	return b.Bytes()
}

// member is one name and value of an object.
type member struct {
	name  string
	value jsontext.Value
}

// readMembers reads an object's members in order.
func readMembers(data []byte) ([]member, error) {
	d := jsontext.NewDecoder(bytes.NewReader(data))
	if d.PeekKind() != '{' {
		return nil, fmt.Errorf("want an object")
	}
	if _, err := d.ReadToken(); err != nil {
		return nil, err
	}
	var out []member
	for d.PeekKind() != '}' {
		name, err := d.ReadToken()
		if err != nil {
			return nil, err
		}
		m := member{name: name.String()}
		value, err := d.ReadValue()
		if err != nil {
			return nil, err
		}
		m.value = value.Clone()
		out = append(out, m)
	}
	_, err := d.ReadToken()
	return out, err
}

// writeMembers writes an object, indented.
func writeMembers(members []member) ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, m := range members {
		if i > 0 {
			b.WriteByte(',')
		}
		name, err := jsontext.AppendQuote(nil, m.name)
		if err != nil {
			return nil, fmt.Errorf("bundle: config.json: %w", err)
		}
		b.Write(name)
		b.WriteByte(':')
		b.Write(m.value)
	}
	b.WriteByte('}')
	var out bytes.Buffer
	if err := json.Indent(&out, b.Bytes(), "", "  "); err != nil {
		return nil, fmt.Errorf("bundle: config.json: %w", err)
	}
	out.WriteByte('\n')
	return out.Bytes(), nil
}
