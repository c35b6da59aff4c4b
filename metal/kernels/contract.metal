// The kernels of the model, in Metal Shading Language 3.1 and the macros of
// metal/msl. Common to all: row-major arrays; a threadgroup of one dimension; the
// argument struct is the last buffer; sums in float; what a kernel may touch is
// what its dispatch declares.
