package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/shopspring/decimal"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/postgres"
)

const (
	checkClients = 64 // who ask at once, as the requests of a busy service do
	fewClients   = 8  // and connections of the limit, which more make slower
	checkMembers = 10_000
	checkFor     = 5 * time.Second
)

// checks measures limit checks, as a gateway asks for them over HTTP and as the
// store answers them, beside a select of one row by its primary key.
func (r *rig) checks(ctx context.Context) ([]row, error) {
	const org = "checks"
	if err := r.limited(ctx, org); err != nil {
		return nil, err
	}
	var delays [3][]time.Duration
	var limitBy string
	// A check's client, where it is this program, is counted in.
	measure := func(which, program, clients int, ask func(n int) error) func(context.Context, int) (pair, error) {
		return func(ctx context.Context, _ int) (pair, error) {
			own, _ := readStat(program)
			before := r.postgresBusy()
			rate, all, err := forAWhile(clients, ask)
			if err != nil {
				return pair{}, err
			}
			after, _ := readStat(program)
			delays[which] = append(delays[which], all...)
			p := pair{ours: rate, counted: checkUnit, events: len(all), program: after.busy - own.busy, postgres: r.postgresBusy() - before}
			before = r.postgresBusy()
			p.limit, limitBy, err = r.selects(ctx)
			p.limiting = time.Duration(float64(r.postgresBusy()-before) * float64(p.events) / (p.limit * checkFor.Seconds()))
			return p, err
		}
	}
	user := func(n int) string { return fmt.Sprintf("user_%06d", n*7919%checkMembers) }
	http, err := r.rounded(ctx, "limit checks over HTTP", r.rounds, measure(0, r.processOf("starter", "serve"), checkClients, func(n int) error {
		return r.post(ctx, "/v1/limits/check", "application/json", fmt.Appendf(nil, `{"organization":%q,"user":%q,"product":"claude_code"}`, org, user(n)))
	}))
	if err != nil {
		return nil, err
	}
	ask := func(n int) error {
		check, err := r.store.CheckLimit(ctx, org, user(n))
		if err == nil && check.Binding == nil {
			err = errors.New("no limit binds")
		}
		return err
	}
	few, err := r.rounded(ctx, fmt.Sprintf("limit checks of the store by %d", fewClients), r.rounds, measure(1, os.Getpid(), fewClients, ask))
	if err != nil {
		return nil, err
	}
	store, err := r.rounded(ctx, fmt.Sprintf("limit checks of the store by %d", checkClients), r.rounds, measure(2, os.Getpid(), checkClients, ask))
	if err != nil {
		return nil, err
	}
	found := func(where string, clients int, p pair, delays []time.Duration) row {
		return row{
			what: fmt.Sprintf("limit checks %s/s (%d ask at once; three limits and %s members; each answer read)", where, clients, short(checkMembers)),
			ours: p.ours, limit: p.limit, unit: limitBy, ratio: p.ratio, note: quantiles(delays) + "; " + p.costs(),
		}
	}
	rows := []row{
		found("over HTTP", checkClients, http, delays[0]),
		found("of the store", fewClients, few, delays[1]),
		found("of the store", checkClients, store, delays[2]),
	}
	rows[2].mark = "≥ 0.50"
	return rows, nil
}

// limited makes an organisation whose members have a seat and spend under their
// own, their tier's and the organisation's limit.
func (r *rig) limited(ctx context.Context, org string) error {
	start, err := r.organization(ctx, org)
	if err != nil {
		return err
	}
	by := billing.Actor{Name: "bench"}
	seats := make([]postgres.SeatChange, checkMembers)
	for n := range seats {
		seats[n] = postgres.SeatChange{User: fmt.Sprintf("user_%06d", n), Tier: "chat", From: start}
	}
	if _, err := r.store.AssignSeats(ctx, org, seats, by); err != nil {
		return err
	}
	amount := decimal.NewNullDecimal(decimal.NewFromInt(1_000_000))
	for _, change := range []billing.LimitChange{
		{Scope: billing.ScopeOrganization, Amount: amount},
		{Scope: billing.ScopeSeatTier, Subject: "chat", Amount: amount},
	} {
		if _, err := r.store.SetLimit(ctx, org, change, by); err != nil {
			return err
		}
	}
	for n := range checkMembers / 10 { // one in ten has its own, too
		change := billing.LimitChange{Scope: billing.ScopeUser, Subject: fmt.Sprintf("user_%06d", n*10), Amount: amount}
		if _, err := r.store.SetLimit(ctx, org, change, by); err != nil {
			return err
		}
	}
	items := make([]billing.UsageItem, checkMembers)
	for n := range items {
		items[n].Event = usageOf(org, fmt.Sprintf("user_%06d", n), fmt.Sprintf("evt_%09d", n), start, n)
	}
	if _, err := r.store.StoreUsage(ctx, org, items); err != nil {
		return err
	}
	if _, err := r.conn.Exec(ctx, `DROP TABLE IF EXISTS single; CREATE TABLE single (id int PRIMARY KEY, value text NOT NULL);
INSERT INTO single SELECT n, repeat('x', 84) FROM generate_series(1, 100000) n`); err != nil {
		return err
	}
	_, err = r.conn.Exec(ctx, `VACUUM ANALYZE`)
	return err
}

// forAWhile has each client ask one question after the other, and returns how
// many a second were answered and how long each took.
func forAWhile(clients int, ask func(n int) error) (rate float64, delays []time.Duration, err error) {
	var mu sync.Mutex
	var running sync.WaitGroup
	began := time.Now()
	for client := range clients {
		running.Go(func() {
			var own []time.Duration
			var failed error
			for n := client; failed == nil && time.Since(began) < checkFor; n += clients {
				asked := time.Now()
				failed = ask(n)
				own = append(own, time.Since(asked))
			}
			mu.Lock()
			defer mu.Unlock()
			delays, err = append(delays, own...), errors.Join(err, failed)
		})
	}
	running.Wait()
	return perSecond(len(delays), time.Since(began)), delays, err
}

func quantiles(delays []time.Duration) string {
	return fmt.Sprintf("p50 %s, p99 %s", quantile(delays, 0.50), quantile(delays, 0.99))
}

func quantile(delays []time.Duration, q float64) time.Duration {
	if len(delays) == 0 {
		return 0
	}
	slices.Sort(delays)
	return delays[min(int(q*float64(len(delays))), len(delays)-1)].Round(10 * time.Microsecond)
}

const singleSelect = `SELECT value FROM single WHERE id = `

// selects is the limit: prepared selects of single rows by primary key, by
// pgbench where it is found, else by this program.
func (r *rig) selects(ctx context.Context) (rate float64, by string, err error) {
	program, err := findPgbench()
	if err != nil {
		rate, err = r.ownSelects(ctx)
		return rate, "selects by pgx", err
	}
	script := filepath.Join(r.dir, "select.sql")
	if err := os.WriteFile(script, []byte("\\set id random(1, 100000)\n"+singleSelect+":id;\n"), 0o600); err != nil {
		return 0, "", err
	}
	u, err := url.Parse(r.env["DATABASE_URL"])
	if err != nil {
		return 0, "", err
	}
	password, _ := u.User.Password()
	seconds := strconv.Itoa(int(checkFor.Seconds()))
	cmd := exec.CommandContext(ctx, program, "-n", "-M", "prepared", "-c", strconv.Itoa(fewClients), "-j", "2", "-T", seconds, "-f", script,
		"-h", u.Hostname(), "-p", u.Port(), "-U", u.User.Username(), filepath.Base(u.Path))
	cmd.Env = append(os.Environ(), "PGPASSWORD="+password)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return 0, "", fmt.Errorf("pgbench: %w: %s", err, out)
	}
	found := regexp.MustCompile(`tps = ([0-9.]+)`).FindSubmatch(out)
	if found == nil {
		return 0, "", fmt.Errorf("pgbench said no rate: %s", out)
	}
	rate, err = strconv.ParseFloat(string(found[1]), 64)
	return rate, "selects by pgbench", err
}

// findPgbench looks in the path and where Debian keeps it.
func findPgbench() (string, error) {
	if path, err := exec.LookPath("pgbench"); err == nil {
		return path, nil
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/pgbench")
	if len(found) == 0 {
		return "", exec.ErrNotFound
	}
	return found[len(found)-1], nil
}

func (r *rig) ownSelects(ctx context.Context) (float64, error) {
	conns := make(chan *pgx.Conn, fewClients)
	for range fewClients {
		conn, err := pgx.Connect(ctx, r.env["DATABASE_URL"])
		if err != nil {
			return 0, err
		}
		defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
		conns <- conn
	}
	rate, _, err := forAWhile(fewClients, func(n int) error {
		conn := <-conns
		defer func() { conns <- conn }()
		var value string
		return conn.QueryRow(ctx, singleSelect+"$1", 1+n*7919%100_000).Scan(&value)
	})
	return rate, err
}
