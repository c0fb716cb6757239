package postgres_test

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
)

// BenchmarkStoreUsage stores batches of events and, beside it, copies the same
// rows into a table with the same keys, which is the most that the database can
// do. The ratio of the two is what make bench prints.
func BenchmarkStoreUsage(b *testing.B) {
	for _, members := range []int{200, 100_000} {
		b.Run(fmt.Sprintf("members=%d", members), func(b *testing.B) { benchmarkStore(b, members) })
	}
}

func benchmarkStore(b *testing.B, members int) {
	f := newBenchFixture(b)
	const batch = 10_000
	models := []string{"claude-sonnet-4-5", "claude-haiku-4-5", "claude-opus-4-1"}
	stored, n := time.Duration(0), 0
	items := make([]billing.UsageItem, batch)
	for b.Loop() {
		for i := range items {
			event := billing.Event{
				ID: fmt.Sprintf("evt_%012d", n), Organization: "acme", User: fmt.Sprintf("user_%06d", (n*7919)%members),
				OccurredAt: october.Add(time.Duration(n) * time.Millisecond % (4 * time.Minute)), Product: "claude_code",
				Model: models[n%3], ServiceTier: "standard", Speed: "standard", InferenceGeo: "global",
			}
			event.Quantities[billing.Input], event.Quantities[billing.Output] = int64(n%9000), int64(n%500)
			items[i] = billing.UsageItem{Event: event}
			n++
		}
		start := time.Now()
		answers, err := f.StoreUsage(f.ctx, "acme", items)
		stored += time.Since(start)
		require.NoError(b, err)
		require.Equal(b, billing.UsageAccepted, answers[0].Status)
	}
	copied := f.copyAgain(b, n)
	b.ReportMetric(float64(n)/stored.Seconds(), "stored/s")
	b.ReportMetric(float64(n)/copied.Seconds(), "copied/s")
	b.ReportMetric(copied.Seconds()/stored.Seconds(), "ratio")
}

// copyAgain copies all stored events into an empty table of the same shape, in
// as many statements as they were stored in.
func (f *benchFixture) copyAgain(b *testing.B, n int) (took time.Duration) {
	const batch = 10_000
	_, err := f.pool.Exec(f.ctx, `CREATE TABLE again (LIKE usage_events INCLUDING ALL)`)
	require.NoError(b, err)
	conn, err := f.pool.Acquire(f.ctx)
	require.NoError(b, err)
	defer conn.Release()
	for from := 0; from < n; from += batch {
		var rows bytes.Buffer
		_, err := conn.Conn().PgConn().CopyTo(f.ctx, &rows, fmt.Sprintf(
			`COPY (SELECT * FROM usage_events ORDER BY event_id LIMIT %d OFFSET %d) TO STDOUT (FORMAT binary)`, batch, from))
		require.NoError(b, err)
		start := time.Now()
		_, err = conn.Conn().PgConn().CopyFrom(f.ctx, &rows, `COPY again FROM STDIN (FORMAT binary)`)
		took += time.Since(start)
		require.NoError(b, err)
	}
	return took
}
