package sweep

import (
	"context"
	"fmt"

	"assay/bench"
	"assay/engine"
	"assay/engine/variant"
)

// speed times what is not recorded: every variant once a repetition, in that
// repetition's order.
func (j *Job) speed(ctx context.Context) error {
	if err := j.Speed.Check(); err != nil {
		return err
	}
	if n := len(j.SpeedTokens); n < j.Speed.Tokens() {
		return fmt.Errorf("sweep: the text of the timings has %d tokens, want %d", n, j.Speed.Tokens())
	}
	all := j.timed()
	models := &models{job: j, loaded: map[string]engine.Model{}}
	defer models.close()
	step := Step{Stage: "speed", Total: int64(j.Speed.Total() * len(all))}
	for r := range j.Speed.Total() {
		for at, i := range j.Speed.Order(r, len(all)) {
			name := all[i].Name()
			step.Done++
			if j.Recorder.HasTiming(name, r) {
				step.Skipped++
				continue
			}
			m, err := models.get(ctx, i)
			if err != nil {
				return err
			}
			sample, err := bench.Once(ctx, m, *j.Speed, j.SpeedTokens)
			if err != nil {
				return err
			}
			sample.Variant, sample.Repetition, sample.Order = name, r, at
			if err := j.Recorder.AppendTiming(sample); err != nil {
				return err
			}
			step.Variant, step.Detail = name, fmt.Sprintf("repetition %d of %d", r+1, j.Speed.Total())
			j.report(step)
		}
	}
	return nil
}

// models keeps variants loaded between repetitions as long as they take no more
// than half of what the device had free; others are loaded each time.
type models struct {
	job    *Job
	loaded map[string]engine.Model
	bytes  int64
	room   int64
	last   engine.Model // loaded for one repetition only
}

func (m *models) get(ctx context.Context, i int) (engine.Model, error) {
	v := m.job.timed()[i]
	if got := m.loaded[v.Name()]; got != nil {
		return got, nil
	}
	if m.room == 0 {
		m.room = m.job.Backend.Device().Memory / 2
	}
	if m.last != nil {
		m.last.Close()
		m.last = nil
	}
	if m.bytes+variant.Sum(v.Plan()).BytesMain > 2*m.room-m.room/4 { // what is kept leaves no place for it
		m.drop()
	}
	got, err := m.job.Backend.Load(ctx, v, m.job.Speed.Tokens())
	if err != nil {
		return nil, err
	}
	if m.bytes+got.Bytes() > m.room {
		m.last = got
		return got, nil
	}
	m.bytes += got.Bytes()
	m.loaded[v.Name()] = got
	return got, nil
}

// drop gives back what is kept.
func (m *models) drop() {
	for _, x := range m.loaded {
		x.Close()
	}
	clear(m.loaded)
	m.bytes = 0
}

func (m *models) close() {
	m.drop()
	if m.last != nil {
		m.last.Close()
	}
}
