package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/postgres"
)

// recordingStore keeps what it is given, in order, and can be told to fail.
type recordingStore struct {
	mu       sync.Mutex
	stored   map[string][]string // ids by organisation
	batches  int
	atOnce   int
	most     int
	fail     func(organization string, items []billing.UsageItem) error
	onStored func()
}

func (r *recordingStore) StoreUsageInOrder(ctx context.Context, organization string, items []billing.UsageItem, ticket *postgres.Ticket) ([]billing.UsageAnswer, error) {
	defer ticket.End()
	if err := ticket.Begin(ctx, true); err != nil {
		return nil, err
	}
	r.mu.Lock()
	r.atOnce++
	r.most = max(r.most, r.atOnce)
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		r.atOnce--
		r.mu.Unlock()
		if r.onStored != nil {
			r.onStored()
		}
	}()
	if r.fail != nil {
		if err := r.fail(organization, items); err != nil {
			return nil, err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.batches++
	answers := make([]billing.UsageAnswer, len(items))
	for i, item := range items {
		answers[i].Status = billing.UsageAccepted
		if !strings.Contains(string(item.Raw), item.Event.ID) {
			return nil, errors.New("the raw line is another event's")
		}
		r.stored[organization] = append(r.stored[organization], item.Event.ID)
	}
	return answers, nil
}

// manyLines makes lines of several organisations in turn.
func manyLines(n int, organizations ...string) string {
	var text strings.Builder
	for i := range n {
		fmt.Fprintf(&text, `{"id":"evt_%07d","organization":%q,"occurred_at":"2026-10-01T00:00:00Z","product":"chat","model":"m","usage":{"input_tokens":1,"output_tokens":1}}`+"\n",
			i, organizations[i%len(organizations)])
	}
	return text.String()
}

func TestImportKeepsEachOrganizationsOrder(t *testing.T) {
	t.Parallel()
	store := &recordingStore{stored: map[string][]string{}}
	answers := &tally{}
	_, err := importUsage(t.Context(), store, strings.NewReader(manyLines(50_000, "acme", "globex", "initech")), answers)
	require.NoError(t, err)
	require.EqualValues(t, 50_000, answers.totals().Accepted)
	require.Len(t, store.stored, 3)
	for _, ids := range store.stored {
		require.True(t, slices.IsSorted(ids), "the first of an id comes first")
	}
	require.LessOrEqual(t, store.batches, 3*(50_000/3/batchEvents+1), "one transaction for many events")
	require.LessOrEqual(t, store.most, storesAtOnce)
}

func TestImportOfManyOrganizationsIsBounded(t *testing.T) {
	t.Parallel()
	names := make([]string, 3000)
	for i := range names {
		names[i] = fmt.Sprintf("org-%04d", i)
	}
	store := &recordingStore{stored: map[string][]string{}}
	answers := &tally{}
	_, err := importUsage(t.Context(), store, strings.NewReader(manyLines(150_000, names...)), answers)
	require.NoError(t, err)
	require.EqualValues(t, 150_000, answers.totals().Accepted)
	require.Len(t, slices.Collect(maps.Keys(store.stored)), 3000)
}

func TestImportRefusesWhatIsOfNoOrganization(t *testing.T) {
	t.Parallel()
	store := &recordingStore{stored: map[string][]string{}, fail: func(organization string, _ []billing.UsageItem) error {
		if organization == "nobody" {
			return fmt.Errorf("store usage of nobody: %w", billing.NotFound("organization %q does not exist", organization))
		}
		return nil
	}}
	answers := &tally{}
	_, err := importUsage(t.Context(), store, strings.NewReader(manyLines(100, "acme", "nobody")), answers)
	require.NoError(t, err)
	totals := answers.totals()
	require.Equal(t, [2]int64{50, 50}, [2]int64{totals.Accepted, totals.Rejected})
	require.Len(t, totals.Reasons, shownReasons)
	require.Equal(t, reason{2, "evt_0000001", billing.UsageRejected, "organization", `"nobody" does not exist`}, totals.Reasons[0])
	require.EqualValues(t, 20, totals.Reasons[9].Line, "the first ones, whatever the order of the batches")
}

func TestImportSaysHowFarItCame(t *testing.T) {
	t.Parallel()
	lost := errors.New("connection lost")
	id := func(line int) string { return fmt.Sprintf("evt_%07d", line-1) }
	store := &recordingStore{stored: map[string][]string{}}
	store.fail = func(_ string, items []billing.UsageItem) error {
		if slices.ContainsFunc(items, func(i billing.UsageItem) bool { return i.Event.ID == id(2*batchEvents+100) }) {
			return lost
		}
		return nil
	}
	answers := &tally{}
	unanswered, err := importUsage(t.Context(), store, strings.NewReader(manyLines(4*batchEvents, "acme")), answers)
	require.ErrorIs(t, err, lost)
	require.EqualValues(t, 2*batchEvents+1, unanswered, "the first line of the batch that failed")
	require.GreaterOrEqual(t, answers.totals().Accepted, int64(2*batchEvents))
	for _, stored := range store.stored["acme"] {
		require.True(t, stored < id(2*batchEvents+1) || stored > id(3*batchEvents), "nothing of the failed batch")
	}
}

func TestImportStopsBetweenBatches(t *testing.T) {
	t.Parallel()
	ctx, interrupt := context.WithCancel(t.Context())
	store := &recordingStore{stored: map[string][]string{}, onStored: interrupt}
	answers := &tally{}
	unanswered, err := importUsage(ctx, store, strings.NewReader(manyLines(200_000, "acme")), answers)
	require.ErrorIs(t, err, context.Canceled)
	require.Len(t, store.stored["acme"], int(answers.totals().Accepted), "what was begun is finished and counted")
	require.Equal(t, answers.totals().Accepted+1, unanswered)
	require.Less(t, answers.totals().Accepted, int64(200_000))
}

func TestImportStoresWhatAPausingStreamHasSent(t *testing.T) {
	t.Parallel()
	read, write := io.Pipe()
	stored := make(chan struct{}, 10)
	store := &recordingStore{stored: map[string][]string{}, onStored: func() { stored <- struct{}{} }}
	done := make(chan error, 1)
	go func() {
		_, err := importUsage(t.Context(), store, read, &tally{})
		done <- err
	}()
	_, err := io.WriteString(write, manyLines(3, "acme"))
	require.NoError(t, err)
	select {
	case <-stored: // while the stream goes on
	case <-time.After(10 * time.Second):
		t.Fatal("the lines wait for more")
	}
	require.NoError(t, write.Close())
	require.NoError(t, <-done)
}

func TestImportOfABrokenStreamStoresWhatCame(t *testing.T) {
	t.Parallel()
	store := &recordingStore{stored: map[string][]string{}}
	answers := &tally{}
	torn := errors.New("disk on fire")
	r := io.MultiReader(strings.NewReader(manyLines(10, "acme")), &failingReader{torn})
	unanswered, err := importUsage(t.Context(), store, r, answers)
	require.ErrorIs(t, err, torn)
	require.EqualValues(t, 10, answers.totals().Accepted)
	require.EqualValues(t, 11, unanswered)
}

type failingReader struct{ err error }

func (f *failingReader) Read([]byte) (int, error) { return 0, f.err }
