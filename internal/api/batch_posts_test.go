package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
)

// slowStore stores as fakeStore does, takes a second for it, and fails every
// transaction that holds a poisoned event.
type slowStore struct {
	fakeStore
	running, most int
	panics        bool
}

func newSlowStore() *slowStore { return &slowStore{fakeStore: fakeStore{known: map[string]bool{}}} }

func (s *slowStore) StoreUsage(ctx context.Context, organization string, events []billing.UsageItem) ([]billing.UsageAnswer, error) {
	s.enter(1)
	defer s.enter(-1)
	select {
	case <-time.After(time.Second):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	for _, e := range events {
		if e.Event.ID == "poison" && s.panics {
			panic("poison")
		}
		if e.Event.ID == "poison" {
			return nil, errors.New("this cannot be stored")
		}
	}
	return s.fakeStore.StoreUsage(ctx, organization, events)
}

func (s *slowStore) enter(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running += n
	s.most = max(s.most, s.running)
}

func posted(ids ...string) (events []billing.UsageItem) {
	for _, id := range ids {
		events = append(events, billing.UsageItem{Event: billing.Event{ID: id}})
	}
	return events
}

// outcome is what one post was told.
type outcome struct {
	answers []billing.UsageAnswer
	err     error
	took    time.Duration
}

// postAll posts ids to acme at once, in their order, and returns each one's answer.
func postAll(g *batcher, posts ...[]billing.UsageItem) []outcome {
	outcomes := make([]outcome, len(posts))
	var wait sync.WaitGroup
	start := time.Now()
	for i, events := range posts {
		wait.Go(func() {
			answers, err := g.StoreUsage(context.Background(), "acme", events)
			outcomes[i] = outcome{answers, err, time.Since(start)}
		})
		synctest.Wait() // it is in line
	}
	wait.Wait()
	return outcomes
}

func statuses(outcomes []outcome) string {
	var text []string
	for _, o := range outcomes {
		var one []string
		for _, a := range o.answers {
			one = append(one, string(a.Status))
		}
		if o.err != nil {
			one = append(one, o.err.Error())
		}
		text = append(text, strings.Join(one, " "))
	}
	return strings.Join(text, ", ")
}

func TestPostsThatArriveMeanwhileShareTheNextTransaction(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := newSlowStore()
		g := newBatcher(store, 2, slog.New(slog.DiscardHandler))
		got := postAll(g, posted("1"), posted("2", "3"), posted("4"), posted("2", "5"))
		require.Equal(t, "accepted, accepted accepted, accepted, duplicate accepted", statuses(got), "each post has its own answers")
		require.Equal(t, []string{"acme 1", "acme 5"}, store.calls)
		require.Equal(t, time.Second, got[0].took, "the first does not wait for company")
		require.Equal(t, 2*time.Second, got[3].took)
		synctest.Wait()
		require.Empty(t, g.lanes, "nothing is kept of those who do not post")
	})
}

func TestAFailingPostSinksNoOther(t *testing.T) {
	t.Parallel()
	for _, panics := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			store := newSlowStore()
			store.panics = panics
			g := newBatcher(store, 2, slog.New(slog.DiscardHandler))
			got := postAll(g, posted("1"), posted("2"), posted("poison", "3"), posted("4"))
			require.Equal(t, billing.UsageAccepted, got[1].answers[0].Status)
			require.Error(t, got[2].err)
			require.Equal(t, billing.UsageAccepted, got[3].answers[0].Status)
			require.Equal(t, []string{"acme 1", "acme 1", "acme 1"}, store.calls, "each by itself, and nothing of the poisoned one")
		})
	}
}

func TestACallerThatGoesAwayCostsOnlyTheirOwnAnswer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := newSlowStore()
		g := newBatcher(store, 2, slog.New(slog.DiscardHandler))
		var wait sync.WaitGroup
		post := func(after time.Duration, id string) *outcome {
			o := &outcome{}
			ctx, cancel := context.WithTimeout(context.Background(), after)
			wait.Go(func() {
				defer cancel()
				o.answers, o.err = g.StoreUsage(ctx, "acme", posted(id))
			})
			synctest.Wait()
			return o
		}
		post(time.Hour, "1")
		inLine, under, stays := post(500*time.Millisecond, "2"), post(1500*time.Millisecond, "3"), post(time.Hour, "4")
		wait.Wait()
		require.ErrorIs(t, inLine.err, context.DeadlineExceeded)
		require.ErrorIs(t, under.err, context.DeadlineExceeded, "left while their shared transaction ran")
		require.Equal(t, billing.UsageAccepted, stays.answers[0].Status)
		require.False(t, store.known["2"], "nobody waits for it")
		require.True(t, store.known["3"])
	})
}

func TestOrganizationsAreStoredInParallelAndTransactionsAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := newSlowStore()
		g := newBatcher(store, 3, slog.New(slog.DiscardHandler))
		start := time.Now()
		var wait sync.WaitGroup
		for i := range 6 {
			wait.Go(func() {
				_, err := g.StoreUsage(context.Background(), fmt.Sprint("org", i), posted(fmt.Sprint(i)))
				require.NoError(t, err)
			})
		}
		wait.Wait()
		require.Equal(t, 2*time.Second, time.Since(start), "three at once")
		require.Equal(t, 3, store.most)
	})
}

func TestWhoWouldWaitTooLongIsTurnedAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := newSlowStore()
		g := newBatcher(store, 1, slog.New(slog.DiscardHandler))
		g.writers <- struct{}{} // the database is busy with others
		got := postAll(g, posted("1"), posted(make([]string, loneEvents)...))
		require.Equal(t, "too many requests wait, too many requests wait", statuses(got))
		require.Equal(t, queueTimeout, got[0].took)
		<-g.writers
		synctest.Wait()
		require.Empty(t, store.calls, "what was turned away is not stored behind its caller's back")
		require.Equal(t, "accepted", statuses(postAll(g, posted("1"))))
	})
}

func TestSharedTransactionsAndLargePostsAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := newSlowStore()
		g := newBatcher(store, 4, slog.New(slog.DiscardHandler))
		posts := [][]billing.UsageItem{posted("first")}
		for range 11 {
			posts = append(posts, posted(make([]string, 400)...))
		}
		posts = append(posts, posted(make([]string, loneEvents)...))
		got := postAll(g, posts...)
		require.ElementsMatch(t, []string{"acme 1", "acme 500", "acme 2000", "acme 2000", "acme 400"}, store.calls)
		require.Equal(t, time.Second, got[12].took, "a large post waits for no small ones")
	})
}

func TestBodiesTogetherTakeBoundedMemory(t *testing.T) {
	t.Parallel()
	hall := newBudget(1024)
	require.EqualValues(t, leastBudget, hall.size)
	var places []*reservation
	for {
		p, ok := hall.reserve()
		if !ok {
			break
		}
		places = append(places, p)
	}
	require.Len(t, places, leastBudget/requestBytes, "their number is bounded too")
	places[0].release()
	last, ok := hall.reserve()
	require.True(t, ok)
	_, err := last.readAll(strings.NewReader("a body"))
	require.ErrorIs(t, err, errBusy)
	for _, p := range append(places[1:], last) {
		p.release()
	}
	require.Zero(t, hall.held.Load(), "all is given back")

	p, _ := hall.reserve()
	long := strings.Repeat("x", 100_000)
	body, err := p.readAll(strings.NewReader(long))
	require.NoError(t, err)
	require.Equal(t, long, string(body))
	require.GreaterOrEqual(t, p.held, int64(cap(body)), "what is held is accounted for")
	p.release()
	require.Zero(t, hall.held.Load())
}

func TestAFullGatewayTurnsRequestsAwayAndSaysSo(t *testing.T) {
	t.Parallel()
	store := &fakeStore{known: map[string]bool{}}
	s := newServer(Options{
		Usage: store, Keys: store, Inbox: &fakeInbox{}, Key: key, MaxBody: 4096, Log: slog.New(slog.DiscardHandler),
		Ping: func(context.Context) error { return nil }, Behind: func(context.Context) (string, error) { return "", nil },
	})
	server := serving(t, s.logged(s.mux))
	health := request{method: http.MethodGet, path: "/healthz"}
	_, _, body := send(t, server, health)
	require.JSONEq(t, `{"status":"ok"}`, body)
	s.budget.held.Add(leastBudget)
	for _, r := range []request{
		{method: http.MethodPost, path: "/v1/usage", contentType: ndjson, body: line("1", "acme"), key: key},
		{method: http.MethodPost, path: "/v1/webhooks/stripe", body: "{}"},
	} {
		status, header, _ := send(t, server, r)
		require.Equal(t, http.StatusServiceUnavailable, status)
		require.NotEmpty(t, header.Get("Retry-After"))
	}
	require.Empty(t, store.calls)
	for _, path := range []string{"/healthz", "/readyz"} {
		status, _, body := send(t, server, request{method: http.MethodGet, path: path})
		require.Equal(t, http.StatusOK, status)
		require.JSONEq(t, `{"status":"degraded","reason":"too many requests wait"}`, body)
	}
	s.budget.held.Add(-leastBudget)
	status, _, _ := send(t, server, request{method: http.MethodPost, path: "/v1/usage", contentType: ndjson, body: line("1", "acme"), key: key})
	require.Equal(t, http.StatusOK, status)
	require.Zero(t, s.budget.held.Load())
	s.Now = func() time.Time { return time.Now().Add(degradedLasts) }
	_, _, body = send(t, server, health)
	require.JSONEq(t, `{"status":"ok"}`, body)
}
