package kernels

// CopyArgs is the argument struct of copy_words.
type CopyArgs struct{ N uint64 }

// Copy is the kernel that copies.
func Copy() Instance { return Instance{Function: "copy_words"} }
