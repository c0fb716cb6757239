package postgres

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/arrears-dev/arrears/internal/billing"
)

// copyStatement and appendEvent name the same columns in the same order.
const copyStatement = `
COPY usage_events (org_id, event_id, user_id, occurred_at, product, model,
                   input, output, cache_write_5m, cache_write_1h, cache_read, web_search, code_execution,
                   service_tier, speed, inference_geo, labels, period_id, origin_id, rate_id,
                   seat_tier, flags, fingerprint, parked_reason, unknown_count, stated_cost, payload)
FROM STDIN (FORMAT binary)`

const copyColumns = 27

// copyHeader and copyTrailer frame PostgreSQL's binary copy format.
var (
	copyHeader  = []byte("PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00")
	copyTrailer = []byte{0xff, 0xff}
)

// postgresEpoch is what PostgreSQL counts microseconds from.
var postgresEpoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()

// copyBlock is how many bytes of rows are encoded ahead of the connection.
const copyBlock = 64 << 10

// copyBlocks are blocks that are used again, with room for the row that crosses
// a block's end.
var copyBlocks = sync.Pool{New: func() any { block := make([]byte, 0, copyBlock+copyBlock/8); return &block }}

// copyEvents copies events into the table, all or none, and returns what they
// used: a savepoint keeps the transaction usable where one of them is stored
// already. While PostgreSQL stores the first, the rest are rated and encoded.
func (in *intake) copyEvents(ctx context.Context, tx pgx.Tx, placed []placedEvent, items []UsageItem) (usedUp, error) {
	rows := &eventRows{intake: in, placed: placed, items: items, used: usedUp{}}
	if len(placed) == 0 {
		return rows.used, nil
	}
	rows.block = append((*copyBlocks.Get().(*[]byte))[:0], copyHeader...)
	err := pgx.BeginFunc(ctx, tx, func(savepoint pgx.Tx) error {
		defer rows.close()
		_, err := savepoint.Conn().PgConn().CopyFrom(ctx, rows, copyStatement)
		return wrap("copy events", err)
	})
	return rows.used, err
}

// eventRows are events in PostgreSQL's binary copy format, encoded by hand, since
// this is the one place where the cost of a value shows. They are settled and
// added up as they are read, by the connection's own goroutine.
type eventRows struct {
	mu sync.Mutex // a connection that broke may still be reading
	*intake
	placed []placedEvent
	items  []UsageItem
	used   usedUp

	next  int    // of placed
	block []byte // encoded
	read  int    // of block
	ended bool   // the trailer is encoded, or nobody may read any more
}

// Read implements io.Reader. It makes an error of a panic, which nobody above the
// connection's goroutine would take.
func (r *eventRows) Read(p []byte) (n int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer func() {
		if broken := recover(); broken != nil {
			n, err = 0, fmt.Errorf("make a row of an event: %v", broken)
		}
	}()
	if r.read == len(r.block) {
		r.block, r.read = r.block[:0], 0
	}
	for !r.ended && len(r.block) < copyBlock {
		if r.next == len(r.placed) {
			r.block = append(r.block, copyTrailer...)
			r.ended = true
			break
		}
		e := &r.placed[r.next]
		r.settle(e)
		r.used.add(e)
		r.block = appendEvent(r.block, r.org.ID, e, r.items[e.index].Raw)
		r.next++
	}
	n = copy(p, r.block[r.read:])
	if r.read += n; n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

func (r *eventRows) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if block := r.block; cap(block) <= 2*copyBlock {
		copyBlocks.Put(&block)
	}
	r.ended, r.block, r.read = true, nil, 0
}

func appendEvent(b []byte, orgID string, p *placedEvent, raw []byte) []byte {
	e := p.event
	b = binary.BigEndian.AppendUint16(b, copyColumns)
	b = appendText(b, orgID)
	b = appendText(b, e.ID)
	b = appendText(b, e.User)
	b = appendInt8(b, e.OccurredAt.UnixMicro()-postgresEpoch)
	b = appendText(b, e.Product)
	b = appendText(b, e.Model)
	for _, quantity := range e.Quantities {
		b = appendInt8(b, quantity)
	}
	b = appendUnless(b, e.ServiceTier, billing.Standard)
	b = appendUnless(b, e.Speed, billing.Standard)
	b = appendUnless(b, e.InferenceGeo, billing.GeoGlobal)
	b = appendLabels(b, e.Labels)
	if p.rate == nil {
		b = appendNull(appendNull(appendNull(b)))
	} else {
		b = appendText(b, p.period)
		b = appendUnless(b, p.origin, "")
		b = appendInt8(b, p.rate.ID)
	}
	b = appendUnless(b, p.tier, "")
	b = binary.BigEndian.AppendUint32(b, 2)
	b = binary.BigEndian.AppendUint16(b, uint16(p.flags))
	b = binary.BigEndian.AppendUint32(b, uint32(len(p.fingerprint)))
	b = append(b, p.print()...)
	if p.rate != nil {
		return appendNull(appendNull(appendNull(appendNull(b))))
	}
	b = appendText(b, p.parked)
	b = appendUnless(b, e.UnknownCount, "")
	b = appendNumeric(b, e.StatedCost)
	return appendText(b, string(raw))
}

func appendNull(b []byte) []byte { return binary.BigEndian.AppendUint32(b, 0xffffffff) }

func appendText(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(s))), s...)
}

// appendUnless appends s, or null where it is the usual value.
func appendUnless(b []byte, s, usual string) []byte {
	if s == usual {
		return appendNull(b)
	}
	return appendText(b, s)
}

func appendInt8(b []byte, n int64) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(b, 8), uint64(n))
}

// appendLabels appends labels as jsonb, version 1.
func appendLabels(b []byte, labels map[string]string) []byte {
	if len(labels) == 0 {
		return appendNull(b)
	}
	text, err := json.Marshal(labels)
	if err != nil { // cannot happen: strings only
		return appendNull(b)
	}
	b = binary.BigEndian.AppendUint32(b, uint32(len(text)+1))
	return append(append(b, 1), text...)
}
