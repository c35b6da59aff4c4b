package kernels

// LogProbsArgs is the argument struct of logsum and logprobs.
type LogProbsArgs struct {
	Vocab  uint32
	Chunks uint32
}

// logSimds is the simdgroups of the threadgroups of logsum and logprobs.
const logSimds = 8

// LogThreads and LogChunk are their threads, and the elements of a threadgroup.
const (
	LogThreads = 32 * logSimds
	LogChunk   = 256 * logSimds
)

// LogSum is the first stage of log-probabilities, LogProbs the second.
func LogSum() Instance { return Instance{"logsum", list(logSimds)} }

// LogProbs is the second stage.
func LogProbs() Instance { return Instance{"logprobs", list(logSimds)} }
