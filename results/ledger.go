package results

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/gofrs/flock"
)

// Ledger is a file of JSON lines that grows by whole records and is never
// edited. Each line is {"kind": "run" | "score" | "timing", …} with the fields
// of Run, Score or Timing; the first is the run. One process writes it at a
// time. It serves many goroutines.
type Ledger struct {
	path string
	lock *flock.Flock

	mu       sync.Mutex
	file     *os.File
	size     int64 // bytes of complete records
	contents *Contents
	broken   error // why nothing can be appended any more
}

type (
	runLine struct {
		Kind string `json:"kind"`
		Run
	}
	scoreLine struct {
		Kind string `json:"kind"`
		Score
	}
	timingLine struct {
		Kind string `json:"kind"`
		Timing
	}
)

// Open opens the ledger at path for appending, and makes it where there is none
// or an empty file; the folder must be there. It holds the file's lock until
// Close and refuses where another process does. A ledger of the same run goes
// on where it was: a last line torn by a kill is cut off, and where another
// build of assay made what is there, run is appended once more. A ledger of
// another run is refused with the differences, Made and Tool aside, and left as
// it was, and so is a file that Read refuses. It refuses a run of another
// schema than SchemaVersion.
func Open(path string, run Run) (*Ledger, error) {
	if run.Schema != SchemaVersion {
		return nil, fmt.Errorf("results: run of schema version %d, want %d", run.Schema, SchemaVersion)
	}
	if err := run.check(); err != nil {
		return nil, fmt.Errorf("results: %w", err)
	}
	if _, err := json.Marshal(run); err != nil {
		return nil, fmt.Errorf("results: run: %w", err)
	}
	lock := flock.New(path, flock.SetPermissions(0o644))
	held, err := lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("results: lock: %w", err)
	}
	if !held {
		return nil, fmt.Errorf("results: %s: another assay is writing it", path)
	}
	l := &Ledger{path: path, lock: lock}
	if err := l.open(run); err != nil {
		return nil, fmt.Errorf("%w%s", err, suffix(l.Close()))
	}
	return l, nil
}

// syncFile waits until a file's bytes are on the disk. It is a variable so that
// tests can count the waits, and go without them.
var syncFile = (*os.File).Sync

// suffix returns what to say after an error where closing failed as well.
func suffix(err error) string {
	if err == nil {
		return ""
	}
	return "; " + err.Error()
}

// open reads what is there and brings the file to the end of a record.
func (l *Ledger) open(run Run) error {
	f, err := os.OpenFile(l.path, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("results: %w", err)
	}
	l.file = f
	c, size, err := parse(l.path, f)
	if err != nil {
		return err
	}
	if c != nil {
		if diff := c.Run.differences(run); diff != "" {
			return fmt.Errorf("results: %s: made with %s", l.path, diff)
		}
	}
	if err := f.Truncate(size); err != nil {
		return fmt.Errorf("results: %w", err)
	}
	if _, err := f.Seek(size, io.SeekStart); err != nil {
		return fmt.Errorf("results: %w", err)
	}
	l.size = size
	if c != nil {
		c.Torn = false
		l.contents = c
		if l.tool() == run.Tool {
			return nil
		}
		if err := l.write(runLine{"run", run}); err != nil {
			return err
		}
		c.Later = append(c.Later, run)
		return nil
	}
	l.contents = &Contents{Run: run, scores: map[scoreKey]bool{}, timings: map[timingKey]bool{}}
	if err := l.write(runLine{"run", run}); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(l.path))
}

// tool returns what wrote the ledger's latest records.
func (l *Ledger) tool() Tool {
	if n := len(l.contents.Later); n > 0 {
		return l.contents.Later[n-1].Tool
	}
	return l.contents.Run.Tool
}

// syncFolder makes the name of a new file in dir last.
func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("results: %w", err)
	}
	defer d.Close()
	if err := syncFile(d); err != nil {
		return fmt.Errorf("results: %w", err)
	}
	return nil
}

// AppendScore records s and returns once it is on the disk. It refuses a score
// that does not fit the run and one of a variant and window recorded before.
// The ledger keeps s's slices.
func (l *Ledger) AppendScore(s Score) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.contents.checkScore(s); err != nil {
		return fmt.Errorf("results: %s: %w", l.path, err)
	}
	if err := l.write(scoreLine{"score", s}); err != nil {
		return err
	}
	return l.contents.addScore(s)
}

// AppendTiming records t and returns once it is on the disk. It refuses a
// timing that does not fit the run and a repetition of a variant recorded
// before. The ledger keeps t's slice.
func (l *Ledger) AppendTiming(t Timing) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.contents.checkTiming(t); err != nil {
		return fmt.Errorf("results: %s: %w", l.path, err)
	}
	if err := l.write(timingLine{"timing", t}); err != nil {
		return err
	}
	return l.contents.addTiming(t)
}

// HasScore says whether the variant's window is recorded.
func (l *Ledger) HasScore(variant, text string, window int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.contents.scores[scoreKey{variant, text, window}]
}

// HasTiming says whether the variant's repetition is recorded.
func (l *Ledger) HasTiming(variant string, repetition int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.contents.timings[timingKey{variant, repetition}]
}

// Contents returns what the ledger holds now. The caller must not change what
// it refers to.
func (l *Ledger) Contents() *Contents {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.contents
	return &Contents{Run: c.Run, Later: c.Later, Scores: c.Scores, Timings: c.Timings}
}

// write appends one record by one write and waits for the disk. Where that
// fails it cuts the file back to whole records and takes no more.
func (l *Ledger) write(record any) error {
	if l.broken != nil {
		return l.broken
	}
	line, err := json.Marshal(record)
	if err != nil {
		return fmt.Errorf("results: %s: %w", l.path, err)
	}
	line = append(line, '\n')
	_, err = l.file.Write(line)
	if err == nil {
		err = syncFile(l.file)
	}
	if err != nil {
		l.broken = fmt.Errorf("results: %w", err)
		if cut := l.file.Truncate(l.size); cut != nil {
			l.broken = fmt.Errorf("%w; %w", l.broken, cut)
		}
		return l.broken
	}
	l.size += int64(len(line))
	return nil
}

// Close gives the lock back. The file stays as it is.
func (l *Ledger) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var err error
	if l.file != nil {
		err = l.file.Close()
	}
	if e := l.lock.Unlock(); err == nil {
		err = e
	}
	if err != nil {
		return fmt.Errorf("results: %w", err)
	}
	if l.broken == nil {
		l.broken = fmt.Errorf("results: %s is closed", l.path)
	}
	return nil
}
