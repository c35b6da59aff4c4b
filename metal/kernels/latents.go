package kernels

// LatentsArgs is latents' argument struct.
type LatentsArgs struct {
	Rank, Dim, HalfRope, First uint32
	NormEps                    float32
	Pad                        uint32
}

// LatentsThreads is the threads of latents.
const LatentsThreads = 256

// Latents returns the kernel that norms both latents, and rounds keys where sim
// says so.
func Latents(sim bool) Instance { return Instance{"latents", []string{flag(sim)}} }

// flag is a template argument of 0 or 1.
func flag(on bool) string {
	if on {
		return "1"
	}
	return "0"
}
