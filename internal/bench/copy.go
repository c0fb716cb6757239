package main

import (
	"bytes"
	"context"
	"time"
)

// copyRows is how many rows one COPY of the limit takes: as many as one
// transaction of an import.
const copyRows = 32_000

// copyAgain is the limit: the stored rows of an organisation, in their binary
// form already, copied into an empty table of the same shape and keys. It
// returns how long that took, and for how long PostgreSQL was busy.
func (r *rig) copyAgain(ctx context.Context, org string) (took, busy time.Duration, err error) {
	if _, err := r.conn.Exec(ctx, `DROP TABLE IF EXISTS copied; CREATE TABLE copied (LIKE usage_events INCLUDING ALL); CHECKPOINT`); err != nil {
		return 0, 0, err
	}
	for from, more := "", true; more; {
		part := &bytes.Buffer{}
		var upTo *string
		// Rows come in order of their id, as the import copied them.
		err := r.conn.QueryRow(ctx, `
SELECT event_id FROM usage_events WHERE org_id = $1 AND event_id > $2 ORDER BY event_id OFFSET $3 LIMIT 1`, org, from, copyRows-1).Scan(&upTo)
		if more = err == nil; !more {
			upTo = new(string)
			*upTo = "~"
		}
		if _, err := r.conn.PgConn().CopyTo(ctx, part, `
COPY (SELECT * FROM usage_events WHERE org_id = '`+org+`' AND event_id > '`+from+`' AND event_id <= '`+*upTo+`' ORDER BY event_id)
  TO STDOUT (FORMAT binary)`); err != nil {
			return 0, 0, err
		}
		from = *upTo
		before, began := r.postgresBusy(), time.Now()
		if _, err := r.conn.PgConn().CopyFrom(ctx, part, `COPY copied FROM STDIN (FORMAT binary)`); err != nil {
			return 0, 0, err
		}
		took += time.Since(began)
		busy += r.postgresBusy() - before
	}
	return took, busy, nil
}
