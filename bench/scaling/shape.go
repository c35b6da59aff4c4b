package scaling

import (
	"encoding/json"
	"fmt"

	"assay/engine/dsv4"
)

// Shape returns the config.json of a model like config's with so many layers and
// routed experts in each. Its compress_ratios are the model's from the first on,
// again and again; the experts of a token, and the layers that route by token
// id, stay as far as there are so many.
func Shape(config []byte, layers, experts int) ([]byte, error) {
	c, err := dsv4.ParseConfig(config)
	if err != nil {
		return nil, err
	}
	if layers < 1 {
		return nil, fmt.Errorf("scaling: a model of %d layers", layers)
	}
	members := map[string]json.RawMessage{}
	if err := json.Unmarshal(config, &members); err != nil {
		return nil, fmt.Errorf("scaling: config.json: %w", err)
	}
	ratios := make([]int, layers)
	for i := range ratios {
		ratios[i] = c.Ratio(i % c.NumHiddenLayers)
	}
	for name, v := range map[string]any{
		"num_hidden_layers": layers, "compress_ratios": ratios, "n_routed_experts": experts,
		"num_hash_layers": min(c.NumHashLayers, layers), "num_nextn_predict_layers": 0,
	} {
		if members[name], err = json.Marshal(v); err != nil {
			return nil, err
		}
	}
	out, err := json.MarshalIndent(members, "", "  ")
	if err != nil {
		return nil, err
	}
	_, err = dsv4.ParseConfig(out)
	return out, err
}
