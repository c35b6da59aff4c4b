package emu

import (
	"fmt"
	"reflect"
	"strings"
)

// ArgStruct returns how the compiler lays out the argument struct of a compiled
// kernel.
func (d *Device) ArgStruct(name string) (fields []Field, size int, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	k := d.kernels[name]
	if k == nil {
		return nil, 0, fmt.Errorf("emu: %s: no such kernel was compiled", name)
	}
	if len(k.fields) > 0 { // the struct is the last argument
		size = int(k.args[len(k.args)-1].size)
	}
	return k.fields, size, nil
}

// goTypes is what mirrors a Metal type.
var goTypes = map[string]reflect.Kind{"uint": reflect.Uint32, "int": reflect.Int32, "float": reflect.Float32, "ulong": reflect.Uint64}

// MatchArgs errs where a Go struct is not laid out as the argument struct of a
// compiled kernel: other fields (but for case and underscores), types, offsets,
// or size.
func (d *Device) MatchArgs(name string, mirror any) error {
	fields, size, err := d.ArgStruct(name)
	if err != nil {
		return err
	}
	t := reflect.TypeOf(mirror)
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return fmt.Errorf("emu: %s: %s is no struct", name, t)
	}
	if t.NumField() != len(fields) {
		return fmt.Errorf("emu: %s: %s has %d fields, the kernel's struct %d", name, t, t.NumField(), len(fields))
	}
	for i, f := range fields {
		g := t.Field(i)
		switch {
		case plain(g.Name) != plain(f.Name):
			return fmt.Errorf("emu: %s: field %d of %s is %s, the kernel's is %s", name, i, t, g.Name, f.Name)
		case g.Type.Kind() != goTypes[f.Type]:
			return fmt.Errorf("emu: %s: %s.%s is %s, the kernel's is %s", name, t, g.Name, g.Type, f.Type)
		case int(g.Offset) != f.At || int(g.Type.Size()) != f.Size:
			return fmt.Errorf("emu: %s: %s.%s stands at byte %d and has %d, the kernel's at %d has %d", name, t, g.Name, g.Offset, g.Type.Size(), f.At, f.Size)
		}
	}
	if int(t.Size()) != size {
		return fmt.Errorf("emu: %s: %s has %d bytes, the kernel's struct %d", name, t, t.Size(), size)
	}
	return nil
}

// plain is a field's name without case and underscores.
func plain(name string) string { return strings.ToLower(strings.ReplaceAll(name, "_", "")) }
