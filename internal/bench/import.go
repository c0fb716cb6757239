package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/arrears-dev/arrears/internal/billing"
)

// load is a file of usage.
type load struct {
	events     int
	members    int
	models     int
	duplicates int // of a hundred events, how many repeat an earlier one
}

func (l load) String() string {
	s := fmt.Sprintf("%s events, %s members, %d models", short(l.events), short(l.members), l.models)
	if l.duplicates > 0 {
		s += fmt.Sprintf(", %d %% duplicates", l.duplicates)
	}
	return s
}

func short(n int) string {
	switch {
	case n >= 1_000_000 && n%100_000 == 0:
		return fmt.Sprintf("%g M", float64(n)/1e6)
	case n >= 1000 && n%1000 == 0:
		return fmt.Sprintf("%d k", n/1000)
	}
	return fmt.Sprint(n)
}

// usageModels are of the default price book.
var usageModels = []string{
	"claude-sonnet-4-5", "claude-haiku-4-5", "claude-opus-4-1", "claude-opus-4-5", "claude-sonnet-4", "claude-opus-4",
	"claude-haiku-3-5", "claude-3-5-haiku", "claude-3-haiku",
}

// imports measures the import of files of several shapes.
func (r *rig) imports(ctx context.Context) ([]row, error) {
	base := load{events: r.events, members: r.members, models: 3}
	loads := []load{base, base, base, base}
	loads[1].members = 100_000
	loads[2].duplicates = 1
	loads[3].duplicates = 50
	var rows []row
	for n, l := range loads {
		p, err := r.rounded(ctx, "import of "+l.String(), r.rounds, func(ctx context.Context, _ int) (pair, error) {
			return r.importRound(ctx, fmt.Sprintf("import-%d", n), l)
		})
		if err != nil {
			return nil, err
		}
		found := row{what: "usage import, events/s (" + l.String() + ")", ours: p.ours, limit: p.limit, unit: "COPY", ratio: p.ratio, note: p.costs()}
		if n == 0 {
			found.mark = "≥ 0.65"
		}
		rows = append(rows, found)
	}
	return rows, nil
}

// importRound imports a file by the command that users run, and beside it copies
// the same rows, decoded already, into a table with the same keys.
func (r *rig) importRound(ctx context.Context, org string, l load) (pair, error) {
	if err := r.clear(ctx); err != nil {
		return pair{}, err
	}
	start, err := r.organization(ctx, org)
	if err != nil {
		return pair{}, err
	}
	file := filepath.Join(r.dir, org+".ndjson")
	if _, err := os.Stat(file); err != nil {
		if err := writeUsage(file, org, start, l); err != nil {
			return pair{}, err
		}
	}
	cmd, out := r.starter(ctx, "usage", "import", file, "-o", "json")
	before, began := r.postgresBusy(), time.Now()
	if err := cmd.Run(); err != nil {
		return pair{}, fmt.Errorf("%w: %s", err, out.Bytes())
	}
	took := time.Since(began)
	p := pair{ours: perSecond(l.events, took), events: l.events}
	p.program, p.postgres = cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime(), r.postgresBusy()-before
	var totals struct{ Accepted, Duplicates, Rejected, Conflicts, Parked int }
	if err := json.Unmarshal(out.Bytes(), &totals); err != nil {
		return pair{}, err
	}
	if totals.Accepted+totals.Duplicates != l.events || totals.Accepted != l.distinct() {
		return pair{}, fmt.Errorf("%d distinct events of %d: %+v", l.distinct(), l.events, totals)
	}
	copied, busy, err := r.copyAgain(ctx, org)
	p.limit, p.limiting = perSecond(totals.Accepted, copied), time.Duration(float64(busy)*float64(l.events)/float64(totals.Accepted))
	return p, err
}

// starter is a command of the product with the stack's environment.
func (r *rig) starter(ctx context.Context, args ...string) (*exec.Cmd, *bytes.Buffer) {
	out := &bytes.Buffer{}
	cmd := exec.CommandContext(ctx, filepath.Join(r.bin, "starter"), args...)
	cmd.Stdout, cmd.Stderr = out, out
	for name, value := range r.env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	return cmd, out
}

func perSecond(n int, took time.Duration) float64 { return float64(n) / took.Seconds() }

// organization makes an organisation that began two hours ago, unless it is
// there, and returns when.
func (r *rig) organization(ctx context.Context, id string) (start time.Time, err error) {
	if org, err := r.store.Organization(ctx, id); err == nil {
		return org.StartsAt, nil
	}
	start = time.Now().UTC().Add(-2 * time.Hour).Truncate(time.Microsecond)
	return start, r.create(ctx, billing.Organization{ID: id, StartsAt: start})
}

// clear forgets all usage, so that every round meets the same tables.
func (r *rig) clear(ctx context.Context) error {
	_, err := r.conn.Exec(ctx, `TRUNCATE usage_events, usage_totals, spend_counters; CHECKPOINT`)
	return err
}

// repeats reports whether an event of the file repeats an earlier one.
func (l load) repeats(i int) bool {
	return l.duplicates > 0 && i*l.duplicates/100 > (i-1)*l.duplicates/100 && i > 0
}

// distinct counts the events that repeat none.
func (l load) distinct() (n int) {
	for i := range l.events {
		if !l.repeats(i) {
			n++
		}
	}
	return n
}

// line writes one event, shaped like those of a coding service.
func (l load) line(w *bufio.Writer, org string, start time.Time, i int) {
	if l.repeats(i) { // one that lies up to a few batches back
		for i -= 1 + (i*7919)%min(i, 100_000); l.repeats(i); i-- {
		}
	}
	at := start.Add(time.Duration(float64(i) / float64(l.events) * float64(time.Hour)))
	fmt.Fprintf(w, `{"id":"evt_%09d","organization":%q,"user":"user_%06d","occurred_at":%q,"product":"claude_code","model":%q,`+
		`"usage":{"input_tokens":%d,"cache_read_input_tokens":%d,"output_tokens":%d,"service_tier":"standard"}}`+"\n",
		i, org, (i*7919)%l.members, at.Format(time.RFC3339Nano), usageModels[i%l.models], i*31%9000, i*17%50_000, i*13%900)
}

// writeUsage writes a file of usage.
func writeUsage(path, org string, start time.Time, l load) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	w := bufio.NewWriterSize(f, 1<<20)
	for i := range l.events {
		l.line(w, org, start, i)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return f.Close()
}
