package datasets

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
)

// part is the file of an unfinished download, which one process has at a time.
// Beside it, <path>.tag has the address that it came from and the entity tag
// that this gave it.
type part struct {
	f    *os.File
	path string
	size int64 // bytes it has
}

// openPart opens or makes the part at path. It errs while another process has it.
func openPart(path string) (*part, error) {
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
		if err != nil {
			return nil, fmt.Errorf("datasets: %w", err)
		}
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if errors.Is(err, syscall.EWOULDBLOCK) {
			f.Close()
			return nil, fmt.Errorf("datasets: %s: another process is at it", path)
		}
		if err != nil {
			f.Close()
			return nil, fmt.Errorf("datasets: %s: lock: %w", path, err)
		}
		mine, err := f.Stat()
		if err != nil {
			f.Close()
			return nil, fmt.Errorf("datasets: %w", err)
		}
		// Between open and lock its last holder may have renamed or removed it.
		if now, err := os.Stat(path); err == nil && os.SameFile(mine, now) {
			return &part{f: f, path: path, size: mine.Size()}, nil
		}
		f.Close()
	}
}

// close lets others have the part.
func (p *part) close() { p.f.Close() }

// append adds b to the part.
func (p *part) append(b []byte) error {
	n, err := p.f.WriteAt(b, p.size)
	p.size += int64(n)
	if err != nil {
		return fmt.Errorf("datasets: %w", err)
	}
	return nil
}

// reset empties the part and notes the tag of what is to come: a tagLine.
func (p *part) reset(tag string) error {
	err := errors.Join(p.f.Truncate(0), p.removeTag())
	if err == nil && tag != "" {
		err = os.WriteFile(p.path+".tag", []byte(tag), 0o644)
	}
	if err != nil {
		return fmt.Errorf("datasets: %w", err)
	}
	p.size = 0
	return nil
}

// tagLine is how a tag is kept: "" unless it is a strong one, since no other may
// stand in If-Range (RFC 9110, section 13.1.5).
func tagLine(url, etag string) string {
	if !strings.HasPrefix(etag, `"`) {
		return ""
	}
	return url + "\n" + etag
}

// tag returns the entity tag that the address gave to what the part has, or "".
func (p *part) tag(url string) string {
	line, err := os.ReadFile(p.path + ".tag")
	if err != nil {
		return ""
	}
	from, etag, _ := strings.Cut(string(line), "\n")
	if from != url || strings.ContainsAny(etag, "\r\n") {
		return ""
	}
	return etag
}

// sum returns the SHA-256 of the part, as it lies on the disk.
func (p *part) sum() (string, error) {
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(p.f, 0, p.size)); err != nil {
		return "", fmt.Errorf("datasets: %w", err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// finish gives the part its name.
func (p *part) finish(name string) error {
	err := p.f.Sync()
	if err == nil {
		err = os.Rename(p.path, name)
	}
	if err = errors.Join(err, p.removeTag()); err != nil {
		return fmt.Errorf("datasets: %w", err)
	}
	return nil
}

// remove takes the part off the disk.
func (p *part) remove() error {
	if err := errors.Join(os.Remove(p.path), p.removeTag()); err != nil {
		return fmt.Errorf("datasets: %w", err)
	}
	return nil
}

func (p *part) removeTag() error {
	if err := os.Remove(p.path + ".tag"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
