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
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/shopspring/decimal"

	"github.com/arrears-dev/arrears/internal/billing"
)

// copyStatement and appendEvent name the same columns in the same order.
const copyStatement = `
COPY usage_events (org_id, event_id, part, user_id, occurred_at, product, model, sent_model,
                   input, output, cache_write_5m, cache_write_1h, cache_read, web_search, code_execution,
                   service_tier, speed, inference_geo, labels, period_id, origin_id, rate_id,
                   seat_tier, flags, fingerprint, parked_reason, unpriceable, payload,
                   stated_cost, provisional, void, discarded)
FROM STDIN (FORMAT binary)`

const copyColumns = 32

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
func (in *intake) copyEvents(ctx context.Context, tx pgx.Tx, placed []placedEvent, items []billing.UsageItem) (usedUp, error) {
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
	items  []billing.UsageItem
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
		rows := max(1, int(r.placed[r.next].parts))
		event := r.placed[r.next : r.next+rows]
		r.rate(event)
		for i := range event {
			r.used.add(&event[i])
			r.block = appendEvent(r.block, r.org.ID, &event[i], r.items[event[i].index].Raw)
		}
		r.next += rows
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
	b = appendInt2(b, p.part)
	b = appendText(b, e.User)
	b = appendInt8(b, e.OccurredAt.UnixMicro()-postgresEpoch)
	b = appendText(b, e.Product)
	b = appendText(b, p.model)
	b = appendUnless(b, p.sentModel(), "")
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
	b = appendInt2(b, p.flags)
	b = binary.BigEndian.AppendUint32(b, uint32(len(p.fingerprint)))
	b = append(b, p.print()...)
	return appendParked(b, p, raw)
}

// freeOfCharge is why an event that costs nothing at any price waits for none.
const freeOfCharge = "costs nothing at any price"

// appendParked appends the columns of an event without a price. The first of its
// rows keeps what was received.
func appendParked(b []byte, p *placedEvent, raw []byte) []byte {
	if p.rate != nil {
		return appendNull(appendBool(appendNull(appendNull(appendNull(appendNull(appendNull(b))))), false))
	}
	b = appendText(b, p.parked)
	b = appendUnless(b, p.event.Unpriceable, "")
	switch {
	case p.part > 0:
		b = appendNull(b)
	case p.event.Payload != nil:
		b = appendText(b, string(p.event.Payload))
	default:
		b = appendText(b, string(raw))
	}
	b = appendNumeric(b, p.event.StatedCost)
	if p.provisional.IsPositive() {
		b = appendNumeric(b, decimal.NewNullDecimal(p.provisional))
	} else {
		b = appendNull(b)
	}
	b = appendBool(b, p.free)
	if p.free {
		return appendText(b, freeOfCharge)
	}
	return appendNull(b)
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

func appendInt2(b []byte, n int16) []byte {
	return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint32(b, 2), uint16(n))
}

func appendBool(b []byte, value bool) []byte {
	if value {
		return append(binary.BigEndian.AppendUint32(b, 1), 1)
	}
	return append(binary.BigEndian.AppendUint32(b, 1), 0)
}

// encodeNumeric encodes what COPY writes as numeric. It keeps no state.
var encodeNumeric = pgtype.NumericCodec{}.PlanEncode(nil, pgtype.NumericOID, pgtype.BinaryFormatCode, pgtype.Numeric{})

// appendNumeric appends a number as the library encodes it, or null where there is
// none: few events have one.
func appendNumeric(b []byte, n decimal.NullDecimal) []byte {
	if !n.Valid {
		return appendNull(b)
	}
	number, err := encodeNumeric.Encode(pgtype.Numeric{Int: n.Decimal.Coefficient(), Exp: n.Decimal.Exponent(), Valid: true}, nil)
	if err != nil { // cannot happen: a finite number
		return appendNull(b)
	}
	return appendText(b, string(number))
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
