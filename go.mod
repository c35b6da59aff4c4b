module assay

go 1.26.8

require (
	github.com/daulet/tokenizers v1.22.2
	github.com/go-json-experiment/json v1.27.2
	github.com/gofrs/flock v0.13.2 // indirect
	github.com/nlpodyssey/safetensors v0.0.0-20250209183917-bfb01cc25f7c
	golang.org/x/sys v0.49.0
	gonum.org/v1/gonum v0.17.0 // indirect
)
