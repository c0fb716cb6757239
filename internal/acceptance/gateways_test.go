package acceptance

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"
)

const (
	gateways      = 4
	usageWriters  = 40
	usageMembers  = 30
	writingTime   = 8 * time.Second
	tokenPrice    = "0.000005" // an output token of Haiku 4.5, from the published table
	memberLimit   = "1.00"
	companyLimit  = "60.00"
	longestEvents = 5 // of one post
)

// Writers post usage over four gateways, one of which is killed at any moment and
// started again. They do what callers do: what was not acknowledged they send
// again, to whichever gateway answers, and now and then something old besides.
// ARREARS_SEED repeats a run's posts and kills, if not its races.
func TestKilledGatewaysLoseNothingAndCrossingsAreNoticedOnce(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	if given, err := strconv.ParseUint(os.Getenv("ARREARS_SEED"), 10, 64); err == nil {
		seed = given
	}
	t.Logf("ARREARS_SEED=%d", seed)
	s := startStack(t, "--without", "gateway")
	s.must("prices", "load", "../pricebook/books/anthropic-2026-01.yaml")
	s.must("org", "create", "acme", "--start", "2026-10-01T00:00:00Z", "--test-clock", "2026-10-10T00:00:00Z", "--payment-method", "pm_card_visa")
	s.must("seats", "import", "acme", membersFile(t))
	s.must("limits", "set", "acme", "--tier", "chat", "--amount", memberLimit)
	s.must("limits", "set", "acme", "--org", "--amount", companyLimit, "--thresholds", "1,2,5,10,20,30,50,75,90,100")
	s.must("cycle", "start", "acme")

	fleet := s.startFleet()
	load := s.startLoad(seed, fleet)
	killed := fleet.killSome(rand.New(rand.NewPCG(seed, 1)), writingTime)
	tokens, events := load.stop()
	t.Logf("%d gateways killed, %d events in %d posts acknowledged, %d answers missing, %d sent in vain",
		killed, events, load.posts, load.unanswered, load.repeated)
	require.Positive(t, load.unanswered, "the kills hit somebody")

	var rows []struct {
		User           string
		Events, Output int64
	}
	s.read(&rows, "usage", "summary", "acme", "--by", "user")
	stored, total := map[string]int64{}, int64(0)
	for _, row := range rows {
		if row.Events > 0 {
			stored[row.User] = row.Output
		}
		total += row.Events
	}
	require.Equal(t, events, total, "every acknowledged event is stored once")
	require.Equal(t, tokens, stored)
	s.must("verify")
	s.requireNoticesOf(tokens)
}

func membersFile(t *testing.T) string {
	t.Helper()
	var file strings.Builder
	file.WriteString("user,tier,from\n")
	for m := range usageMembers {
		fmt.Fprintf(&file, "%s,chat,2026-10-01\n", member(m))
	}
	path := filepath.Join(t.TempDir(), "members.csv")
	require.NoError(t, os.WriteFile(path, []byte(file.String()), 0o600))
	return path
}

func member(m int) string { return fmt.Sprintf("user_%02d", m) }

// requireNoticesOf requires one notice for each threshold that the usage passed,
// and that each was sent once or passed together with a higher one.
func (s *stack) requireNoticesOf(tokens map[string]int64) {
	s.t.Helper()
	price, want := decimal.RequireFromString(tokenPrice), []string{}
	passed := func(scope, subject string, tokens int64, limit string, thresholds ...int64) {
		spent := price.Mul(decimal.NewFromInt(tokens)).Shift(2)
		for _, threshold := range thresholds {
			if spent.GreaterThanOrEqual(decimal.RequireFromString(limit).Mul(decimal.NewFromInt(threshold))) {
				want = append(want, fmt.Sprint(scope, " ", subject, " ", threshold))
			}
		}
	}
	all := int64(0)
	for user, used := range tokens {
		passed("seat_tier", user, used, memberLimit, 75, 95, 100)
		all += used
	}
	passed("organization", "", all, companyLimit, 1, 2, 5, 10, 20, 30, 50, 75, 90, 100)
	require.NotEmpty(s.t, want)

	var notices []struct {
		Scope, Subject, Status string
		Threshold              int64
		Deliveries             []struct{ Attempts int }
	}
	require.Eventually(s.t, func() bool {
		s.read(&notices, "notices", "list", "acme")
		for _, n := range notices {
			if n.Status == "pending" {
				return false
			}
		}
		return true
	}, 30*time.Second, 200*time.Millisecond, "all are sent")
	got := []string{}
	for _, n := range notices {
		got = append(got, fmt.Sprint(n.Scope, " ", n.Subject, " ", n.Threshold))
		switch n.Status {
		case "sent":
			require.Len(s.t, n.Deliveries, 1)
			require.Equal(s.t, 1, n.Deliveries[0].Attempts)
		default:
			require.Equal(s.t, "recorded", n.Status)
			require.Empty(s.t, n.Deliveries)
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	require.Equal(s.t, want, got)
}

// fleet are gateways on one database.
type fleet struct {
	s         *stack
	addresses []string
	programs  []*exec.Cmd
}

func (s *stack) startFleet() *fleet {
	s.t.Helper()
	f := &fleet{s: s, programs: make([]*exec.Cmd, gateways)}
	for range gateways {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(s.t, err)
		f.addresses = append(f.addresses, listener.Addr().String())
		require.NoError(s.t, listener.Close())
	}
	for i := range gateways {
		f.start(i)
	}
	s.t.Cleanup(func() {
		for i := range gateways {
			f.kill(i)
		}
	})
	for _, address := range f.addresses {
		require.Eventually(s.t, func() bool {
			response, err := http.Get("http://" + address + "/readyz")
			if err != nil {
				return false
			}
			defer response.Body.Close()
			return response.StatusCode == http.StatusOK
		}, 30*time.Second, 20*time.Millisecond)
	}
	return f
}

func (f *fleet) start(i int) {
	f.s.t.Helper()
	program := exec.Command(filepath.Join(programs, "starter"), "serve", "--listen", f.addresses[i])
	program.Env = append(slices.Clone(f.s.env), "LOG_LEVEL=error")
	require.NoError(f.s.t, program.Start())
	f.programs[i] = program
}

func (f *fleet) kill(i int) {
	_ = f.programs[i].Process.Kill()
	_ = f.programs[i].Wait()
}

// killSome kills gateways at random moments for a while, starts each again, and
// returns how many died.
func (f *fleet) killSome(chance *rand.Rand, while time.Duration) (killed int) {
	for end := time.Now().Add(while); time.Now().Before(end); killed++ {
		time.Sleep(time.Duration(100+chance.IntN(700)) * time.Millisecond)
		i := chance.IntN(gateways)
		f.kill(i)
		time.Sleep(time.Duration(chance.IntN(300)) * time.Millisecond)
		f.start(i)
	}
	return killed
}

// load is what the writers do, and what was acknowledged to them.
type load struct {
	fleet *fleet
	key   string
	ended chan struct{}
	wait  sync.WaitGroup

	mu                          sync.Mutex
	tokens                      map[string]int64 // by member
	events                      int64
	posts, unanswered, repeated int
	wrong                       []string // answers that must not be
}

func (s *stack) startLoad(seed uint64, f *fleet) *load {
	l := &load{fleet: f, key: s.getenv("ARREARS_API_KEY"), ended: make(chan struct{}), tokens: map[string]int64{}}
	for w := range usageWriters {
		l.wait.Go(func() { l.write(w, rand.New(rand.NewPCG(seed, uint64(w)+2))) })
	}
	return l
}

// stop lets the writers finish, and returns what was acknowledged.
func (l *load) stop() (tokens map[string]int64, events int64) {
	l.fleet.s.t.Helper()
	close(l.ended)
	l.wait.Wait()
	require.Empty(l.fleet.s.t, l.wrong)
	return l.tokens, l.events
}

// batch is one post, and what it adds up to.
type batch struct {
	body   string
	events int
	tokens map[string]int64
}

func newBatch(writer, n int, chance *rand.Rand) batch {
	b := batch{events: 1 + chance.IntN(longestEvents), tokens: map[string]int64{}}
	var body strings.Builder
	for e := range b.events {
		user, output := member(chance.IntN(usageMembers)), 1+chance.Int64N(4000)
		b.tokens[user] += output
		fmt.Fprintf(&body, `{"id":"%d-%d-%d","organization":"acme","user":"%s","occurred_at":"2026-10-09T12:00:00Z","product":"chat",`+
			`"model":"claude-haiku-4-5","usage":{"input_tokens":0,"output_tokens":%d}}`+"\n", writer, n, e, user, output)
	}
	b.body = body.String()
	return b
}

func (l *load) write(writer int, chance *rand.Rand) {
	var old []batch
	for n := 0; ; n++ {
		select {
		case <-l.ended:
			return
		default:
		}
		b := newBatch(writer, n, chance)
		if !l.insist(b, chance, "accepted", "duplicate") {
			return
		}
		l.mu.Lock()
		l.posts++
		l.events += int64(b.events)
		for user, tokens := range b.tokens {
			l.tokens[user] += tokens
		}
		l.mu.Unlock()
		if old = append(old, b); chance.IntN(10) == 0 { // somebody's log is played again
			if !l.insist(old[chance.IntN(len(old))], chance, "duplicate") {
				return
			}
			l.mu.Lock()
			l.repeated++
			l.mu.Unlock()
		}
	}
}

// insist sends a batch until it is acknowledged with one of the given statuses
// for each event.
func (l *load) insist(b batch, chance *rand.Rand, statuses ...string) bool {
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); {
		code, results := l.send(b, l.fleet.addresses[chance.IntN(gateways)])
		if code == http.StatusOK {
			fine := len(results) == b.events && !slices.ContainsFunc(results, func(r string) bool { return !slices.Contains(statuses, r) })
			if !fine {
				l.complain(fmt.Sprintf("%v for %s", results, b.body))
			}
			return fine
		}
		if code != 0 && code != http.StatusServiceUnavailable {
			l.complain(fmt.Sprintf("answered %d", code))
			return false
		}
		l.mu.Lock()
		l.unanswered++
		l.mu.Unlock()
		time.Sleep(time.Duration(chance.IntN(50)) * time.Millisecond)
	}
	l.complain("never acknowledged: " + b.body)
	return false
}

func (l *load) complain(what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wrong = append(l.wrong, what)
}

// send posts a batch; code 0 is no answer, or one that was cut off.
func (l *load) send(b batch, address string) (code int, results []string) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+address+"/v1/usage", strings.NewReader(b.body))
	if err != nil {
		return 0, nil
	}
	request.Header.Set("Authorization", "Bearer "+l.key)
	request.Header.Set("Content-Type", "application/x-ndjson")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, nil
	}
	defer response.Body.Close()
	var body bytes.Buffer
	if _, err := io.Copy(&body, response.Body); err != nil {
		return 0, nil
	}
	var answer struct{ Results []struct{ Status string } }
	if response.StatusCode == http.StatusOK && json.Unmarshal(body.Bytes(), &answer) != nil {
		return 0, nil
	}
	for _, r := range answer.Results {
		results = append(results, r.Status)
	}
	return response.StatusCode, results
}
