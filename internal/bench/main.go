// Command bench measures the product beside the limit of what it stands on, in
// the same run on the same machine, and prints the ratio: how fast usage is
// imported beside COPY of the same rows, how fast months are closed beside a
// workflow with as many empty activities, and what a quiet month costs in
// history. Machines are noisy, so every figure is the median of several rounds.
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"text/tabwriter"

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
	rounds  int
	events  int
	members int
	orgs    int
	bin     string

	closeMembers string // see closeMembers
	only         bool   // closeMembers alone
}

func main() {
	var o options
	flag.IntVar(&o.rounds, "rounds", 5, "rounds of each measurement; medians are printed")
	flag.IntVar(&o.events, "events", 200_000, "events of one import")
	flag.IntVar(&o.members, "members", 200, "members who cause them")
	flag.IntVar(&o.orgs, "orgs", 100, "organisations whose month is closed at once")
	flag.StringVar(&o.closeMembers, "close-members", "1000,10000,100000", "members of the large organisations whose month is closed; none = left out")
	flag.BoolVar(&o.only, "close-members-only", false, "measure nothing else")
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
	env      map[string]string
	store    *postgres.Store
	temporal client.Client
	dir      string // for files
}

func run(ctx context.Context, o options) (err error) {
	bin, err := filepath.Abs(o.bin)
	if err != nil {
		return err
	}
	o.bin = bin
	// At Stripe's own limits those would be all that is measured.
	if err := os.Setenv("STRIPE_CALLS_PER_SECOND", strconv.Itoa(providerCallsPerSecond)); err != nil {
		return err
	}
	stack, err := devstack.Start(ctx, devstack.Options{
		Without: []string{devstack.Gateway}, Migrate: postgres.Migrate, SearchAttributes: workflows.SearchAttributes(),
		TaskQueues: []string{workflows.TaskQueue},
		WorkerPath: filepath.Join(bin, "worker"), StarterPath: filepath.Join(bin, "starter"), Log: os.Stderr,
	})
	if err != nil {
		return err
	}
	defer func() { err = cmp.Or(err, stack.Stop()) }()
	r := &rig{options: o, env: stack.Env()}
	if r.dir, err = os.MkdirTemp("", "arrears-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(r.dir)
	if r.store, err = postgres.Open(ctx, r.env["DATABASE_URL"]); err != nil {
		return err
	}
	defer r.store.Close()
	quiet := sdklog.NewStructuredLogger(slog.New(slog.DiscardHandler))
	if r.temporal, err = client.DialContext(ctx, client.Options{HostPort: r.env["TEMPORAL_ADDRESS"], Logger: quiet}); err != nil {
		return err
	}
	defer r.temporal.Close()
	if _, err := r.store.LoadPriceBook(ctx, pricebook.Default(), postgres.By{Actor: "bench"}); err != nil {
		return err
	}
	return r.measure(ctx)
}

// measure runs every measurement and prints them as one table.
func (r *rig) measure(ctx context.Context) error {
	if r.only {
		return r.closeMembers(ctx, os.Stdout, r.options.closeMembers)
	}
	imports, err := r.rounded(ctx, "import", r.importRound)
	if err != nil {
		return err
	}
	closes, err := r.rounded(ctx, "close", r.closeRound)
	if err != nil {
		return err
	}
	history, err := r.history(ctx)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "measured\tours\tthe limit\tratio\tmark\t")
	fmt.Fprintf(w, "usage import, events/s (%d events, %d members, 3 models, one file)\t%.0f\t%.0f (COPY)\t%.2f\t≥ 0.40\t\n",
		r.events, r.members, imports.ours, imports.limit, imports.ratio)
	fmt.Fprintf(w, "months closed and paid/s (%d organisations, %d activities each)\t%.1f\t%.1f (one empty workflow)\t%.2f\t≥ 0.70\t\n",
		r.orgs, history.activities, closes.ours, closes.limit, closes.ratio)
	fmt.Fprintf(w, "the same beside empty workflows of the same shape\t%.1f\t%.1f (three, on five queues)\t%.2f\t\t\n",
		closes.ours, closes.shape, closes.ofShape)
	fmt.Fprintf(w, "history events of a quiet month, invoice and payment included\t%d\t\t\t≤ 90\t\n", history.events)
	fmt.Fprintf(w, "Temporal actions of a quiet month\t%d\t\t\t\t\n", history.actions)
	if err := w.Flush(); err != nil || r.options.closeMembers == "" {
		return err
	}
	return r.closeMembers(ctx, os.Stdout, r.options.closeMembers)
}

// pair is our rate beside the limit's, per second; shape is that of doing nothing
// in the same shape, where there is one.
type pair struct{ ours, limit, ratio, shape, ofShape float64 }

// rounded repeats a measurement and returns medians, that of the ratios among
// them: noise hits both sides of one round alike.
func (r *rig) rounded(ctx context.Context, name string, round func(context.Context, int) (pair, error)) (pair, error) {
	var ours, limits, ratios, shapes, ofShapes []float64
	for n := range r.rounds {
		p, err := round(ctx, n)
		if err != nil {
			return pair{}, fmt.Errorf("%s: %w", name, err)
		}
		ours, limits, ratios = append(ours, p.ours), append(limits, p.limit), append(ratios, p.ours/p.limit)
		shapes, ofShapes = append(shapes, p.shape), append(ofShapes, p.ours/p.shape)
		fmt.Fprintf(os.Stderr, "%s, round %d of %d: %.1f/s beside %.1f/s, ratio %.2f\n", name, n+1, r.rounds, p.ours, p.limit, p.ours/p.limit)
	}
	return pair{median(ours), median(limits), median(ratios), median(shapes), median(ofShapes)}, nil
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
	_, err := r.store.CreateOrganizations(ctx, orgs, postgres.By{Actor: "bench"})
	return err
}
