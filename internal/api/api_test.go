package api

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/time/rate"

	"github.com/arrears-dev/arrears/internal/billing"
)

const key = "a key that nobody guesses"

// fakeStore answers "accepted" once for each event id, and "duplicate" then.
type fakeStore struct {
	mu     sync.Mutex
	known  map[string]bool
	calls  []string // organisation and number of events
	stored []billing.UsageItem
	asked  []string // for whose limits
	keys   map[[32]byte]Key
	broken error
	behind string
}

func (f *fakeStore) StoreUsage(_ context.Context, organization string, events []billing.UsageItem) ([]billing.UsageAnswer, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.broken != nil {
		return nil, f.broken
	}
	if organization == "nobody" {
		return nil, billing.NotFound("organization %q does not exist", organization)
	}
	f.calls = append(f.calls, fmt.Sprintf("%s %d", organization, len(events)))
	f.stored = append(f.stored, events...)
	answers := make([]billing.UsageAnswer, len(events))
	for i, e := range events {
		answers[i] = billing.UsageAnswer{Status: "accepted"}
		if f.known[e.Event.ID] {
			answers[i] = billing.UsageAnswer{Status: "duplicate"}
		}
		f.known[e.Event.ID] = true
		if e.Event.ID == "conflict" {
			answers[i] = billing.UsageAnswer{Status: "conflict", Field: "id", Reason: "another event with this id is stored"}
		}
		if e.Event.Model == "unpriced" {
			answers[i] = billing.UsageAnswer{Status: "parked", Reason: "model unpriced is not in price book p"}
		}
	}
	return answers, nil
}

func (f *fakeStore) Invoices(context.Context, string, Page) (any, string, error) {
	return []string{}, "", f.broken
}

func (f *fakeStore) Spend(_ context.Context, org string, asked SpendQuery, _ Page) (any, string, error) {
	if org == "nobody" {
		return nil, "", billing.NotFound("organization %q does not exist", org)
	}
	return map[string]string{"organization": org, "user": asked.User, "period": asked.Period}, "", f.broken
}

// Limits lists ten numbers, page by page.
func (f *fakeStore) Limits(_ context.Context, _ string, page Page) (any, string, error) {
	part, last := Rows(strings.Split("0123456789", ""), page, false, func(s string) string { return s })
	return part, last, f.broken
}

func (f *fakeStore) Notices(_ context.Context, _ string, all bool, page Page) (any, string, error) {
	part, last := Rows(strings.Split("9876543210", ""), page, true, func(s string) string { return s })
	return map[string]any{"all": all, "rows": strings.Join(part, "")}, last, f.broken
}

func (f *fakeStore) SetLimit(_ context.Context, _ string, c LimitChange) (any, error) {
	return c, f.broken
}

func (f *fakeStore) RemoveLimit(_ context.Context, _ string, c LimitChange) (any, error) {
	return c, f.broken
}

type fakeInbox struct{ err error }

func (f *fakeInbox) Receive(context.Context, []byte, string, time.Time) (bool, error) {
	return f.err == nil, f.err
}

func newGateway(t *testing.T, inbox Inbox) (*httptest.Server, *fakeStore) {
	t.Helper()
	store := &fakeStore{known: map[string]bool{}}
	if inbox == nil {
		inbox = &fakeInbox{}
	}
	server := httptest.NewServer(New(Options{
		Usage: store, Checks: store, Inbox: inbox, Reads: store, Limits: store, Exports: store, Documents: store, Keys: store, Ping: func(context.Context) error { return store.broken },
		Behind: func(context.Context) (string, error) { return store.behind, nil },
		Key:    key, MaxBody: 4096, Log: slog.New(slog.DiscardHandler), ActionURL: "https://example.com/{organization}/limits",
	}))
	t.Cleanup(server.Close)
	return server, store
}

type request struct {
	method, path, contentType, encoding, body, key string
}

// send sends a request and returns status, headers and body.
func send(t *testing.T, server *httptest.Server, r request) (int, http.Header, string) {
	t.Helper()
	req, err := http.NewRequest(r.method, server.URL+r.path, strings.NewReader(r.body))
	require.NoError(t, err)
	if r.contentType != "" {
		req.Header.Set("Content-Type", r.contentType)
	}
	if r.encoding != "" {
		req.Header.Set("Content-Encoding", r.encoding)
	}
	if r.key != "" {
		req.Header.Set("Authorization", "Bearer "+r.key)
	}
	response, err := server.Client().Do(req)
	require.NoError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, response.Header, string(body)
}

func line(id, organization string) string {
	return fmt.Sprintf(`{"id":%q,"organization":%q,"occurred_at":"2026-10-01T00:00:00Z","product":"chat","model":"m","usage":{"input_tokens":1,"output_tokens":1}}`, id, organization)
}

func gzipped(text string) string {
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	_, _ = w.Write([]byte(text))
	_ = w.Close()
	return zipped.String()
}

func TestUsageIsAnsweredEventByEvent(t *testing.T) {
	t.Parallel()
	lines := strings.Join([]string{
		line("1", "acme"), line("2", "globex"), "", `{"id":"torn","organization":"acme"`, line("1", "acme"),
		line("3", "nobody"), strings.Replace(line("4", "acme"), `"m"`, `"unpriced"`, 1),
		`{"id":"5","organization":"acme","usage":{"input_tokens":-1,"output_tokens":1}}`,
	}, "\n")
	want := `{"results":[
		{"index":0,"id":"1","status":"accepted","field":null,"reason":null},
		{"index":1,"id":"2","status":"accepted","field":null,"reason":null},
		{"index":2,"id":"torn","status":"rejected","field":null,"reason":"ANY"},
		{"index":3,"id":"1","status":"duplicate","field":null,"reason":null},
		{"index":4,"id":"3","status":"rejected","field":"organization","reason":"\"nobody\" does not exist"},
		{"index":5,"id":"4","status":"parked","field":null,"reason":"model unpriced is not in price book p"},
		{"index":6,"id":"5","status":"rejected","field":"usage.input_tokens","reason":"ANY"}]}`
	for name, r := range map[string]request{
		"lines":             {contentType: "application/x-ndjson", body: lines},
		"lines as JSON":     {contentType: "application/json; charset=utf-8", body: lines},
		"lines, gzipped":    {contentType: "application/x-ndjson", encoding: "gzip", body: gzipped(lines)},
		"lines with Dos's ": {contentType: "application/x-ndjson", body: strings.ReplaceAll(lines, "\n", "\r\n")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, store := newGateway(t, nil)
			r.method, r.path, r.key = http.MethodPost, "/v1/usage", key
			status, header, body := send(t, server, r)
			require.Equal(t, http.StatusOK, status, body)
			require.Equal(t, "application/json", header.Get("Content-Type"))
			require.JSONEq(t, want, anyReason(t, body))
			require.Equal(t, []string{"acme 3", "globex 1"}, store.calls, "one transaction for each organisation")
		})
	}
}

// anyReason hides the reasons that the decoder gives, which have their own tests.
func anyReason(t *testing.T, body string) string {
	t.Helper()
	var answer struct {
		Results []map[string]any `json:"results"`
	}
	require.NoError(t, json.Unmarshal([]byte(body), &answer))
	for _, r := range answer.Results {
		if r["id"] == "torn" || r["id"] == "5" {
			require.NotEmpty(t, r["reason"])
			r["reason"] = "ANY"
		}
	}
	hidden, err := json.Marshal(answer)
	require.NoError(t, err)
	return string(hidden)
}

func TestUsageInAnArray(t *testing.T) {
	t.Parallel()
	server, _ := newGateway(t, nil)
	status, _, body := send(t, server, request{
		method: http.MethodPost, path: "/v1/usage", key: key, contentType: "application/json",
		body: "  [" + line("1", "acme") + ",\n 17, " + line("2", "acme") + "]",
	})
	require.Equal(t, http.StatusOK, status, body)
	require.Contains(t, body, `"index":2,"id":"2","status":"accepted"`)
	require.Contains(t, body, `"index":1,"id":null,"status":"rejected"`)
}

func TestUsageBodiesThatAreRefusedAsAWhole(t *testing.T) {
	t.Parallel()
	big := strings.Repeat(line("1", "acme")+"\n", 40)
	for name, c := range map[string]struct {
		request
		status int
		field  string
		says   string
	}{
		"no key":             {request{contentType: ndjson, body: "{}", key: "-"}, http.StatusUnauthorized, "", "Bearer"},
		"another key":        {request{contentType: ndjson, body: "{}", key: "wrong"}, http.StatusUnauthorized, "", "Bearer"},
		"no content type":    {request{body: "{}"}, http.StatusUnsupportedMediaType, "Content-Type", "application/x-ndjson"},
		"a form":             {request{contentType: "application/x-www-form-urlencoded", body: "a=b"}, http.StatusUnsupportedMediaType, "Content-Type", ""},
		"an unknown packing": {request{contentType: ndjson, encoding: "br", body: "{}"}, http.StatusUnsupportedMediaType, "Content-Encoding", "gzip"},
		"nothing":            {request{contentType: ndjson, body: " \n"}, http.StatusBadRequest, "", "no event"},
		"an empty array":     {request{contentType: "application/json", body: "[]"}, http.StatusBadRequest, "", "no event"},
		"a torn array":       {request{contentType: "application/json", body: "[" + line("1", "acme") + ","}, http.StatusBadRequest, "", "ends inside the JSON array"},
		"too large":          {request{contentType: ndjson, body: big}, http.StatusRequestEntityTooLarge, "", "4096 bytes"},
		"a bomb":             {request{contentType: ndjson, encoding: "gzip", body: gzipped(strings.Repeat(" ", 1<<20))}, http.StatusRequestEntityTooLarge, "", "4096 bytes"},
		"not gzipped":        {request{contentType: ndjson, encoding: "gzip", body: "{}"}, http.StatusBadRequest, "", "cannot be read"},
		"torn gzip":          {request{contentType: ndjson, encoding: "gzip", body: gzipped(line("1", "acme"))[:40]}, http.StatusBadRequest, "", "cannot be read"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, store := newGateway(t, nil)
			c.method, c.path = http.MethodPost, "/v1/usage"
			switch c.key {
			case "":
				c.key = key
			case "-":
				c.key = ""
			}
			status, header, body := send(t, server, c.request)
			require.Equal(t, c.status, status, body)
			var answer struct {
				Error struct {
					Message   string  `json:"message"`
					Field     *string `json:"field"`
					RequestID string  `json:"request_id"`
				} `json:"error"`
			}
			require.NoError(t, json.Unmarshal([]byte(body), &answer))
			require.Contains(t, answer.Error.Message, c.says)
			require.Equal(t, header.Get("X-Request-Id"), answer.Error.RequestID)
			if c.field != "" {
				require.Equal(t, c.field, *answer.Error.Field)
			}
			require.Empty(t, store.calls, "nothing is stored")
		})
	}
}

func TestAnOutageIsToldAsOne(t *testing.T) {
	t.Parallel()
	server, store := newGateway(t, nil)
	store.broken = errors.New("dial tcp 10.0.0.7:5432: password authentication failed for user arrears")
	for _, r := range []request{
		{method: http.MethodPost, path: "/v1/usage", contentType: ndjson, body: line("1", "acme"), key: key},
		{method: http.MethodGet, path: "/v1/organizations/acme/invoices", key: key},
	} {
		status, header, body := send(t, server, r)
		require.Equal(t, http.StatusServiceUnavailable, status)
		require.NotEmpty(t, header.Get("Retry-After"))
		require.NotContains(t, body, "password", "what went wrong inside stays inside")
	}
	status, _, _ := send(t, server, request{method: http.MethodGet, path: "/readyz"})
	require.Equal(t, http.StatusServiceUnavailable, status)
	status, _, _ = send(t, server, request{method: http.MethodGet, path: "/healthz"})
	require.Equal(t, http.StatusOK, status, "alive all the same")

	store.broken, store.behind = nil, "another"
	status, _, body := send(t, server, request{method: http.MethodGet, path: "/readyz"})
	require.Equal(t, http.StatusOK, status, "requests are served")
	require.Contains(t, body, "billing waits")
}

func TestPathsThatAreNone(t *testing.T) {
	t.Parallel()
	server, _ := newGateway(t, nil)
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 200, "/v1/nothing": 404, "/v1/usage": 405} {
		status, _, _ := send(t, server, request{method: http.MethodGet, path: path})
		require.Equal(t, want, status, path)
	}
}

func TestReads(t *testing.T) {
	t.Parallel()
	server, _ := newGateway(t, nil)
	for path, want := range map[string]struct {
		status int
		body   string
	}{
		"/v1/organizations/acme/invoices":                {200, `[]`},
		"/v1/organizations/acme/limits?limit=2":          {200, `["0","1"]`},
		"/v1/organizations/acme/notices?all=true":        {200, `{"all":true,"rows":"9876543210"}`},
		"/v1/organizations/acme/limits?limit=0":          {400, ""},
		"/v1/organizations/acme/limits?limit=x":          {400, ""},
		"/v1/organizations/acme/limits?cursor=x":         {400, ""},
		"/v1/organizations/acme/limits?cursor=":          {400, ""},
		"/v1/organizations/acme/spend?user=user_01":      {200, `{"organization":"acme","user":"user_01","period":""}`},
		"/v1/organizations/acme/spend?period=2026-10-01": {200, `{"organization":"acme","user":"","period":"2026-10-01"}`},
		"/v1/organizations/nobody/spend":                 {404, ""},
		"/v1/organizations/NOBODY/spend":                 {404, ""},
		"/v1/organizations/%2e%2e%2fx/spend":             {404, ""},
	} {
		status, _, body := send(t, server, request{method: http.MethodGet, path: path, key: key})
		require.Equal(t, want.status, status, path)
		if want.body != "" {
			require.JSONEq(t, want.body, body)
		}
	}
}

func TestWebhook(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		inbox  fakeInbox
		body   string
		status int
	}{
		"stored":                      {fakeInbox{}, "{}", http.StatusOK},
		"not signed":                  {fakeInbox{billing.Invalid("webhook: no signature")}, "{}", http.StatusBadRequest},
		"the database is away":        {fakeInbox{errors.New("down")}, "{}", http.StatusServiceUnavailable},
		"too large to be looked into": {fakeInbox{errors.New("never asked")}, strings.Repeat(" ", maxDelivery+1), http.StatusRequestEntityTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, _ := newGateway(t, &c.inbox)
			status, _, body := send(t, server, request{method: http.MethodPost, path: "/v1/webhooks/stripe", body: c.body})
			require.Equal(t, c.status, status, body)
		})
	}
}

func TestAPanicCostsOneRequest(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(New(Options{
		Reads: nil, Key: key, MaxBody: 4096, Log: slog.New(slog.DiscardHandler), // no Reads: a nil call
	}))
	t.Cleanup(server.Close)
	status, _, body := send(t, server, request{method: http.MethodGet, path: "/v1/organizations/acme/limits", key: key})
	require.Equal(t, http.StatusInternalServerError, status)
	require.Contains(t, body, "request_id")
	status, _, _ = send(t, server, request{method: http.MethodGet, path: "/healthz"})
	require.Equal(t, http.StatusOK, status)
}

func TestServeStopsGracefully(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	entered, leave := make(chan struct{}), make(chan struct{})
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(entered)
		<-leave
		w.WriteHeader(http.StatusTeapot)
	})
	served := make(chan error, 1)
	go func() { served <- Serve(ctx, listener, handler, slog.New(slog.DiscardHandler)) }()
	answered := make(chan int, 1)
	go func() {
		response, err := http.Get("http://" + listener.Addr().String())
		if err != nil {
			answered <- 0
			return
		}
		defer response.Body.Close()
		answered <- response.StatusCode
	}()
	<-entered
	cancel()
	close(leave)
	require.Equal(t, http.StatusTeapot, <-answered, "what is under way is finished")
	require.NoError(t, <-served)
}

// A flood of deliveries is cut off before any signature is looked at, and
// takes nothing from those whose keys are good.
func TestAFloodOfDeliveriesIsCutOffBeforeItsSignatures(t *testing.T) {
	t.Parallel()
	store := &fakeStore{}
	s := newServer(Options{
		Usage: store, Checks: store, Inbox: &fakeInbox{billing.Invalid("webhook: no signature")}, Key: key, MaxBody: 4096,
		Log: slog.New(slog.DiscardHandler),
	})
	s.inboxRate = &knownKey{limiter: rate.NewLimiter(0, 3)}
	server := httptest.NewServer(s.logged(s.mux))
	t.Cleanup(server.Close)
	var answers []int
	for range 5 {
		status, _, _ := send(t, server, request{method: http.MethodPost, path: "/v1/webhooks/stripe", body: "{}"})
		answers = append(answers, status)
	}
	require.Equal(t, []int{400, 400, 400, 429, 429}, answers)
	status, _, _ := send(t, server, checkOf(`{"organization":"acme","user":"saver","product":"chat"}`))
	require.Equal(t, http.StatusOK, status)
}
