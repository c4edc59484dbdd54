package ztunnel

import (
	"net/http"
	"sync"
	"time"
)

// near is how far from each other clocks may be that count as the same: an answer takes
// its time, and its Date is in whole seconds.
const near = time.Minute

// clock goes by the API server's, as far as its answers tell: certificates are issued and
// judged in the cluster, and whoever looks at them may have another time.
type clock struct {
	mu    sync.Mutex
	ahead time.Duration
}

// now is the time of the cluster.
func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ahead.Abs() <= near {
		return time.Now()
	}
	return time.Now().Add(c.ahead)
}

// read reads the Date of every answer that passes.
func (c *clock) read(next http.RoundTripper) http.RoundTripper {
	return &dated{next: next, clock: c}
}

// dated passes requests on, and reads the Date of their answers.
type dated struct {
	next  http.RoundTripper
	clock *clock
}

func (d *dated) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := d.next.RoundTrip(request)
	if err != nil {
		return response, err
	}
	if date, err := http.ParseTime(response.Header.Get("Date")); err == nil {
		d.clock.mu.Lock()
		defer d.clock.mu.Unlock()
		d.clock.ahead = time.Until(date)
	}
	return response, nil
}

// WrappedRoundTripper is how client-go looks through what wraps a transport.
func (d *dated) WrappedRoundTripper() http.RoundTripper { return d.next }
