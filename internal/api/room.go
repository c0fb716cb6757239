package api

import (
	"io"
	"sync/atomic"
)

const (
	// leastRoom is how many bytes of bodies and their events all requests
	// together may hold, or eight of the largest bodies where that is more.
	leastRoom = 64 << 20
	// placeBytes is what a request costs before its body: so their number is
	// bounded, too.
	placeBytes = 16 << 10
	// eventBytes is about what an event takes beside its line.
	eventBytes = 512
	// readBytes is how much of a body is made room for at first.
	readBytes = 4 << 10
)

// room is the memory that requests may hold all together. Nobody waits for it:
// who finds none is told to come again, so slow senders block nobody.
type room struct {
	size int64
	held atomic.Int64
}

func newRoom(maxBody int64) *room { return &room{size: Room(maxBody)} }

// Room is how many bytes the bodies of all requests may hold together, by the size
// of the largest one that is taken.
func Room(maxBody int64) int64 { return max(leastRoom, 8*maxBody) }

// place is one request's part of the room.
type place struct {
	room *room
	held int64
}

// enter makes a place for a request, which must leave it.
func (r *room) enter() (p *place, ok bool) {
	p = &place{room: r}
	return p, p.take(placeBytes)
}

// take asks for more bytes.
func (p *place) take(bytes int) (ok bool) {
	n := int64(bytes)
	if p.room.held.Add(n) > p.room.size {
		p.room.held.Add(-n)
		return false
	}
	p.held += n
	return true
}

func (p *place) leave() { p.room.held.Add(-p.held) }

// readAll is io.ReadAll, which takes room as it goes: errBusy where there is no
// more.
func (p *place) readAll(source io.Reader) ([]byte, error) {
	if !p.take(readBytes) {
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
		case !p.take(cap(body)):
			return nil, errBusy
		}
		body = append(make([]byte, 0, 2*cap(body)), body...)
	}
}
