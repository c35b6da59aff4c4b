package kernels

// EmbedArgs is the argument struct of embed.
type EmbedArgs struct {
	Rows    uint32
	Cols    uint32
	Streams uint32
	First   uint32
	Vocab   uint32
	Pad     uint32
}

// EmbedWeights is how many weights a thread of embed decodes.
const EmbedWeights = 16

// Embed decodes rows of a matrix by token.
func Embed(f Format) Instance { return Instance{"embed", f.Args()} }
