package metal

// MacGB is the memory sizes of Macs that plans and verdicts speak of, in GiB as
// Apple sells them ("128 GB").
var MacGB = []int{64, 96, 128, 192, 256, 512}

const gib = 1 << 30

// Default GPU share of memory: as reported, not measured here. macOS lets the
// GPU keep about three quarters of a large machine's memory resident
// (recommendedMaxWorkingSetSize; gpustack/gpustack issue 1375). Later systems
// are reported to give more, 107.52 GiB of 128 (antirez/ds4 pull request 893),
// so this is the careful figure.
const (
	wiredNumerator   = 3
	wiredDenominator = 4
)

// SystemReserve is what a user who raises the limit (sysctl iogpu.wired_limit_mb)
// should leave to the system: as reported, 6 GB of 64 was taken by macOS itself
// (jundot/omlx issue 1533); 8 GiB leaves a little more.
const SystemReserve = 8 * gib

// DefaultLimit returns the bytes that the GPU of a Mac with gb GiB may keep
// resident without any setting.
func DefaultLimit(gb int) int64 { return int64(gb) * gib * wiredNumerator / wiredDenominator }

// RaisedLimit returns the bytes that it may keep with the limit raised as far
// as is sensible.
func RaisedLimit(gb int) int64 { return int64(gb)*gib - SystemReserve }
