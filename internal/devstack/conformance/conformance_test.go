package conformance

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/devstack/fakestripe"
	"github.com/arrears-dev/arrears/internal/devstack/stripemock"
)

var update = flag.Bool("update", false, "write docs/stripe-contract.md anew")

const (
	contract   = "../../../docs/stripe-contract.md"
	apiVersion = "2023-10-16"
	testKeyEnv = "ARREARS_STRIPE_TEST_KEY"
)

// seen is what a call was answered.
type seen struct {
	status int
	object string // of the answer, or the type of the error
	shown  string // the values that must agree
}

func (s seen) short() string { return strings.TrimSpace(fmt.Sprint(s.status, " ", s.object)) }
func (s seen) whole() string { return strings.TrimSpace(s.short() + " " + s.shown) }

// account is where the script runs.
type account struct {
	base, key string
	run       string            // sets the keys of this run apart
	saved     map[string]string // {name} → value
	pace      time.Duration
}

// play makes every call of the script that is meant for the account.
func (a *account) play(t *testing.T, skip func(call) bool) []*seen {
	t.Helper()
	a.saved = map[string]string{}
	answers := make([]*seen, len(script()))
	for i, c := range script() {
		if skip(c) {
			continue
		}
		answers[i] = a.makePatiently(t, c)
	}
	return answers
}

// makePatiently makes a call as often as Stripe itself may need: its test mode
// limits the rate, and does some things moments after it has answered.
func (a *account) makePatiently(t *testing.T, c call) *seen {
	t.Helper()
	for try := 1; ; try++ {
		answer, err := a.make(t, c)
		require.NoError(t, err, c.does)
		early := answer.status == http.StatusTooManyRequests || (c.later && strings.Contains(answer.shown, "data.#=0"))
		if a.pace == 0 || !early || try == 10 {
			time.Sleep(a.pace)
			return answer
		}
		time.Sleep(time.Second)
	}
}

var name = regexp.MustCompile(`\{(\w+)\}`)

func (a *account) fill(text string) string {
	return name.ReplaceAllStringFunc(text, func(one string) string { return a.saved[strings.Trim(one, "{}")] })
}

func (a *account) make(t *testing.T, c call) (*seen, error) {
	key := a.key
	path, bad := strings.CutSuffix(c.path, "?bad_key")
	if bad {
		key = "nonsense"
	}
	r, err := http.NewRequestWithContext(t.Context(), c.method, a.base+a.fill(path), strings.NewReader(a.fill(c.form)))
	if err != nil {
		return nil, err
	}
	r.SetBasicAuth(key, "")
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Stripe-Version", apiVersion)
	if c.key != "" {
		r.Header.Set("Idempotency-Key", c.key+"/"+a.run)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	defer func() { _ = answer.Body.Close() }()
	raw, err := io.ReadAll(answer.Body)
	if err != nil {
		return nil, err
	}
	var body any
	if err := json.Unmarshal(raw, &body); err != nil {
		return nil, fmt.Errorf("%w: %s", err, raw)
	}
	a.keep(c.save, body)
	return a.see(c, answer, body), nil
}

func (a *account) keep(save string, body any) {
	for one := range strings.SplitSeq(save, ",") {
		if into, path, ok := strings.Cut(one, "="); ok {
			a.saved[into] = value(body, path)
		}
	}
}

func (a *account) see(c call, answer *http.Response, body any) *seen {
	s := &seen{status: answer.StatusCode, object: value(body, "object")}
	if s.object == "-" {
		s.object = value(body, "error.type")
	}
	var shown []string
	for _, path := range strings.Fields(c.show) {
		switch field, want, refers := strings.Cut(path, "="); {
		case path == "object" || path == "error.type":
		case path == "replayed":
			shown = append(shown, "replayed="+strconv.FormatBool(answer.Header.Get("Idempotent-Replayed") == "true"))
		case refers: // an id, which differs from run to run
			shown = append(shown, field+"="+map[bool]string{true: "as before", false: "another"}[value(body, field) == a.fill(want)])
		default:
			shown = append(shown, strings.TrimPrefix(path, "error.")+"="+value(body, path))
		}
	}
	s.shown = strings.Join(shown, " ")
	return s
}

// value walks a path such as data.0.status; # is a list's length, - what is not there.
func value(body any, path string) string {
	for step := range strings.SplitSeq(path, ".") {
		switch at := body.(type) {
		case map[string]any:
			body = at[step]
		case []any:
			n, err := strconv.Atoi(step)
			switch {
			case step == "#":
				body = float64(len(at))
			case err == nil && n < len(at):
				body = at[n]
			default:
				body = nil
			}
		default:
			body = nil
		}
	}
	switch at := body.(type) {
	case nil:
		return "-"
	case map[string]any:
		return value(at, "id")
	case float64:
		return strconv.FormatFloat(at, 'f', -1, 64)
	default:
		return fmt.Sprint(at)
	}
}

func startLocal(t *testing.T) *account {
	t.Helper()
	server, err := fakestripe.New(fakestripe.Options{Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	listener := httptest.NewServer(server)
	t.Cleanup(func() {
		listener.Close()
		require.NoError(t, server.Close())
	})
	return &account{base: listener.URL, key: "sk_test_local"}
}

// TestTheContractWithStripe plays the script to the local Stripe and to stripe-mock
// and holds what they say against docs/stripe-contract.md.
func TestTheContractWithStripe(t *testing.T) {
	t.Parallel()
	local := startLocal(t).play(t, func(call) bool { return false })
	mock := (&account{base: stripemock.Start(t, "../../.."), key: stripemock.Key}).play(t, func(call) bool { return false })
	for i, c := range script() {
		if agrees := mock[i].short() == local[i].short(); agrees != (c.mock == "") {
			t.Errorf("call %d, %s: the local Stripe says %q, stripe-mock %q, the script %q",
				i+1, c.does, local[i].short(), mock[i].short(), c.mock)
		}
	}
	got := document(local, mock)
	t.Log("\n" + table(local, mock, nil))
	if *update {
		require.NoError(t, os.WriteFile(contract, []byte(got), 0o644))
	}
	want, err := os.ReadFile(contract)
	require.NoError(t, err)
	require.Equal(t, string(want), got, "go test ./internal/devstack/conformance -update takes it over")
}

// TestTheContractWithStripesTestMode plays it to Stripe, where there is a key.
func TestTheContractWithStripesTestMode(t *testing.T) {
	t.Parallel()
	key := os.Getenv(testKeyEnv)
	if key == "" {
		t.Skip("no " + testKeyEnv + ": sk_test_… of an account whose test mode may be filled")
	}
	require.NoError(t, checkTestKey(key))
	local := startLocal(t).play(t, func(call) bool { return false })
	account := &account{base: "https://api.stripe.com", key: key, run: fmt.Sprint(time.Now().UnixNano()), pace: 100 * time.Millisecond}
	stripe := account.play(t, func(c call) bool { return c.only != "" })
	t.Log("\n" + table(local, nil, stripe))
	for i, c := range script() {
		if stripe[i] != nil {
			require.Equal(t, stripe[i].whole(), local[i].whole(), "call %d, %s: Stripe first, then the local Stripe", i+1, c.does)
		}
	}
}

// checkTestKey refuses whatever could move money, without repeating it.
func checkTestKey(key string) error {
	if !strings.HasPrefix(key, "sk_test_") && !strings.HasPrefix(key, "rk_test_") {
		return fmt.Errorf("%s; accepted: sk_test_… or rk_test_…", testKeyEnv)
	}
	return nil
}

func TestOnlyTestKeysReachStripe(t *testing.T) {
	t.Parallel()
	require.NoError(t, checkTestKey("sk_test_1"))
	require.NoError(t, checkTestKey("rk_test_1"))
	for _, key := range []string{"sk_live_1", "rk_live_1", "pk_test_1", ""} {
		err := checkTestKey(key)
		require.ErrorContains(t, err, "accepted")
		if key != "" {
			require.NotContains(t, err.Error(), key)
		}
	}
}

func table(local, mock, stripe []*seen) string {
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "#\tcall\tlocal Stripe\tstripe-mock\tStripe")
	cell := func(all []*seen, i int, show func(seen) string) string {
		if all == nil || all[i] == nil {
			return "-"
		}
		return show(*all[i])
	}
	for i, c := range script() {
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\n", i+1, c.does,
			cell(local, i, seen.whole), cell(mock, i, seen.short), cell(stripe, i, seen.whole))
	}
	_ = w.Flush() // into memory
	return text.String()
}
