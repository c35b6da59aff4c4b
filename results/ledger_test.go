package results

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
)

// open opens a ledger that the test closes.
func open(t *testing.T, path string, run Run) *Ledger {
	t.Helper()
	l, err := Open(path, run)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// step is one record of the sweep that these tests make.
type step struct {
	score  *Score
	timing *Timing
}

// steps returns the sweep of run: two variants' scores and some timings.
func steps() []step {
	var all []step
	for _, v := range []string{"bf16", "q4"} {
		for _, text := range []string{"prose", "code"} {
			for w := range 2 {
				kl := float32(0)
				if v == "q4" {
					kl = 0.25
				}
				s := madeScore(v, text, w, kl)
				all = append(all, step{score: &s})
			}
		}
	}
	for r := range 3 {
		for _, v := range []string{"q4", "bf16"} {
			x := madeTiming(v, r, 0.5, 0.25, 0.25)
			all = append(all, step{timing: &x})
		}
	}
	return all
}

// sweep appends what l lacks, as a sweep that goes on does, and returns how
// many records that was.
func sweep(t *testing.T, l *Ledger) int {
	t.Helper()
	n := 0
	for _, s := range steps() {
		var err error
		switch {
		case s.score != nil && !l.HasScore(s.score.Variant, s.score.Text, s.score.Window):
			err = l.AppendScore(*s.score)
		case s.timing != nil && !l.HasTiming(s.timing.Variant, s.timing.Repetition):
			err = l.AppendTiming(*s.timing)
		default:
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	return n
}

// countSyncs counts waits for the disk in place of waiting, until the test ends.
func countSyncs(t *testing.T) *int {
	n, before := 0, syncFile
	syncFile = func(*os.File) error { n++; return nil }
	t.Cleanup(func() { syncFile = before })
	return &n
}

// madeFile returns the bytes of a finished ledger.
func madeFile(t testing.TB, sweep func(*Ledger)) []byte {
	path := filepath.Join(t.TempDir(), "ledger.jsonl")
	l, err := Open(path, madeRun([]string{"q4"}, 300))
	if err != nil {
		t.Fatal(err)
	}
	sweep(l)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestLedgerRoundTrip(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.jsonl")
	run := madeRun([]string{"q4"}, 300)
	l := open(t, path, run)
	if n := sweep(t, l); n != len(steps()) {
		t.Errorf("%d records appended, want %d", n, len(steps()))
	}
	c, err := Read(path) // while it is open
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(c.Run, run) || c.Later != nil || c.Torn {
		t.Errorf("run %+v, want %+v", c.Run, run)
	}
	for _, s := range steps() {
		if s.score != nil {
			if !reflect.DeepEqual(c.Scores[0], *s.score) {
				t.Errorf("%+v, want %+v", c.Scores[0], *s.score)
			}
			c.Scores = c.Scores[1:]
		} else {
			if !reflect.DeepEqual(c.Timings[0], *s.timing) {
				t.Errorf("%+v, want %+v", c.Timings[0], *s.timing)
			}
			c.Timings = c.Timings[1:]
		}
	}
	if len(c.Scores)+len(c.Timings) > 0 {
		t.Errorf("%d records too many", len(c.Scores)+len(c.Timings))
	}
}

func TestLedgerLines(t *testing.T) {
	data := madeFile(t, func(l *Ledger) { sweep(t, l) })
	lines := strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
	if len(lines) != 1+len(steps()) {
		t.Fatalf("%d lines, want %d", len(lines), 1+len(steps()))
	}
	for i, prefix := range map[int]string{0: runStart + "2,", 1: `{"kind":"score","variant":"bf16",`, 9: `{"kind":"timing","variant":"q4","repetition":0,`} {
		if !strings.HasPrefix(lines[i], prefix) {
			t.Errorf("line %d is %s, want %s…", i+1, lines[i], prefix)
		}
	}
}

// A sweep killed at any byte goes on and ends in the same bytes: nothing is
// counted twice, and every complete record is kept. Tried are every byte of the
// first two lines and the last two, and every line end between.
func TestLedgerKilledAnywhere(t *testing.T) {
	whole := madeFile(t, func(l *Ledger) { sweep(t, l) })
	countSyncs(t)
	path := filepath.Join(t.TempDir(), "ledger.jsonl")
	run := madeRun([]string{"q4"}, 300)
	lines := bytes.Count(whole, []byte("\n"))
	for n := range whole {
		complete := bytes.Count(whole[:n], []byte("\n"))
		if complete >= 2 && complete < lines-2 && whole[n-1] != '\n' {
			continue
		}
		if err := os.WriteFile(path, whole[:n], 0o644); err != nil {
			t.Fatal(err)
		}
		if c, err := Read(path); complete > 0 {
			if err != nil || len(c.Scores)+len(c.Timings) != complete-1 || c.Torn != (whole[n-1] != '\n') {
				t.Fatalf("killed at byte %d: %d scores and %d timings read of %d, %v", n, len(c.Scores), len(c.Timings), complete-1, err)
			}
		} else if err == nil {
			t.Fatalf("killed at byte %d: a run was read", n)
		}
		l, err := Open(path, run)
		if err != nil {
			t.Fatalf("killed at byte %d: %v", n, err)
		}
		if got, want := sweep(t, l), len(steps())-max(complete-1, 0); got != want {
			t.Fatalf("killed at byte %d: %d records appended, want %d", n, got, want)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(got, whole) {
			t.Fatalf("killed at byte %d: the ledger differs from an undisturbed one, %v", n, err)
		}
	}
}

// Every record is waited for, and so is the new file's name.
func TestLedgerWaitsForTheDisk(t *testing.T) {
	syncs := countSyncs(t)
	l := open(t, filepath.Join(t.TempDir(), "ledger.jsonl"), madeRun([]string{"q4"}, 300))
	if *syncs != 2 {
		t.Errorf("%d waits for a new ledger, want 2", *syncs)
	}
	if n := sweep(t, l); *syncs != 2+n {
		t.Errorf("%d waits for %d records, want one each", *syncs-2, n)
	}
}

func TestLedgerRefusesTwice(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.jsonl")
	l := open(t, path, madeRun([]string{"q4"}, 300))
	sweep(t, l)
	before, _ := os.ReadFile(path)
	err := l.AppendScore(madeScore("q4", "code", 1, 0.5))
	if want := "results: " + path + `: score of q4, window 1 of "code": recorded already`; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	err = l.AppendTiming(madeTiming("q4", 2, 1, 1, 1))
	if want := "results: " + path + `: timing of q4, repetition 2: recorded already`; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
		t.Error("the file has changed")
	}
}

func TestLedgerRefusesWhatDoesNotFit(t *testing.T) {
	run := madeRun([]string{"q4"}, 300)
	l := open(t, filepath.Join(t.TempDir(), "ledger.jsonl"), run)
	short := madeScore("q4", "prose", 0, 0)
	short.Top1 = short.Top1[:1]
	for want, s := range map[string]Score{
		"no such variant":       madeScore("q5", "prose", 0, 0),
		"no such text":          madeScore("q4", "chinese", 0, 0),
		"scores windows 0 to 1": madeScore("q4", "prose", 2, 0),
		"windows 0 to 1":        madeScore("q4", "prose", -1, 0),
		"2 NLL, 2 KL and 1 top": short,
		"0 tokens":              {Variant: "q4", Text: "prose"},
	} {
		if err := l.AppendScore(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	for want, x := range map[string]Timing{
		"no such variant":         madeTiming("q5", 0, 1, 1, 1),
		"has repetitions 0 to 3":  madeTiming("q4", 4, 1, 1, 1),
		"1 decode times, want 2":  madeTiming("q4", 0, 1, 1),
		"a time of 0 seconds":     madeTiming("q4", 0, 0, 1, 1),
		"a time of -0.25 seconds": madeTiming("q4", 0, 1, 1, -0.25),
	} {
		if err := l.AppendTiming(x); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	run.Speed = nil
	l = open(t, filepath.Join(t.TempDir(), "ledger.jsonl"), run)
	if err := l.AppendTiming(madeTiming("q4", 0, 1, 1, 1)); err == nil || !strings.Contains(err.Error(), "the run times nothing") {
		t.Error(err)
	}
}

// Another run is refused with the differences, and the file is left as it was.
func TestLedgerRefusesAnotherRun(t *testing.T) {
	for want, change := range map[string]func(*Run){
		`protocol.window 512, want 1024`:                          func(r *Run) { r.Protocol.Window = 1024 },
		`model.digest m1, want m2; protocol.bos false, want true`: func(r *Run) { r.Model.Digest, r.Protocol.BOS = "m2", true },
		`texts[code].digest t2, want ""`:                          func(r *Run) { r.Texts[1].Digest = "" },
		`texts prose code, want code prose`:                       func(r *Run) { slices.Reverse(r.Texts) },
		`variants bf16 q4, want bf16 q4 q3`:                       func(r *Run) { r.Variants = append(r.Variants, Variant{Name: "q3"}) },
		`variants[q4].rule mlx-gpu, want mlx-cpu`:                 func(r *Run) { r.Variants[1].Encoder = "mlx-cpu" },
		`engine.threads 2, want 1`:                                func(r *Run) { r.Engine.Threads = 1 },
		`machine.cpu made, want other`:                            func(r *Run) { r.Machine.CPU = "other" },
		`model.cache_bytes.131072 none, want 1`:                   func(r *Run) { r.Model.CacheBytes["131072"] = 1 },
		`speed {"decode_tokens":2,"discarded":1,"prefill_tokens":100,"repetitions":3,"seed":7}, want none`: func(r *Run) {
			r.Speed = nil
		},
	} {
		path := filepath.Join(t.TempDir(), "ledger.jsonl")
		l := open(t, path, madeRun([]string{"q4"}, 300))
		sweep(t, l)
		l.Close()
		torn := appendTo(t, path, `{"kind":"sco`)
		run := madeRun([]string{"q4"}, 300)
		change(&run)
		_, err := Open(path, run)
		if full := "results: " + path + ": made with " + want; err == nil || err.Error() != full {
			t.Errorf("%v, want %s", err, full)
		}
		if after, _ := os.ReadFile(path); !bytes.Equal(torn, after) {
			t.Errorf("%s: the file has changed", want)
		}
		if l, err := Open(path, madeRun([]string{"q4"}, 300)); err != nil {
			t.Errorf("%s: a refusal keeps the lock: %v", want, err)
		} else {
			l.Close()
		}
	}
}

// What changes no figure does not keep a run from going on.
func TestLedgerGoesOnElsewhere(t *testing.T) {
	for what, change := range map[string]func(*Run){
		"a renamed folder":      func(r *Run) { r.Model.Name = "renamed" },
		"another kernel's view": func(r *Run) { r.Machine.Memory++ },
		"threads, untimed":      func(r *Run) { r.Engine.Threads, r.Machine.Cores = 9, 9 },
	} {
		path := filepath.Join(t.TempDir(), "ledger.jsonl")
		run := madeRun([]string{"q4"}, 300)
		run.Speed = nil
		open(t, path, run).Close()
		change(&run)
		l, err := Open(path, run)
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		l.Close()
	}
}

// appendTo adds text to a file and returns what it holds then.
func appendTo(t *testing.T, path, text string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err == nil {
		data = append(data, text...)
		err = os.WriteFile(path, data, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestLedgerCountsManyDifferences(t *testing.T) {
	a, b := madeRun([]string{"q4"}, 300), madeRun([]string{"q4"}, 300)
	b.Machine, b.Engine = Machine{}, Engine{}
	d := a.differences(b)
	if !strings.HasSuffix(d, "; and 3 more") || strings.Count(d, ", want ") != maxDifferences {
		t.Error(d)
	}
}

// Another build of assay goes on, and the ledger says from where on.
func TestLedgerTakenUpByAnotherBuild(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.jsonl")
	run := madeRun([]string{"q4"}, 300)
	l := open(t, path, run)
	if err := l.AppendScore(madeScore("bf16", "prose", 0, 0)); err != nil {
		t.Fatal(err)
	}
	l.Close()
	later := madeRun([]string{"q4"}, 300)
	later.Tool.Commit, later.Made = "def", noon.AddDate(0, 0, 1)
	for range 2 { // the second time it is the latest build already
		l := open(t, path, later)
		l.Close()
	}
	c, err := Read(path)
	if err != nil || !reflect.DeepEqual(c.Run, run) || len(c.Later) != 1 || !reflect.DeepEqual(c.Later[0], later) || len(c.Scores) != 1 {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestLedgerOneWriter(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.jsonl")
	run := madeRun([]string{"q4"}, 300)
	l := open(t, path, run)
	_, err := Open(path, run)
	if want := "results: " + path + ": another assay is writing it"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	if err := l.AppendScore(madeScore("bf16", "prose", 0, 0)); err != nil {
		t.Error(err)
	}
	l.Close()
	if err := l.AppendScore(madeScore("bf16", "prose", 1, 0)); err == nil || !strings.Contains(err.Error(), "is closed") {
		t.Errorf("%v, want: is closed", err)
	}
	if l.HasScore("bf16", "prose", 1) {
		t.Error("what was refused is there")
	}
}

// The lock of a writer that was killed is free, and its torn line goes.
func TestLedgerWriterKilled(t *testing.T) {
	path := os.Getenv("ASSAY_TEST_LEDGER")
	run := madeRun([]string{"q4"}, 300)
	if path != "" { // the writer: a process of its own, which kills itself
		l, err := Open(path, run)
		if err != nil {
			t.Fatal(err)
		}
		sweep(t, l)
		if _, err := l.file.Write([]byte(`{"kind":"score","vari`)); err != nil {
			t.Fatal(err)
		}
		p, _ := os.FindProcess(os.Getpid())
		p.Kill()
		select {}
	}
	path = filepath.Join(t.TempDir(), "ledger.jsonl")
	cmd := exec.Command(os.Args[0], "-test.run=^TestLedgerWriterKilled$")
	cmd.Env = append(os.Environ(), "ASSAY_TEST_LEDGER="+path)
	var exit *exec.ExitError
	if out, err := cmd.CombinedOutput(); !errors.As(err, &exit) || exit.Exited() {
		t.Fatalf("%v: %s", err, out)
	}
	l := open(t, path, run)
	if n := sweep(t, l); n != 0 {
		t.Errorf("%d records were lost", n)
	}
	l.Close()
	got, _ := os.ReadFile(path)
	if !bytes.Equal(got, madeFile(t, func(l *Ledger) { sweep(t, l) })) {
		t.Error("the ledger differs from an undisturbed one")
	}
}

func TestLedgerConcurrentAppends(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.jsonl")
	l := open(t, path, madeRun([]string{"q4"}, 300))
	var wg sync.WaitGroup
	for range 4 {
		for _, s := range steps() {
			if s.score != nil {
				wg.Go(func() { l.AppendScore(*s.score) }) // three of four are refused
			}
		}
	}
	wg.Wait()
	if c, err := Read(path); err != nil || len(c.Scores) != 8 || len(l.Contents().Scores) != 8 {
		t.Errorf("%v", err)
	}
}

// A disk that takes no more leaves whole records, and later appends are refused.
func TestLedgerDiskFull(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.jsonl")
	l := open(t, path, madeRun([]string{"q4"}, 300))
	before, _ := os.ReadFile(path)
	countSyncs(t) // restores syncFile
	syncFile = func(*os.File) error { return errors.New("no space left") }
	err := l.AppendScore(madeScore("bf16", "prose", 0, 0))
	syncFile = func(*os.File) error { return nil }
	again := l.AppendScore(madeScore("bf16", "prose", 1, 0))
	if err == nil || err.Error() != "results: no space left" || again != err {
		t.Errorf("%v, then %v", err, again)
	}
	after, _ := os.ReadFile(path)
	if !bytes.Equal(before, after) || l.HasScore("bf16", "prose", 0) {
		t.Error("what was not written is there")
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	foreign := filepath.Join(dir, "notes.txt")
	for _, text := range []string{"notes without a line end", "notes\n", "{}\n", `{"kind":"score"}` + "\n"} {
		if err := os.WriteFile(foreign, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(foreign, madeRun(nil)); err == nil || !strings.HasPrefix(err.Error(), "results: "+foreign+":1: ") {
			t.Errorf("%q: %v", text, err)
		}
		if after, _ := os.ReadFile(foreign); string(after) != text {
			t.Errorf("%q was changed to %q", text, after)
		}
	}
	for want, change := range map[string]func(*Run){
		"schema version 1, want 2":                             func(r *Run) { r.Schema = 1 },
		"0 variants and 2 texts":                               func(r *Run) { r.Variants = nil },
		`first variant is "bf16", want the reference "native"`: func(r *Run) { r.Protocol.Reference = "native" },
		`a variant named "q 4"`:                                func(r *Run) { r.Variants[1].Name = "q 4" },
		`a variant named "bf16"`:                               func(r *Run) { r.Variants[1].Name = "bf16" },
		`a text named "prose"`:                                 func(r *Run) { r.Texts[1].Name = "prose" },
		`a text named "\xff"`:                                  func(r *Run) { r.Texts[1].Name = "\xff" },
		`scores 0 windows of text "code"`:                      func(r *Run) { r.Texts[1].Count = 0 },
		"times 0 repetitions after 1":                          func(r *Run) { r.Speed.Repetitions = 0 },
	} {
		run := madeRun([]string{"q4"}, 300)
		change(&run)
		path := filepath.Join(dir, "none.jsonl")
		if _, err := Open(path, run); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
		if _, err := os.Stat(path); err == nil {
			t.Errorf("%s: a file was made", want)
		}
	}
	if _, err := Open(filepath.Join(dir, "none", "ledger.jsonl"), madeRun(nil)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}
