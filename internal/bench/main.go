// Command bench measures the product beside the limit of what it stands on, in
// the same run on the same machine, and prints the ratio: how fast usage is
// imported and posted beside COPY of the same rows, one hot organisation beside
// many, limit checks beside selects of single rows, and months closed beside a
// workflow with as many empty activities, and what the month of a large organisation
// costs. Without a limit stand the memory of a
// long import, how soon a notice reaches its channel under load, and what a quiet
// month costs in history. Machines are noisy, so figures are medians of several
// rounds, and where that is known the processor time stands beside them.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/jackc/pgx/v5"
	"go.temporal.io/sdk/client"
	sdklog "go.temporal.io/sdk/log"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/devstack"
	"github.com/arrears-dev/arrears/internal/postgres"
	"github.com/arrears-dev/arrears/internal/pricebook"
	"github.com/arrears-dev/arrears/workflows"
)

// providerCallsPerSecond keeps the provider's rate out of the measurement.
const providerCallsPerSecond = 10_000

// options are what a run is asked for.
type options struct {
	only      string
	rounds    int
	events    int
	allEvents int
	members   int
	orgs      int
	bin       string

	closeMembers string // how large the organisations are whose months are closed one by one
}

// part is one group of measurements, which may be run alone.
type part struct {
	name    string
	measure func(*rig, context.Context) ([]row, error)
	on      stage
}

// stage is how much of the stack runs: what a measurement does not need would
// only disturb it.
type stage int

const (
	onPostgres stage = iota // PostgreSQL alone
	onInbox                 // everything, and notices go to an inbox of ours
	onStack                 // everything, and notices go to the log
)

var parts = []part{
	{"import", (*rig).imports, onPostgres},
	{"memory", (*rig).memory, onPostgres},
	{"http", (*rig).posts, onInbox},
	{"hot", (*rig).hot, onPostgres},
	{"checks", (*rig).checks, onInbox},
	{"notices", (*rig).noticeDelay, onInbox},
	{"close", (*rig).closes, onStack},
	{"large", (*rig).large, onStack},
}

func main() {
	var o options
	names := make([]string, len(parts))
	for i, p := range parts {
		names[i] = p.name
	}
	flag.StringVar(&o.only, "only", strings.Join(names, ","), "what to measure")
	flag.IntVar(&o.rounds, "rounds", 3, "rounds of each measurement; medians are printed")
	flag.IntVar(&o.events, "events", 500_000, "events of one import")
	flag.IntVar(&o.allEvents, "all-events", 2_000_000, "events of the import whose memory is watched")
	flag.IntVar(&o.members, "members", 200, "members who cause them")
	flag.IntVar(&o.orgs, "orgs", 100, "organisations whose month is closed at once")
	flag.StringVar(&o.closeMembers, "close-members", "1000,10000,100000", "members of the large organisations whose month is closed")
	flag.StringVar(&o.bin, "bin", "bin", "folder of the built programs")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// rig is the running stack that is measured, and ways to reach it.
type rig struct {
	options
	env        map[string]string
	store      *postgres.Store
	conn       *pgx.Conn
	postmaster int
	temporal   client.Client // nil where only PostgreSQL runs
	inbox      *inbox        // likewise
	dir        string        // for files
}

func run(ctx context.Context, o options) (err error) {
	if o.bin, err = filepath.Abs(o.bin); err != nil {
		return err
	}
	wanted := map[stage][]part{}
	for _, name := range strings.Split(o.only, ",") {
		i := slices.IndexFunc(parts, func(p part) bool { return p.name == strings.TrimSpace(name) })
		if i < 0 {
			return fmt.Errorf("-only %s: there is no such measurement", name)
		}
		wanted[parts[i].on] = append(wanted[parts[i].on], parts[i])
	}
	var rows []row
	for _, on := range []stage{onPostgres, onInbox, onStack} {
		if len(wanted[on]) == 0 {
			continue
		}
		found, err := measure(ctx, &rig{options: o}, on, wanted[on])
		if err != nil {
			return err
		}
		rows = append(rows, found...)
	}
	return printRows(os.Stdout, rows)
}

// measure starts what the parts need and runs them.
func measure(ctx context.Context, r *rig, on stage, wanted []part) (rows []row, err error) {
	stop, err := r.start(ctx, on)
	if err != nil {
		return nil, err
	}
	defer func() { err = cmp.Or(err, stop()) }()
	if r.dir, err = os.MkdirTemp("", "arrears-bench-"); err != nil {
		return nil, err
	}
	defer os.RemoveAll(r.dir)
	if r.store, err = postgres.Open(ctx, r.env["DATABASE_URL"]); err != nil {
		return nil, err
	}
	defer r.store.Close()
	if r.conn, err = pgx.Connect(ctx, r.env["DATABASE_URL"]); err != nil {
		return nil, err
	}
	defer func() { _ = r.conn.Close(context.WithoutCancel(ctx)) }()
	r.postmaster = postmaster(ctx, r.conn)
	if _, err := r.store.LoadPriceBook(ctx, pricebook.Default(), billing.Actor{Name: "bench"}); err != nil {
		return nil, err
	}
	for _, p := range wanted {
		found, err := p.measure(r, ctx)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.name, err)
		}
		rows = append(rows, found...)
	}
	return rows, nil
}

// start starts the whole stack, or PostgreSQL alone where that is enough.
func (r *rig) start(ctx context.Context, on stage) (stop func() error, err error) {
	if on == onPostgres {
		return r.startPostgres(ctx)
	}
	if on == onInbox {
		if r.inbox, err = openInbox(); err != nil {
			return nil, err
		}
	} else { // notices go to the log, as where nobody set a channel
		for _, name := range []string{"ARREARS_NOTIFY_URL", "ARREARS_NOTIFY_SECRET"} {
			if err := os.Unsetenv(name); err != nil {
				return nil, err
			}
		}
	}
	if err := os.Setenv("ARREARS_MAX_BODY", strconv.Itoa(mostBytes)); err != nil {
		return nil, err
	}
	// At Stripe's own limits those would be all that is measured.
	if err := os.Setenv("STRIPE_CALLS_PER_SECOND", strconv.Itoa(providerCallsPerSecond)); err != nil {
		return nil, err
	}
	stack, err := devstack.Start(ctx, devstack.Options{
		Migrate: postgres.Migrate, SearchAttributes: workflows.SearchAttributes(), TaskQueues: []string{workflows.TaskQueue},
		WorkerPath: filepath.Join(r.bin, "worker"), StarterPath: filepath.Join(r.bin, "starter"), Log: os.Stderr,
	})
	if err != nil {
		return nil, err
	}
	r.env = stack.Env()
	quiet := sdklog.NewStructuredLogger(slog.New(slog.DiscardHandler))
	if r.temporal, err = client.DialContext(ctx, client.Options{HostPort: r.env["TEMPORAL_ADDRESS"], Logger: quiet}); err != nil {
		return nil, errors.Join(err, stack.Stop())
	}
	return func() error {
		r.temporal.Close()
		return stack.Stop()
	}, nil
}

func (r *rig) startPostgres(ctx context.Context) (stop func() error, err error) {
	pg, err := devstack.StartPostgres(ctx, devstack.PostgresOptions{Log: os.Stderr})
	if err != nil {
		return nil, err
	}
	r.env = map[string]string{"DATABASE_URL": pg.URL("postgres")}
	if err := postgres.Migrate(ctx, r.env["DATABASE_URL"]); err != nil {
		return nil, errors.Join(err, pg.Stop())
	}
	return pg.Stop, nil
}

// row is one line of the table that is printed.
type row struct {
	what        string
	ours, limit float64
	unit        string // what the limit is; "" = there is none
	ratio       float64
	mark        string
	note        string
}

func printRows(to io.Writer, rows []row) error {
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "measured\tours\tthe limit\tratio\tmark\t")
	for _, r := range rows {
		limit, ratio := "", ""
		if r.unit != "" {
			limit, ratio = figure(r.limit)+" ("+r.unit+")", fmt.Sprintf("%.2f", r.ratio)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", r.what, figure(r.ours), limit, ratio, r.mark, r.note)
	}
	return w.Flush()
}

func figure(f float64) string {
	if f >= 1000 || f == float64(int64(f)) {
		return fmt.Sprintf("%.0f", f)
	}
	return fmt.Sprintf("%.3g", f)
}

// pair is our rate beside the limit's, per second; shape is that of doing nothing
// in the same shape, where there is one. Beside it stands what it cost in
// processor time, where that is known.
type pair struct {
	ours, limit, ratio, shape, ofShape float64

	counted                     unit
	events                      int
	program, postgres, limiting time.Duration    // limiting is PostgreSQL's for as many of the limit's
	server                      [3]time.Duration // of Temporal's server for each month: ours, the limit's, that of the same shape
}

// unit is what the processor time is counted by.
type unit struct{ one, limit string }

var (
	eventUnit = unit{"event", "COPY"}
	checkUnit = unit{"check", "a select"}
)

// costs says what an event or a check cost in processor time, which hardly depends on what
// else the machine does.
func (p pair) costs() string {
	if p.events == 0 || p.postgres == 0 {
		return ""
	}
	each := func(d time.Duration) float64 { return float64(d.Microseconds()) / float64(p.events) }
	counted := cmp.Or(p.counted, eventUnit)
	return fmt.Sprintf("CPU µs/%s: ours %.1f + PostgreSQL %.1f; %s's PostgreSQL %.1f", counted.one, each(p.program), each(p.postgres), counted.limit, each(p.limiting))
}

// rounded repeats a measurement and returns medians, that of the ratios among
// them: noise hits both sides of one round alike.
func (r *rig) rounded(ctx context.Context, name string, rounds int, round func(context.Context, int) (pair, error)) (pair, error) {
	all := make([]pair, rounds)
	for n := range all {
		p, err := round(ctx, n)
		if err != nil {
			return pair{}, fmt.Errorf("%s: %w", name, err)
		}
		p.ratio, p.ofShape = p.ours/p.limit, p.ours/p.shape
		all[n] = p
		fmt.Fprintf(os.Stderr, "%s, round %d of %d: %.1f/s beside %.1f/s, ratio %.2f   %s\n", name, n+1, rounds, p.ours, p.limit, p.ratio, p.costs())
	}
	of := func(value func(pair) float64) float64 {
		values := make([]float64, len(all))
		for i, p := range all {
			values[i] = value(p)
		}
		return median(values)
	}
	var server [3]time.Duration
	for i := range server {
		server[i] = time.Duration(of(func(p pair) float64 { return float64(p.server[i]) }))
	}
	return pair{
		server: server,
		ours:   of(func(p pair) float64 { return p.ours }), limit: of(func(p pair) float64 { return p.limit }),
		ratio: of(func(p pair) float64 { return p.ratio }),
		shape: of(func(p pair) float64 { return p.shape }), ofShape: of(func(p pair) float64 { return p.ofShape }),
		counted:  all[0].counted,
		events:   int(of(func(p pair) float64 { return float64(p.events) })),
		program:  time.Duration(of(func(p pair) float64 { return float64(p.program) })),
		postgres: time.Duration(of(func(p pair) float64 { return float64(p.postgres) })),
		limiting: time.Duration(of(func(p pair) float64 { return float64(p.limiting) })),
	}, nil
}

func median(values []float64) float64 {
	slices.Sort(values)
	middle := len(values) / 2
	if len(values)%2 == 0 {
		return (values[middle-1] + values[middle]) / 2
	}
	return values[middle]
}

// create takes an organisation under contract.
func (r *rig) create(ctx context.Context, orgs ...billing.Organization) error {
	_, err := r.store.CreateOrganizations(ctx, orgs, billing.Actor{Name: "bench"})
	return err
}
