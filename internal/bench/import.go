package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/arrears-dev/arrears/internal/billing"
)

// copyRows is how many rows one COPY statement of the limit has: as many as the
// import stores in one transaction.
const copyRows = 10_000

// importRound imports a file by the command that users run, and beside it copies
// the same rows, decoded already, into a table with the same keys.
func (r *rig) importRound(ctx context.Context, n int) (pair, error) {
	org := fmt.Sprintf("import-%d", n)
	start := time.Now().UTC().Add(-time.Hour).Truncate(time.Microsecond)
	if err := r.create(ctx, billing.Organization{ID: org, StartsAt: start}); err != nil {
		return pair{}, err
	}
	file := filepath.Join(r.dir, org+".ndjson")
	if err := r.writeUsage(file, org, start); err != nil {
		return pair{}, err
	}
	defer os.Remove(file)

	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, filepath.Join(r.bin, "starter"), "usage", "import", file, "-o", "json")
	cmd.Stdout, cmd.Stderr = &out, &out
	for name, value := range r.env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	began := time.Now()
	if err := cmd.Run(); err != nil {
		return pair{}, fmt.Errorf("%w: %s", err, out.Bytes())
	}
	ours := time.Since(began)
	if !bytes.Contains(out.Bytes(), fmt.Appendf(nil, `"accepted": %d`, r.events)) &&
		!bytes.Contains(out.Bytes(), fmt.Appendf(nil, `"accepted":%d`, r.events)) {
		return pair{}, fmt.Errorf("not every event was accepted: %s", out.Bytes())
	}
	limit, err := r.copyRound(ctx, org)
	return pair{ours: perSecond(r.events, ours), limit: perSecond(r.events, limit)}, err
}

func perSecond(n int, took time.Duration) float64 { return float64(n) / took.Seconds() }

// writeUsage writes events shaped like those of a coding service.
func (r *rig) writeUsage(path, org string, start time.Time) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	w := bufio.NewWriterSize(f, 1<<20)
	models := []string{"claude-sonnet-4-5", "claude-haiku-4-5", "claude-opus-4-1"}
	for i := range r.events {
		at := start.Add(time.Duration(i) * time.Hour / time.Duration(r.events))
		fmt.Fprintf(w, `{"id":"evt_%09d","organization":%q,"user":"user_%06d","occurred_at":%q,"product":"claude_code","model":%q,`+
			`"usage":{"input_tokens":%d,"cache_read_input_tokens":%d,"output_tokens":%d,"service_tier":"standard"}}`+"\n",
			i, org, (i*7919)%r.members, at.Format(time.RFC3339Nano), models[i%len(models)], i*31%9000, i*17%50_000, i*13%900)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return f.Close()
}

// copyRound is the limit: the stored rows of the organisation, in their binary
// form already, copied into an empty table of the same shape and keys.
func (r *rig) copyRound(ctx context.Context, org string) (took time.Duration, err error) {
	conn, err := pgx.Connect(ctx, r.env["DATABASE_URL"])
	if err != nil {
		return 0, err
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, `DROP TABLE IF EXISTS copied; CREATE TABLE copied (LIKE usage_events INCLUDING ALL)`); err != nil {
		return 0, err
	}
	var parts []*bytes.Buffer
	for from := 0; from < r.events; from += copyRows {
		rows := &bytes.Buffer{}
		_, err := conn.PgConn().CopyTo(ctx, rows, fmt.Sprintf(
			`COPY (SELECT * FROM usage_events WHERE org_id = '%s' AND event_id >= 'evt_%09d' AND event_id < 'evt_%09d' ORDER BY event_id)
			 TO STDOUT (FORMAT binary)`, org, from, from+copyRows))
		if err != nil {
			return 0, err
		}
		parts = append(parts, rows)
	}
	began := time.Now()
	for _, rows := range parts {
		if _, err := conn.PgConn().CopyFrom(ctx, rows, `COPY copied FROM STDIN (FORMAT binary)`); err != nil {
			return 0, err
		}
	}
	return time.Since(began), nil
}
