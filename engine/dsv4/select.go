package dsv4

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json/jsontext"
)

// Select returns the config.json of the model that has only the given main
// layers of config's, in their order, renumbered from 0, and no MTP block. It
// sets num_hidden_layers, compress_ratios, num_hash_layers and
// num_nextn_predict_layers; all other fields, and the order of all, stay. Of
// V4-Flash's layers 0, 2, 3 and 42 the ratios are 0, 4, 128, 4, and two route
// by token id.
//
// It errs on a config that ParseConfig refuses or that says per layer what
// Select doesn't know, and on layers that the model doesn't have or that do
// not ascend; no layer that routes by score may come before one that routes by
// token id, since a config has only a count of those.
func Select(config []byte, layers []int) ([]byte, error) {
	c, err := ParseConfig(config)
	if err != nil {
		return nil, err
	}
	if err := c.checkLayers(layers); err != nil {
		return nil, err
	}
	ratios, hashed := []int{}, 0
	for _, l := range layers {
		ratios = append(ratios, c.Ratio(l))
		if c.Hash(l) {
			hashed++
		}
	}
	out, err := replaceMembers(config, map[string]any{
		"num_hidden_layers": len(layers), "compress_ratios": ratios,
		"num_hash_layers": hashed, "num_nextn_predict_layers": 0,
	})
	if err != nil {
		return nil, fmt.Errorf("dsv4: config.json: %w", err)
	}
	if _, err := ParseConfig(out); err != nil {
		return nil, err
	}
	return out, nil
}

// checkLayers errs unless a config can describe the model of these layers.
func (c *Config) checkLayers(layers []int) error {
	if len(layers) == 0 {
		return errors.New("dsv4: no layers are selected")
	}
	for i, l := range layers {
		if l < 0 || l >= c.NumHiddenLayers {
			return fmt.Errorf("dsv4: layer %d is selected, want 0 to %d", l, c.NumHiddenLayers-1)
		}
		if i == 0 {
			continue
		}
		switch before := layers[i-1]; {
		case l == before:
			return fmt.Errorf("dsv4: layer %d is selected twice", l)
		case c.Hash(l) && !c.Hash(before):
			return fmt.Errorf("dsv4: layer %d, which routes by score, is selected before layer %d, which routes by token id: no config can say so", before, l)
		case l < before:
			return fmt.Errorf("dsv4: layer %d is selected before layer %d: the order must be the model's", before, l)
		}
	}
	return nil
}

// replaceMembers returns a JSON object with the values of some of its members
// replaced, indented by two spaces. Members that are not there are not added.
func replaceMembers(object []byte, values map[string]any) ([]byte, error) {
	in := jsontext.NewDecoder(bytes.NewBuffer(object))
	var buf bytes.Buffer
	out := jsontext.NewEncoder(&buf, jsontext.WithIndent("  "))
	brace, err := in.ReadToken()
	if err == nil {
		err = out.WriteToken(brace)
	}
	for err == nil && in.PeekKind() != '}' {
		err = copyMember(out, in, values)
	}
	if err == nil {
		err = out.WriteToken(jsontext.EndObject)
	}
	return buf.Bytes(), err
}

func copyMember(out *jsontext.Encoder, in *jsontext.Decoder, values map[string]any) error {
	token, err := in.ReadToken()
	if err != nil {
		return err
	}
	name := token.String() // the token is gone with the next read
	value, err := in.ReadValue()
	if err != nil {
		return err
	}
	switch name {
	case "layer_types", "mlp_layer_types":
		return fmt.Errorf("%s names every layer: layers cannot be selected from it", name)
	}
	if v, ok := values[name]; ok {
		if value, err = json.Marshal(v); err != nil {
			return err
		}
	}
	if err := out.WriteToken(jsontext.String(name)); err != nil {
		return err
	}
	return out.WriteValue(value)
}
