package postgres

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
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
                   seat_tier, flags, fingerprint, parked_reason, unknown_count, payload)
FROM STDIN (FORMAT binary)`

const copyColumns = 26

// copyHeader and copyTrailer frame PostgreSQL's binary copy format.
var (
	copyHeader  = []byte("PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00")
	copyTrailer = []byte{0xff, 0xff}
)

// postgresEpoch is what PostgreSQL counts microseconds from.
var postgresEpoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()

var copyBuffers = sync.Pool{New: func() any { return new([]byte) }}

// copyEvents copies events into the table, all or none: a savepoint keeps the
// transaction usable where one of them is stored already. The rows are encoded
// by hand because this is the one place where the cost of a value shows.
func copyEvents(ctx context.Context, tx pgx.Tx, orgID string, placed []placedEvent, items []UsageItem) error {
	if len(placed) == 0 {
		return nil
	}
	buffer := copyBuffers.Get().(*[]byte)
	defer copyBuffers.Put(buffer)
	rows := append((*buffer)[:0], copyHeader...)
	for i := range placed {
		rows = appendEvent(rows, orgID, &placed[i], items[placed[i].index].Raw)
	}
	rows = append(rows, copyTrailer...)
	*buffer = rows
	return pgx.BeginFunc(ctx, tx, func(savepoint pgx.Tx) error {
		_, err := savepoint.Conn().PgConn().CopyFrom(ctx, bytes.NewReader(rows), copyStatement)
		return wrap("copy events", err)
	})
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
	b = append(b, p.fingerprint[:]...)
	if p.rate != nil {
		return appendNull(appendNull(appendNull(b)))
	}
	b = appendText(b, p.parked)
	b = appendUnless(b, e.UnknownCount, "")
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
