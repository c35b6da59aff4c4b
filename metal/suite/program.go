package suite

import (
	"maps"
	"math/rand/v2"
	"slices"

	"assay/metal"
	"assay/metal/host"
	"assay/metal/host/dry"
	"assay/metal/kernels"
)

// Program is all kernels that cases ask for in a backend's mode, as one program:
// what a device compiles at once and side by side, instead of case by case. It
// runs the cases on a device that does nothing.
func Program(cases []Case, mode metal.Options) (host.Program, error) {
	m, err := metal.New(dry.New(), mode)
	if err != nil {
		return host.Program{}, err
	}
	seen := map[string]kernels.Instance{}
	for _, c := range cases {
		if !c.Defined(m) {
			continue
		}
		b := &Bench{
			Config: c.Config, Rand: rand.New(rand.NewPCG(hash(c.Name), 7)),
			Activations: mode.Activations, KVSim: mode.Model.KVSim, Unit: units[mode.Activations],
		}
		if b.Metal, err = m.Ops(c.Config); err != nil {
			continue // sizes that the backend refuses ask for no kernel: Run says so
		}
		if b.CPU, err = m.Ops(c.Config); err != nil {
			return host.Program{}, err
		}
		c.Run(b) // what it says of results does not count: both sides are zeros
		maps.Copy(seen, metal.Asked(b.Metal))
		m.Release(b.Metal)
		m.Release(b.CPU)
	}
	var all []kernels.Instance
	for _, name := range slices.Sorted(maps.Keys(seen)) {
		all = append(all, seen[name])
	}
	return kernels.Program(all), nil
}
