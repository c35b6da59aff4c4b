package inspect

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"assay/engine/bundle"
)

// Names of config.json that this package reads.
const (
	quantizationKey = bundle.QuantizationKey
	twinKey         = bundle.TwinKey
)

// declared is what config.json says of how modules are quantized.
type declared struct {
	there   bool // the key quantization is there
	globals setting
	modules map[string]setting // by path, and whatever else stands beside the globals
}

// settingKind is the form of a value.
type settingKind int

const (
	none      settingKind = iota
	object                // an object of bits, group size and mode
	off                   // false, null or what else Python takes for false: not quantized
	on                    // true: the globals
	malformed             // anything else
)

// setting is one entry.
type setting struct {
	kind   settingKind
	quant  bundle.Quant // of an object, with the mode's defaults for what is missing
	faults []string     // of its form
	fatal  bool         // a fault on which the loader raises where it uses the entry
	absent bool         // of the globals: a key is missing, on which it raises at once
}

// readDeclared reads the object of the key quantization.
func readDeclared(config map[string]json.RawMessage) (declared, error) {
	d := declared{modules: map[string]setting{}}
	raw, ok := config[quantizationKey]
	if !ok || string(raw) == "null" {
		return d, nil
	}
	d.there = true
	var all map[string]json.RawMessage
	if err := json.Unmarshal(raw, &all); err != nil {
		return d, fmt.Errorf("%s is no object", quantizationKey)
	}
	d.globals = readSetting(raw, true)
	for _, key := range slices.Sorted(maps.Keys(all)) {
		switch key {
		case "group_size", "bits", "mode":
			continue
		}
		d.modules[key] = readSetting(all[key], false)
	}
	return d, nil
}

// readSetting reads one entry, or of the whole object the globals.
func readSetting(raw json.RawMessage, globals bool) setting {
	switch text := string(bytes.TrimSpace(raw)); {
	case !globals && isFalse(text):
		return setting{kind: off}
	case text == "true":
		return setting{kind: on}
	case !strings.HasPrefix(text, "{"):
		return setting{kind: malformed, fatal: true, faults: []string{"the value " + clip(text)}}
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(raw, &all); err != nil {
		return setting{kind: malformed, fatal: true, faults: []string{"no object"}}
	}
	if len(all) == 0 && !globals {
		return setting{kind: off}
	}
	s := setting{kind: object}
	mode := bundle.ModeAffine
	if raw, ok := all["mode"]; ok && json.Unmarshal(raw, &mode) != nil {
		s.fault(true, "mode is "+clip(string(raw)))
	} else if !ok && !globals {
		s.fault(false, "no mode, which is then affine")
	}
	q, known := bundle.ModeDefaults(mode)
	if !known {
		s.fault(true, fmt.Sprintf("mode %q", clip(mode)))
		q = bundle.Quant{Mode: mode}
	}
	s.number(all, "group_size", &q.GroupSize, globals)
	s.number(all, "bits", &q.Bits, globals)
	if !globals {
		for _, key := range slices.Sorted(maps.Keys(all)) {
			switch key {
			case "group_size", "bits", "mode", "quantize_input", "global_scale":
			default:
				s.fault(true, fmt.Sprintf("the key %q", clip(key)))
			}
		}
	}
	s.quant = q
	return s
}

// isFalse says whether Python takes a JSON value, which is no object, for false.
func isFalse(text string) bool {
	switch text {
	case "null", "false", `""`, "[]":
		return true
	}
	n, err := strconv.ParseFloat(text, 64)
	return err == nil && n == 0
}

func (s *setting) fault(fatal bool, text string) {
	s.fatal = s.fatal || fatal
	s.faults = append(s.faults, text)
}

// number reads a whole number; what is missing or null takes the default that
// is in v, but what is missing among the globals raises.
func (s *setting) number(all map[string]json.RawMessage, key string, v *int, globals bool) {
	raw, ok := all[key]
	switch text := string(raw); {
	case !ok:
		s.fault(false, fmt.Sprintf("no %s, which is then %d", key, *v))
		if s.absent = s.absent || globals; globals {
			s.faults[len(s.faults)-1] = "no " + key
		}
	case text == "null":
		s.fault(false, fmt.Sprintf("%s is null, which is then %d", key, *v))
	case json.Unmarshal(raw, v) != nil:
		s.fault(true, fmt.Sprintf("%s is %s", key, clip(text)))
	}
}

// clip shortens what a file says, for a message.
func clip(text string) string {
	if len(text) > 40 {
		return strings.ToValidUTF8(text[:40], "") + "..."
	}
	return text
}

// quantText names a setting as config.json has it: "4-bit g32 mxfp4".
func quantText(q bundle.Quant) string {
	return fmt.Sprintf("%s %d-bit g%d", q.Mode, q.Bits, q.GroupSize)
}

// upstreamMethod returns the quant_method of quantization_config, or "": MLX's
// own twin has none.
func upstreamMethod(config map[string]json.RawMessage) string {
	var twin struct {
		Method string `json:"quant_method"`
	}
	_ = json.Unmarshal(config[twinKey], &twin) // of another form: none
	return twin.Method
}

// modelConfig returns config.json without what says how it is quantized, which
// its model does not depend on.
func modelConfig(config map[string]json.RawMessage) []byte {
	rest := maps.Clone(config)
	delete(rest, quantizationKey)
	delete(rest, twinKey)
	out, err := json.Marshal(rest)
	if err != nil {
		return []byte("{}") // cannot be: these were read as JSON
	}
	return out
}
