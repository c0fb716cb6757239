package api

import (
	"io"
	"sync/atomic"
)

const (
	// leastBudget is how many bytes of bodies and their events all requests
	// together may hold, or eight of the largest bodies where that is more.
	leastBudget = 64 << 20
	// requestBytes is what a request costs before its body: so their number is
	// bounded, too.
	requestBytes = 16 << 10
	// eventBytes is about what an event takes beside its line.
	eventBytes = 512
	// readBytes is how much of a body is reserved at first.
	readBytes = 4 << 10
)

// budget is the memory that requests may hold all together. Nobody waits for it:
// who finds none is told to come again, so slow senders block nobody.
type budget struct {
	size int64
	held atomic.Int64
}

func newBudget(maxBody int64) *budget { return &budget{size: MemoryBudget(maxBody)} }

// MemoryBudget is how many bytes the bodies of all requests may hold together, by the size
// of the largest one that is taken.
func MemoryBudget(maxBody int64) int64 { return max(leastBudget, 8*maxBody) }

// reservation is one request's part of the budget.
type reservation struct {
	budget *budget
	held   int64
}

// reserve makes a reservation for a request, which must release it.
func (b *budget) reserve() (r *reservation, ok bool) {
	r = &reservation{budget: b}
	return r, r.grow(requestBytes)
}

// grow asks for more bytes.
func (r *reservation) grow(bytes int) (ok bool) {
	n := int64(bytes)
	if r.budget.held.Add(n) > r.budget.size {
		r.budget.held.Add(-n)
		return false
	}
	r.held += n
	return true
}

func (r *reservation) release() { r.budget.held.Add(-r.held) }

// readAll is io.ReadAll, which reserves memory as it goes: errBusy where there is no
// more.
func (r *reservation) readAll(source io.Reader) ([]byte, error) {
	if !r.grow(readBytes) {
		return nil, errBusy
	}
	body := make([]byte, 0, readBytes)
	for {
		n, err := source.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		switch {
		case err == io.EOF:
			return body, nil
		case err != nil:
			return nil, err
		case len(body) < cap(body):
			continue
		case !r.grow(cap(body)):
			return nil, errBusy
		}
		body = append(make([]byte, 0, 2*cap(body)), body...)
	}
}
