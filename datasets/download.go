package datasets

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"time"
)

// remote is a file at an address whose content is known beforehand.
type remote struct {
	url    string
	bytes  int64
	sha256 string
}

// download brings a remote file to a place on the disk. What has come so far
// lies beside it as <file>.part, and is gone on from with an HTTP Range request.
type download struct {
	remote
	file     string
	client   *http.Client
	stall    time.Duration
	progress Progress
}

// run returns nil once the file is in its place and has the remote's digest,
// also where it was there before.
func (d download) run(ctx context.Context) error {
	p, err := openPart(d.file + ".part")
	if err != nil {
		return err
	}
	defer p.close()
	// Asked under the lock: another process may just have finished.
	if data, err := readLimited(d.file, d.bytes); err == nil && digest(data) == d.sha256 {
		return p.remove()
	}
	if p.size > d.bytes {
		if err := p.reset(""); err != nil {
			return err
		}
	}
	d.progress(p.size, d.bytes)
	if p.size < d.bytes {
		if err := d.transfer(ctx, p); err != nil {
			return err
		}
	}
	sum, err := p.sum()
	if err != nil {
		return err
	}
	if sum != d.sha256 {
		return errors.Join(fmt.Errorf("datasets: %s: SHA-256 %s, want %s: what came is removed, so that a new run starts over",
			d.url, sum, d.sha256), p.remove())
	}
	return p.finish(d.file)
}

var errStalled = errors.New("no byte came for too long")

// transfer makes one request for what the part lacks and appends what comes.
func (d download) transfer(ctx context.Context, p *part) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timer := time.AfterFunc(d.stall, func() { cancel(fmt.Errorf("%w: %s", errStalled, d.stall)) })
	defer timer.Stop()

	resp, err := d.request(ctx, p)
	if err != nil {
		return d.broken(ctx, p, err)
	}
	defer resp.Body.Close()
	if err := d.accept(resp, p); err != nil {
		return err
	}
	d.progress(p.size, d.bytes)
	buf := make([]byte, 64<<10)
	for {
		n, err := resp.Body.Read(buf)
		timer.Reset(d.stall)
		if p.size+int64(n) > d.bytes {
			return errors.Join(fmt.Errorf("datasets: %s: more than the %d bytes it should have", d.url, d.bytes), p.remove())
		}
		if n > 0 {
			if err := p.append(buf[:n]); err != nil {
				return err
			}
			d.progress(p.size, d.bytes)
		}
		if err == io.EOF && p.size == d.bytes {
			return nil
		}
		if err != nil {
			return d.broken(ctx, p, err)
		}
	}
}

// request asks for the bytes after those of the part.
func (d download) request(ctx context.Context, p *part) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.url, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept-Encoding", "identity")
	if p.size > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", p.size))
		// Without the tag of this very address the digest alone must tell.
		if tag := p.tag(d.url); tag != "" {
			req.Header.Set("If-Range", tag)
		}
	}
	return d.client.Do(req)
}

// accept holds the head of a response against what was asked, and makes the part
// end where the body begins.
func (d download) accept(resp *http.Response, p *part) error {
	length := resp.ContentLength
	switch resp.StatusCode {
	case http.StatusPartialContent:
		from, total, err := parseContentRange(resp.Header.Get("Content-Range"))
		if err != nil {
			return fmt.Errorf("datasets: %s: %w", d.url, err)
		}
		if from != p.size {
			return fmt.Errorf("datasets: %s: the server sends bytes from %d on, asked from %d on", d.url, from, p.size)
		}
		if total >= 0 && total != d.bytes {
			return d.wrongSize(total)
		}
		return nil
	case http.StatusOK: // the whole: ranges are ignored, or the file has changed
		if kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); kind == "text/html" && length != d.bytes {
			return fmt.Errorf("datasets: %s: the server answers with a web page, not with the file", d.url)
		}
		if length >= 0 && length != d.bytes {
			return d.wrongSize(length)
		}
		return p.reset(tagLine(d.url, resp.Header.Get("ETag")))
	case http.StatusRequestedRangeNotSatisfiable:
		return errors.Join(fmt.Errorf("datasets: %s: the server has nothing after byte %d, want %d bytes: the part is removed, so that a new run starts over",
			d.url, p.size, d.bytes), p.remove())
	}
	return fmt.Errorf("datasets: %s: the server answers %s", d.url, resp.Status)
}

func (d download) wrongSize(got int64) error {
	return fmt.Errorf("datasets: %s: the server has %d bytes, want %d", d.url, got, d.bytes)
}

// broken returns the error of a transfer that ended early.
func (d download) broken(ctx context.Context, p *part, err error) error {
	var named *url.Error // says the address once more
	switch cause := context.Cause(ctx); {
	case cause != nil:
		err = cause
	case err == io.EOF:
		err = io.ErrUnexpectedEOF
	case errors.As(err, &named):
		err = named.Err
	}
	if p.size == 0 {
		return fmt.Errorf("datasets: %s: not one byte came: %w", d.url, err)
	}
	return fmt.Errorf("datasets: %s: ended after %d of %d bytes, which are kept: run it again to go on from there: %w",
		d.url, p.size, d.bytes, err)
}

var contentRange = regexp.MustCompile(`^bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)$`)

// parseContentRange returns the first byte and the total of a Content-Range
// header such as "bytes 100-199/200"; total is -1 where it says "*".
func parseContentRange(header string) (from, total int64, err error) {
	m := contentRange.FindStringSubmatch(header)
	if m == nil {
		return 0, 0, fmt.Errorf("the server sends a part with Content-Range %q", header)
	}
	from, _ = strconv.ParseInt(m[1], 10, 64) // 18 digits fit
	last, _ := strconv.ParseInt(m[2], 10, 64)
	total = -1
	if m[3] != "*" {
		total, _ = strconv.ParseInt(m[3], 10, 64)
	}
	if last < from || total >= 0 && total <= last {
		return 0, 0, fmt.Errorf("the server sends a part with Content-Range %q", header)
	}
	return from, total, nil
}
