package checkpointtest

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/nlpodyssey/safetensors"

	"assay/engine/checkpoint"
	"assay/engine/tensor"
)

// Write makes a checkpoint folder for params: config.json, and seeded weights
// in shards files as Files cuts them. The folder must exist.
func Write(dir string, config []byte, params []tensor.Param, seed uint64, shards int) error {
	tensors, err := Tensors(params, seed)
	if err != nil {
		return err
	}
	return WriteTensors(dir, config, tensors, shards)
}

// WriteTensors writes what Files returns to a folder that exists.
func WriteTensors(dir string, config []byte, tensors []tensor.Tensor, shards int) error {
	files, err := Files(config, tensors, shards)
	if err != nil {
		return err
	}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			return fmt.Errorf("checkpointtest: %w", err)
		}
	}
	return nil
}

// Checkpoint opens tensors and a config from memory.
func Checkpoint(config []byte, tensors []tensor.Tensor) (*checkpoint.Checkpoint, error) {
	files, err := Files(config, tensors, 1)
	if err != nil {
		return nil, err
	}
	return checkpoint.New(files)
}

// Files returns the files of a checkpoint by name. Tensors are dealt to shards
// in turn, so that a weight and its scale lie in different files where there
// are several; one shard is written as model.safetensors, without an index.
func Files(config []byte, tensors []tensor.Tensor, shards int) (map[string][]byte, error) {
	files := map[string][]byte{"config.json": config}
	if shards == 1 {
		file, err := File(tensors)
		files["model.safetensors"] = file
		return files, err
	}
	x := newIndex()
	for i := range shards {
		var part []tensor.Tensor
		for k := i; k < len(tensors); k += shards {
			part = append(part, tensors[k])
			x.add(tensors[k].Info, shardName(i, shards))
		}
		file, err := File(part)
		if err != nil {
			return nil, err
		}
		files[shardName(i, shards)] = file
	}
	files["model.safetensors.index.json"] = x.json()
	return files, nil
}

// WriteSparse makes a checkpoint folder with all headers, of which the weights
// are holes: they read as zeros and take no space where the file system can do
// that. It is for the headers of a model of full size. Tensors are dealt to the
// shards in runs, as a release has them.
func WriteSparse(dir string, config []byte, infos []tensor.Info, shards int) error {
	x := newIndex()
	for i := range shards {
		part := infos[i*len(infos)/shards : (i+1)*len(infos)/shards]
		size := int64(0)
		for _, info := range part {
			x.add(info, shardName(i, shards))
			size += info.Bytes()
		}
		path, head := filepath.Join(dir, shardName(i, shards)), header(part)
		if err := os.WriteFile(path, head, 0o644); err != nil {
			return fmt.Errorf("checkpointtest: %w", err)
		}
		if err := os.Truncate(path, int64(len(head))+size); err != nil {
			return fmt.Errorf("checkpointtest: %w", err)
		}
	}
	for name, data := range map[string][]byte{"config.json": config, "model.safetensors.index.json": x.json()} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			return fmt.Errorf("checkpointtest: %w", err)
		}
	}
	return nil
}

func shardName(i, shards int) string {
	return fmt.Sprintf("model-%05d-of-%05d.safetensors", i+1, shards)
}

// index is the JSON of model.safetensors.index.json.
type index struct {
	Metadata  map[string]int64  `json:"metadata"`
	WeightMap map[string]string `json:"weight_map"`
}

func newIndex() index { return index{map[string]int64{"total_size": 0}, map[string]string{}} }

func (x index) add(info tensor.Info, shard string) {
	x.Metadata["total_size"] += info.Bytes()
	x.WeightMap[info.Name] = shard
}

func (x index) json() []byte {
	data, err := json.MarshalIndent(x, "", "  ")
	if err != nil {
		panic(err)
	}
	return data
}

// File returns one safetensors file. Where nlpodyssey/safetensors knows all
// dtypes it is the writer, so that the reader under test did not write its own
// input; FP8 it doesn't know.
func File(tensors []tensor.Tensor) ([]byte, error) {
	views := map[string]safetensors.View{}
	for _, t := range tensors {
		dtype, err := safetensors.ParseDType(string(t.DType))
		if err != nil {
			return fileWithFP8(tensors), nil
		}
		if _, twice := views[t.Name]; twice {
			return nil, fmt.Errorf("checkpointtest: tensor %q is there twice", t.Name)
		}
		views[t.Name] = view{t, dtype}
	}
	return safetensors.Serialize(views, map[string]string{"format": "pt"})
}

// view is a tensor as nlpodyssey/safetensors writes it.
type view struct {
	tensor.Tensor
	dtype safetensors.DType
}

func (v view) DType() safetensors.DType { return v.dtype }
func (v view) Data() []byte             { return v.Tensor.Data }
func (v view) DataLen() uint64          { return uint64(len(v.Tensor.Data)) }

func (v view) Shape() []uint64 {
	out := make([]uint64, len(v.Tensor.Shape))
	for i, d := range v.Tensor.Shape {
		out[i] = uint64(d)
	}
	return out
}

func fileWithFP8(tensors []tensor.Tensor) []byte {
	sorted := slices.Clone(tensors)
	slices.SortStableFunc(sorted, func(a, b tensor.Tensor) int {
		return cmp.Or(cmp.Compare(b.DType.Size(), a.DType.Size()), cmp.Compare(a.Name, b.Name))
	})
	var infos []tensor.Info
	for _, t := range sorted {
		infos = append(infos, t.Info)
	}
	out := header(infos)
	for _, t := range sorted {
		out = append(out, t.Data...)
	}
	return out
}

// header returns the first bytes of a file whose data are those of infos in
// order.
func header(infos []tensor.Info) []byte {
	var b bytes.Buffer
	b.WriteString(`{"__metadata__":{"format":"pt"}`)
	at := int64(0)
	for _, info := range infos {
		name, _ := json.Marshal(info.Name) // of a string: no error
		shape, _ := json.Marshal(append([]int{}, info.Shape...))
		fmt.Fprintf(&b, `,%s:{"dtype":%q,"shape":%s,"data_offsets":[%d,%d]}`, name, info.DType, shape, at, at+info.Bytes())
		at += info.Bytes()
	}
	b.WriteByte('}')
	for b.Len()%8 != 0 {
		b.WriteByte(' ')
	}
	return Raw(b.String(), nil)
}

// Raw returns a file of any header text and any data, for what no writer would
// write.
func Raw(header string, data []byte) []byte {
	out := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	out = append(out, header...)
	return append(out, data...)
}
