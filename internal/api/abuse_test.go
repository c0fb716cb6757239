package api

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/arrears-dev/arrears/internal/otlp"
)

// zeros is a stream of zeros that nobody holds in memory.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

// postBody posts a stream to a gateway with the default cap, and returns the
// answer and how many bytes were allocated for it.
func postBody(t *testing.T, store *fakeStore, body io.Reader, contentType, encoding string) (answer *httptest.ResponseRecorder, allocated uint64) {
	t.Helper()
	return postTo(t, store, "/v1/usage", body, contentType, encoding)
}

func postTo(t *testing.T, store *fakeStore, path string, body io.Reader, contentType, encoding string) (answer *httptest.ResponseRecorder, allocated uint64) {
	t.Helper()
	gateway := New(Options{Usage: store, Key: key, MaxBody: 1 << 20, Log: slog.New(slog.DiscardHandler)})
	r := httptest.NewRequest(http.MethodPost, path, body)
	r.Header.Set("Authorization", "Bearer "+key)
	r.Header.Set("Content-Type", contentType)
	r.Header.Set("Content-Encoding", encoding)
	answer = httptest.NewRecorder()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	gateway.ServeHTTP(answer, r)
	runtime.ReadMemStats(&after)
	return answer, after.TotalAlloc - before.TotalAlloc
}

// Not in parallel: these count what is allocated.
func TestBombsAndFloodsTakeFlatMemory(t *testing.T) {
	var bomb bytes.Buffer
	w, err := gzip.NewWriterLevel(&bomb, gzip.BestSpeed)
	require.NoError(t, err)
	_, err = io.CopyN(w, zeros{}, 150<<20)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	require.Less(t, bomb.Len(), 1<<20, "zipped it is below the cap")
	for name, c := range map[string]struct {
		body                  io.Reader
		contentType, encoding string
	}{
		"a gzip bomb of 150 MB": {&bomb, ndjson, "gzip"},
		"a body of 100 MB":      {io.LimitReader(zeros{}, 100<<20), ndjson, ""},
		"as many lines as fit":  {strings.NewReader(strings.Repeat("{}\n", 1<<20/3)), ndjson, ""},
		"an array of as many":   {strings.NewReader("[" + strings.Repeat("1,", 1<<19-2) + "1]"), "application/json", ""},
	} {
		store := &fakeStore{known: map[string]bool{}}
		answer, allocated := postBody(t, store, c.body, c.contentType, c.encoding)
		require.Equal(t, http.StatusRequestEntityTooLarge, answer.Code, "%s: %.200s", name, answer.Body)
		require.Less(t, allocated, uint64(32<<20), name)
		require.Empty(t, store.calls)
	}
}

// nestedIn is a message within a field of another one, in protobuf.
func nestedIn(field protowire.Number, message []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, field, protowire.BytesType), message)
}

// Not in parallel, as above.
func TestExportsThatSayNothingInManyWordsTakeFlatMemory(t *testing.T) {
	const size = 1<<20 - 100
	inRecord := func(record []byte) string { return string(nestedIn(1, nestedIn(2, nestedIn(2, record)))) }
	inJSON := func(record string) string {
		return `{"resourceLogs":[{"scopeLogs":[{"logRecords":[` + record + `]}]}]}`
	}
	deep := []byte{}
	for len(deep) < 60_000 { // a list in a list in a list; each level copies all below it
		deep = nestedIn(5, nestedIn(1, deep))
	}
	for name, c := range map[string]struct {
		body, contentType string
		status            int
	}{
		"attributes that are empty":          {inRecord(bytes.Repeat([]byte{0x32, 0}, size/2)), otlp.Protobuf, http.StatusOK},
		"values that are empty":              {inRecord(nestedIn(5, nestedIn(5, bytes.Repeat([]byte{0x0a, 0}, size/2)))), otlp.Protobuf, http.StatusOK},
		"values in values":                   {inRecord(nestedIn(5, deep)), otlp.Protobuf, http.StatusOK},
		"records that are empty":             {string(nestedIn(1, nestedIn(2, bytes.Repeat([]byte{0x12, 0}, size/2)))), otlp.Protobuf, http.StatusRequestEntityTooLarge},
		"resources with attributes":          {string(nestedIn(1, nestedIn(1, bytes.Repeat([]byte{0x0a, 0}, size/2)))), otlp.Protobuf, http.StatusBadRequest},
		"scopes with attributes":             {string(nestedIn(1, nestedIn(2, nestedIn(1, bytes.Repeat([]byte{0x1a, 0}, size/2))))), otlp.Protobuf, http.StatusBadRequest},
		"attributes that are empty, in JSON": {inJSON(`{"attributes":[` + strings.Repeat(`{},`, size/3-40) + `{}]}`), otlp.JSON, http.StatusOK},
		"records that are empty, in JSON":    {inJSON(strings.Repeat(`{},`, size/3-40) + `{}`), otlp.JSON, http.StatusRequestEntityTooLarge},
		"names that nobody knows, in JSON":   {"{" + strings.Repeat(`"a":1,`, size/6-1) + `"a":1}`, otlp.JSON, http.StatusOK},
		"lists in lists, in JSON":            {inJSON(strings.Repeat("[", size/2)), otlp.JSON, http.StatusBadRequest},
	} {
		require.LessOrEqual(t, len(c.body), 1<<20, name)
		store := &fakeStore{known: map[string]bool{}}
		answer, allocated := postTo(t, store, "/v1/logs", strings.NewReader(c.body), c.contentType, "")
		require.Equal(t, c.status, answer.Code, "%s: %.200s", name, answer.Body)
		require.Less(t, allocated, uint64(32<<20), name)
		require.Empty(t, store.calls)
	}
	var extensions strings.Builder
	extensions.WriteString(`{"specversion":"1.0","id":"1","source":"s","type":"t","data":{}`)
	for i := 0; extensions.Len() < size-40; i++ {
		fmt.Fprintf(&extensions, `,"x%d":1`, i)
	}
	extensions.WriteString("}")
	_, allocated := postTo(t, &fakeStore{known: map[string]bool{}}, "/v1/usage", strings.NewReader(extensions.String()), ceJSON, "")
	require.Less(t, allocated, uint64(64<<20), "a CloudEvent of extensions")
}

func TestOneBadEventCostsOnlyItself(t *testing.T) {
	t.Parallel()
	store := &fakeStore{known: map[string]bool{}}
	gateway := serving(t, New(Options{Usage: store, Key: key, MaxBody: 8 << 20, Log: slog.New(slog.DiscardHandler)}))
	var body strings.Builder
	for i := range maxEvents {
		text := line(fmt.Sprint(i), "acme")
		if i == maxEvents/2 {
			text = strings.Replace(text, `"output_tokens":1`, `"output_tokens":-1`, 1)
		}
		body.WriteString(text + "\n")
	}
	post := request{method: http.MethodPost, path: "/v1/usage", contentType: ndjson, body: body.String(), key: key}
	status, _, answer := send(t, gateway, post)
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, maxEvents-1, strings.Count(answer, `"status":"accepted"`))
	require.Contains(t, answer, `{"index":5000,"id":"5000","status":"rejected","field":"usage.output_tokens"`)
	post.body += line("one more", "acme")
	calls := len(store.calls)
	status, _, answer = send(t, gateway, post)
	require.Equal(t, http.StatusRequestEntityTooLarge, status)
	require.Contains(t, answer, "more than 10000 events")
	require.Len(t, store.calls, calls, "refused as a whole")
}

func TestSlowSendersAreHungUpOnAndKeepNobodyWaiting(t *testing.T) {
	t.Parallel()
	store := &fakeStore{known: map[string]bool{}}
	server := newHTTPServer(New(Options{Usage: store, Key: key, MaxBody: 4096, Log: slog.New(slog.DiscardHandler)}), slog.New(slog.DiscardHandler))
	for name, bound := range map[string]time.Duration{
		"headers": server.ReadHeaderTimeout, "bodies": server.ReadTimeout, "answers": server.WriteTimeout, "idling": server.IdleTimeout,
	} {
		require.Positive(t, bound, name)
		require.LessOrEqual(t, bound, 2*time.Minute, name)
	}
	server.ReadHeaderTimeout, server.ReadTimeout, server.IdleTimeout = time.Second, time.Second, time.Second
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	address := listener.Addr().String()

	const head = "POST /v1/usage HTTP/1.1\r\nHost: gateway\r\n"
	sent := []string{
		"", "POST /v1/us", head,
		head + "Authorization: Bearer " + key + "\r\nContent-Type: " + ndjson + "\r\nContent-Length: 400\r\n\r\n{",
	}
	var slow []net.Conn
	for i := range 400 {
		c, err := net.Dial("tcp", address)
		require.NoError(t, err)
		t.Cleanup(func() { _ = c.Close() })
		_, err = io.WriteString(c, sent[i%len(sent)])
		require.NoError(t, err)
		slow = append(slow, c)
	}
	start := time.Now()
	response, err := http.Get("http://" + address + "/healthz")
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, http.StatusOK, response.StatusCode)
	require.Less(t, time.Since(start), time.Second, "others are served meanwhile")
	for _, c := range slow {
		require.NoError(t, c.SetReadDeadline(time.Now().Add(10*time.Second)))
		answer, err := io.ReadAll(bufio.NewReader(c))
		var timeout net.Error
		require.False(t, errors.As(err, &timeout) && timeout.Timeout(), "hung up on, not left open")
		require.NotContains(t, string(answer), " 200 ")
	}
	require.Empty(t, store.calls)
}
