module assay

go 1.26.8

require github.com/daulet/tokenizers v1.22.2 // indirect
