package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/devstack"
	"github.com/arrears-dev/arrears/internal/devstack/fakestripe"
	"github.com/arrears-dev/arrears/internal/postgres"
)

// answered is what became of one post.
type answered struct {
	status     int // 0 = no answer
	retryAfter string
	events     []string // status of each event
	took       time.Duration
}

// post sends usage and reads the answer; it may run beside the test.
func post(ctx context.Context, server, body string) (a answered) {
	start := time.Now()
	defer func() { a.took = time.Since(start) }()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, server+"/v1/usage", strings.NewReader(body))
	if err != nil {
		return a
	}
	request.Header.Set("Authorization", "Bearer "+gatewayKey)
	request.Header.Set("Content-Type", "application/x-ndjson")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return a
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return a
	}
	var answer struct {
		Results []struct{ Status string }
	}
	_ = json.Unmarshal(text, &answer)
	for _, r := range answer.Results {
		a.events = append(a.events, r.Status)
	}
	a.status, a.retryAfter = response.StatusCode, response.Header.Get("Retry-After")
	return a
}

// onDatabase is a shell like newAcme's whose database is at a URL of the caller's.
func onDatabase(t *testing.T, databaseURL string) *shell {
	t.Helper()
	stripe, err := fakestripe.New(fakestripe.Options{Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, stripe.Close()) })
	server := httptest.NewServer(stripe)
	t.Cleanup(server.Close)
	return newShell(t, "DATABASE_URL="+databaseURL, "STRIPE_API_BASE="+server.URL, "STRIPE_SECRET_KEY=sk_test_local")
}

func (s *shell) databaseURL() string {
	for _, pair := range s.environ {
		if value, ok := strings.CutPrefix(pair, "DATABASE_URL="); ok {
			return value
		}
	}
	return ""
}

// at is the same shell with another way to its database.
func (s *shell) at(databaseURL string) *shell {
	other := *s
	other.environ = append([]string{"DATABASE_URL=" + databaseURL}, s.environ[1:]...)
	return &other
}

// sql runs one statement beside the product, and returns the first value.
func (s *shell) sql(statement string, args ...any) (value string) {
	s.t.Helper()
	conn, err := pgx.Connect(s.t.Context(), s.databaseURL())
	require.NoError(s.t, err)
	defer func() { _ = conn.Close(context.Background()) }()
	rows, err := conn.Query(s.t.Context(), statement, args...)
	require.NoError(s.t, err)
	for rows.Next() {
		values, err := rows.Values()
		require.NoError(s.t, err)
		value = fmt.Sprint(values[0])
	}
	require.NoError(s.t, rows.Err())
	return value
}

// TestFiftyWritersOfOneHotOrganization: across posts
// that share transactions, too, each id has one winner, and nothing is lost.
func TestFiftyWritersOfOneHotOrganization(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	server := newTestGateway(t, s)
	const writers, posts = 50, 6
	var mu sync.Mutex
	counts := map[string]int{}
	var wait sync.WaitGroup
	for w := range writers {
		wait.Go(func() {
			for p := range posts { // the second event is one other writer's, too; the third another's with other content
				body := usageLine(fmt.Sprintf("own-%d-%d", w, p), "alice", "claude-sonnet-4-5", 900) +
					usageLine(fmt.Sprintf("shared-%d-%d", w/2, p), "bob", "claude-sonnet-4-5", 900) +
					usageLine(fmt.Sprintf("torn-%d-%d", w/2, p), "carol", "claude-sonnet-4-5", 900+w)
				a := post(t.Context(), server.URL, body)
				mu.Lock()
				counts[fmt.Sprint("HTTP ", a.status)]++
				for i, status := range a.events {
					counts[fmt.Sprint(i, " ", status)]++
				}
				mu.Unlock()
			}
		})
	}
	wait.Wait()
	const all = writers * posts
	require.Equal(t, map[string]int{
		"HTTP 200": all, "0 accepted": all, "1 accepted": all / 2, "1 duplicate": all / 2, "2 accepted": all / 2, "2 conflict": all / 2,
	}, counts)
	require.Equal(t, strconv.Itoa(2*all), s.sql(`SELECT count(*) FROM usage_events`))
	transactions, err := strconv.Atoi(s.sql(`SELECT count(DISTINCT xmin::text) FROM usage_events`))
	require.NoError(t, err)
	require.Less(t, transactions, all, "posts shared transactions")
	t.Logf("%d posts in %d transactions", all, transactions)
	s.ok("verify", "acme")
}

// TestThePrimaryStopsUnderLoadAndComesBack: the writers do what
// callers do, they try again. Nothing acknowledged is lost, nothing is doubled.
func TestThePrimaryStopsUnderLoadAndComesBack(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("needs PostgreSQL")
	}
	dir := filepath.Join(t.TempDir(), "cluster")
	primary, err := devstack.StartPostgres(t.Context(), devstack.PostgresOptions{DataDir: dir})
	require.NoError(t, err)
	defer func() { require.NoError(t, primary.Stop()) }()
	address := primary.URL("postgres")
	require.NoError(t, postgres.Migrate(t.Context(), address))
	s := onDatabase(t, address)
	s.ok("prices", "load", "anthropic-2026-01")
	s.ok("org", "create", "acme", "--test-clock", "2026-10-10T00:00:00Z", "--start", "2026-10-01")
	server := newTestGateway(t, s)

	writers := startWriters(t, server.URL, 8)
	writers.until(50)
	stopAtOnce(t, dir)
	require.NoError(t, primary.Stop())
	away := post(t.Context(), server.URL, usageLine("away", "alice", "claude-sonnet-4-5", 900))
	require.Equal(t, http.StatusServiceUnavailable, away.status)
	require.NotEmpty(t, away.retryAfter)
	require.Less(t, away.took, 5*time.Second)
	status, body := call(t, http.MethodGet, server.URL+"/healthz", "")
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, body, `"degraded"`)
	status, _ = call(t, http.MethodGet, server.URL+"/readyz", "")
	require.Equal(t, http.StatusServiceUnavailable, status)

	at, err := url.Parse(address)
	require.NoError(t, err)
	port, err := strconv.Atoi(at.Port())
	require.NoError(t, err)
	primary, err = devstack.StartPostgres(t.Context(), devstack.PostgresOptions{DataDir: dir, Port: port})
	require.NoError(t, err)
	writers.until(writers.stored() + 50)
	acknowledged := writers.stop()
	require.Equal(t, strconv.Itoa(acknowledged), s.sql(`SELECT count(*) FROM usage_events WHERE event_id <> 'away'`))
	require.Equal(t, "0", s.sql(`SELECT count(*) FROM unnest($1::text[]) id WHERE NOT EXISTS (SELECT 1 FROM usage_events WHERE event_id = id)`,
		writers.ids()))
	require.Zero(t, writers.others.Load(), "answers are 200, 503 with Retry-After, or none")
	s.ok("verify", "acme")
}

// stopAtOnce is pg_ctl stop -m immediate.
func stopAtOnce(t *testing.T, dir string) {
	t.Helper()
	file, err := os.ReadFile(filepath.Join(dir, "data", "postmaster.pid"))
	require.NoError(t, err)
	first, _, _ := strings.Cut(string(file), "\n")
	pid, err := strconv.Atoi(first)
	require.NoError(t, err)
	require.NoError(t, syscall.Kill(pid, syscall.SIGQUIT))
	require.Eventually(t, func() bool { return syscall.Kill(pid, 0) != nil }, 10*time.Second, 5*time.Millisecond)
}

// writers post events one after the other, each until it is acknowledged.
type writers struct {
	t      *testing.T
	ended  chan struct{}
	wait   sync.WaitGroup
	others atomic.Int64

	mu    sync.Mutex
	acked []string
}

func startWriters(t *testing.T, server string, n int) *writers {
	w := &writers{t: t, ended: make(chan struct{})}
	for i := range n {
		w.wait.Go(func() {
			for e := 0; ; e++ {
				select {
				case <-w.ended:
					return
				default:
					w.write(server, fmt.Sprintf("%d-%d", i, e))
				}
			}
		})
	}
	return w
}

func (w *writers) write(server, id string) {
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); {
		a := post(context.Background(), server, usageLine(id, "alice", "claude-sonnet-4-5", 900))
		switch {
		case a.status == http.StatusOK && (a.events[0] == "accepted" || a.events[0] == "duplicate"):
			w.mu.Lock()
			w.acked = append(w.acked, id)
			w.mu.Unlock()
			return
		case a.status != 0 && (a.status != http.StatusServiceUnavailable || a.retryAfter == ""):
			w.others.Add(1)
		}
		time.Sleep(20 * time.Millisecond)
	}
	w.others.Add(1)
}

func (w *writers) ids() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string{}, w.acked...)
}

func (w *writers) stored() int { return len(w.ids()) }

// until waits until so many events are acknowledged.
func (w *writers) until(n int) {
	w.t.Helper()
	require.Eventually(w.t, func() bool { return w.stored() >= n }, 30*time.Second, 5*time.Millisecond)
}

// stop lets the writers finish their events, and returns how many were acknowledged.
func (w *writers) stop() int {
	close(w.ended)
	w.wait.Wait()
	return w.stored()
}

// TestAConnectionCutDuringCommitLeavesNoDoubt: whoever does not know whether
// it was committed sends it again.
func TestAConnectionCutDuringCommitLeavesNoDoubt(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		forward bool
		again   string
	}{
		"after the database had it":    {true, "duplicate"},
		"before the database heard it": {false, "accepted"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newAcme(t)
			line := startLine(t, s.databaseURL())
			server := newTestGateway(t, s.at(line.url))
			warm := post(t.Context(), server.URL, usageLine("warm", "alice", "claude-sonnet-4-5", 900))
			require.Equal(t, []string{"accepted"}, warm.events)

			line.cutNextCommit(c.forward)
			body := usageLine("1", "alice", "claude-sonnet-4-5", 900)
			doubt := post(t.Context(), server.URL, body)
			require.Equal(t, http.StatusServiceUnavailable, doubt.status, "never acknowledged")
			require.NotEmpty(t, doubt.retryAfter)
			again := post(t.Context(), server.URL, body)
			require.Equal(t, []string{c.again}, again.events)
			require.Equal(t, "2", s.sql(`SELECT count(*) FROM usage_events`))
			s.ok("verify", "acme")
		})
	}
}

// line is a way to the database that can be cut.
type line struct {
	url string
	cut atomic.Int32 // what becomes of the next COMMIT
}

const (
	carry int32 = iota
	cutBefore
	cutAfter
)

func startLine(t *testing.T, databaseURL string) *line {
	t.Helper()
	at, err := url.Parse(databaseURL)
	require.NoError(t, err)
	target := at.Host
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	at.Host = listener.Addr().String()
	l := &line{url: at.String()}
	var wait sync.WaitGroup
	wait.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			wait.Go(func() { l.connect(client, target) })
		}
	})
	t.Cleanup(wait.Wait)
	t.Cleanup(func() { _ = listener.Close() })
	return l
}

func (l *line) cutNextCommit(forward bool) {
	l.cut.Store(cutBefore)
	if forward {
		l.cut.Store(cutAfter)
	}
}

func (l *line) connect(client net.Conn, target string) {
	defer client.Close()
	database, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer database.Close()
	var mute atomic.Bool // the database speaks, and nobody hears it
	heard := make(chan struct{}, 1)
	go func() {
		defer client.Close()
		buffer := make([]byte, 32<<10)
		for {
			n, err := database.Read(buffer)
			if mute.Load() {
				heard <- struct{}{}
				return
			}
			if _, failed := client.Write(buffer[:n]); err != nil || failed != nil {
				return
			}
		}
	}()
	buffer := make([]byte, 32<<10)
	for {
		n, err := client.Read(buffer)
		if err != nil {
			return
		}
		if bytes.Contains(buffer[:n], []byte("commit\x00")) {
			switch how := l.cut.Swap(carry); how {
			case cutBefore:
				return
			case cutAfter:
				mute.Store(true)
				_, _ = database.Write(buffer[:n])
				<-heard // it has committed
				return
			}
		}
		if _, err := database.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// TestAnExhaustedPoolIsBackpressure: every connection of the gateway waits for
// a lock that somebody holds. Callers are told so within seconds, and when the lock
// goes everything does.
func TestAnExhaustedPoolIsBackpressure(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	server := newTestGateway(t, s.at(s.databaseURL()+"&pool_max_conns=4"))
	holder, err := pgx.Connect(t.Context(), s.databaseURL())
	require.NoError(t, err)
	defer func() { _ = holder.Close(context.Background()) }()
	_, err = holder.Exec(t.Context(), `BEGIN; SELECT pg_advisory_xact_lock(hashtextextended('terms/acme', 0))`)
	require.NoError(t, err)

	const callers = 40
	answers := make(chan answered, callers)
	for i := range callers {
		go func() {
			answers <- post(context.Background(), server.URL, usageLine(fmt.Sprint(i), "alice", "claude-sonnet-4-5", 900))
		}()
	}
	var turnedAway int
	for turnedAway < callers/2 {
		a := <-answers
		require.Equal(t, http.StatusServiceUnavailable, a.status)
		require.NotEmpty(t, a.retryAfter)
		require.Less(t, a.took, 8*time.Second)
		turnedAway++
	}
	_, health := call(t, http.MethodGet, server.URL+"/healthz", "")
	require.Contains(t, health, "too many requests wait")
	start := time.Now()
	status, decision := call(t, http.MethodPost, server.URL+"/v1/limits/check", `{"organization":"acme","product":"chat"}`,
		"Authorization", "Bearer "+gatewayKey, "Content-Type", "application/json")
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, decision, `"degraded":false`, "limit checks have connections left")
	require.Less(t, time.Since(start), 2*time.Second)

	_, err = holder.Exec(t.Context(), `COMMIT`)
	require.NoError(t, err)
	for range callers - turnedAway {
		<-answers
	}
	for i := range callers {
		a := post(t.Context(), server.URL, usageLine(fmt.Sprint(i), "alice", "claude-sonnet-4-5", 900))
		require.Equal(t, http.StatusOK, a.status)
	}
	require.Equal(t, strconv.Itoa(callers), s.sql(`SELECT count(*) FROM usage_events`))
	s.ok("verify", "acme")
}

func TestADatabaseWithoutConnectionsLeftIsToldAtOnce(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	role := "few_" + strings.ToLower(rand.Text()[:10])
	s.sql(`CREATE ROLE ` + role + ` LOGIN PASSWORD 'few' CONNECTION LIMIT 2`)
	defer func() {
		s.sql(`DROP OWNED BY ` + role)
		s.sql(`DROP ROLE ` + role)
	}()
	s.sql(`GRANT ALL ON ALL TABLES IN SCHEMA public TO ` + role)
	s.sql(`GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO ` + role)
	at, err := url.Parse(s.databaseURL())
	require.NoError(t, err)
	at.User = url.UserPassword(role, "few")
	server := newTestGateway(t, s.at(at.String()))
	s.sql(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1`, role)
	for range 2 { // other programs take what there is
		require.Eventually(t, func() bool {
			other, err := pgx.Connect(t.Context(), at.String())
			if err == nil {
				t.Cleanup(func() { _ = other.Close(context.Background()) })
			}
			return err == nil
		}, 5*time.Second, 10*time.Millisecond)
	}
	for range 3 {
		a := post(t.Context(), server.URL, usageLine("1", "alice", "claude-sonnet-4-5", 900))
		require.Equal(t, http.StatusServiceUnavailable, a.status)
		require.NotEmpty(t, a.retryAfter)
		require.Less(t, a.took, 2*time.Second, "fast")
	}
	status, health := call(t, http.MethodGet, server.URL+"/readyz", "")
	require.Equal(t, http.StatusServiceUnavailable, status)
	require.Contains(t, health, "degraded")
}

func TestWhatUsageWaitedForInVainIsNamedInTheLog(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	holder, err := pgx.Connect(t.Context(), s.databaseURL()+"&application_name=forgotten-psql")
	require.NoError(t, err)
	defer func() { _ = holder.Close(context.Background()) }()
	_, err = holder.Exec(t.Context(), `BEGIN; SELECT pg_advisory_xact_lock(hashtextextended('terms/acme', 0))`)
	require.NoError(t, err)
	store, err := postgres.Open(t.Context(), s.databaseURL())
	require.NoError(t, err)
	defer store.Close()
	var log bytes.Buffer
	gateway := gatewayUsage{store, slog.New(slog.NewTextHandler(&log, nil))}
	ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
	defer cancel()
	_, err = gateway.StoreUsage(ctx, "acme", []billing.UsageItem{{Event: billing.Event{ID: "1", OccurredAt: time.Now()}}})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Contains(t, log.String(), "application=forgotten-psql")
	require.Contains(t, log.String(), fmt.Sprintf("pid=%d", holder.PgConn().PID()))
}
