package fakestripe_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/stripe/stripe-go/v76/webhook"

	"github.com/arrears-dev/arrears/internal/devstack/fakestripe"
)

// mailbox takes everything that carries a good signature, and keeps the ids of
// events in the order in which they came.
type mailbox struct {
	*httptest.Server
	mu    sync.Mutex
	ids   []string
	wrong []string // why deliveries were refused
	live  int
}

func newMailbox(t *testing.T, secret string) *mailbox {
	m := &mailbox{}
	m.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		event, err := webhook.ConstructEvent(body, r.Header.Get("Stripe-Signature"), secret)
		m.mu.Lock()
		defer m.mu.Unlock()
		switch {
		case err != nil:
			m.wrong = append(m.wrong, err.Error())
			w.WriteHeader(http.StatusBadRequest)
		case event.Livemode:
			m.live++
			w.WriteHeader(http.StatusBadRequest)
		default:
			m.ids = append(m.ids, event.ID)
		}
	}))
	t.Cleanup(m.Close)
	return m
}

func (m *mailbox) got() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.ids)
}

func (m *mailbox) wait(t *testing.T, n int) []string {
	t.Helper()
	require.Eventually(t, func() bool { return len(m.got()) >= n }, 5*time.Second, time.Millisecond, "%d deliveries", n)
	return m.got()
}

func startWithMailbox(t *testing.T) (*local, *mailbox) {
	m := newMailbox(t, "whsec_box")
	return startWith(t, fakestripe.Options{WebhookURL: m.URL, WebhookSecret: "whsec_box"}), m
}

// happened are the ids of all events, oldest first.
func (l *local) happened(t *testing.T) (ids []string) {
	t.Helper()
	it := l.Events.List(nil)
	for it.Next() {
		ids = append([]string{it.Event().ID}, ids...)
	}
	require.NoError(t, it.Err())
	return ids
}

func TestADeliveryIsDuplicatedOnOrder(t *testing.T) {
	t.Parallel()
	l, m := startWithMailbox(t)
	l.server.InjectWebhooks(fakestripe.WebhookFault{Kind: fakestripe.WebhookDuplicate, Copies: 5})
	l.customer(t, "")
	require.Equal(t, slices.Repeat(l.happened(t), 5), m.wait(t, 5))
}

func TestDeliveriesAreShuffledByTheirSeed(t *testing.T) {
	t.Parallel()
	orders := map[uint64][]int{}
	for _, seed := range []uint64{1, 1, 2} {
		l, m := startWithMailbox(t)
		l.server.InjectWebhooks(fakestripe.WebhookFault{Kind: fakestripe.WebhookShuffle, Times: 12, MS: 60_000, Seed: seed})
		for range 12 {
			l.customer(t, "")
		}
		happened := l.happened(t)
		var order []int
		for _, id := range m.wait(t, 12) {
			order = append(order, slices.Index(happened, id))
		}
		require.False(t, slices.IsSorted(order))
		if before, again := orders[seed]; again {
			require.Equal(t, before, order, "the same seed, the same order")
		}
		orders[seed] = order
	}
	require.NotEqual(t, orders[1], orders[2])
}

func TestAShuffleThatIsNeverFullGoesOutInTime(t *testing.T) {
	t.Parallel()
	l, m := startWithMailbox(t)
	l.server.InjectWebhooks(fakestripe.WebhookFault{Kind: fakestripe.WebhookShuffle, Times: 100, MS: 50})
	l.customer(t, "")
	m.wait(t, 1)
	l.server.InjectWebhooks(fakestripe.WebhookFault{Kind: fakestripe.WebhookShuffle, Times: 100, MS: 60_000})
	l.server.ClearWebhooks()
	l.customer(t, "")
	m.wait(t, 2)
}

func TestADelayedDeliveryIsOvertaken(t *testing.T) {
	t.Parallel()
	l, m := startWithMailbox(t)
	l.server.InjectWebhooks(fakestripe.WebhookFault{Kind: fakestripe.WebhookDelay, MS: 300})
	l.customer(t, "")
	l.customer(t, "")
	happened := l.happened(t)
	require.Equal(t, []string{happened[1], happened[0]}, m.wait(t, 2))
}

func TestForgeriesGoOutBesideTheTrueOne(t *testing.T) {
	t.Parallel()
	l, m := startWithMailbox(t)
	for _, kind := range fakestripe.Forgeries() {
		l.server.InjectWebhooks(fakestripe.WebhookFault{Kind: kind})
	}
	for range fakestripe.Forgeries() {
		l.customer(t, "")
	}
	// Stripe's own library takes a time to come, which is why receivers need a
	// bound of their own.
	got := m.wait(t, len(fakestripe.Forgeries())+1)
	slices.Sort(got)
	require.ElementsMatch(t, l.happened(t), slices.Compact(got))
	require.Eventually(t, func() bool { return len(l.server.Webhooks().Deliveries) == 2*len(fakestripe.Forgeries()) }, 5*time.Second, time.Millisecond)
	seen := map[fakestripe.WebhookFaultKind][]int{}
	for _, made := range l.server.Webhooks().Deliveries {
		seen[made.Fault] = append(seen[made.Fault], made.Status)
	}
	for _, kind := range fakestripe.Forgeries() {
		want := http.StatusBadRequest
		if kind == fakestripe.ForgeFuture {
			want = http.StatusOK
		}
		require.Equal(t, []int{want}, seen[kind], kind)
	}
	require.Len(t, m.wrong, len(fakestripe.Forgeries())-2)
	require.Equal(t, 1, m.live)
}

func TestWhatWasDroppedIsPendingUntilItIsRedelivered(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "stripe.journal")
	m := newMailbox(t, "whsec_box")
	options := fakestripe.Options{StateFile: file, WebhookURL: m.URL, WebhookSecret: "whsec_box", Log: quiet()}
	first, err := fakestripe.New(options)
	require.NoError(t, err)
	listener := httptest.NewServer(first)
	first.InjectWebhooks(fakestripe.WebhookFault{Kind: fakestripe.WebhookDrop, Times: 2})
	for range 3 {
		_, err := clientOf(listener.URL, "sk_test_1").Customers.New(nil)
		require.NoError(t, err)
	}
	m.wait(t, 1)
	listener.Close()
	require.NoError(t, first.Close())

	l := startWith(t, options)
	pending := func() (n int64) {
		for it := l.Events.List(nil); it.Next(); {
			n += it.Event().PendingWebhooks
		}
		return n
	}
	happened := l.happened(t)
	require.EqualValues(t, 2, pending(), "after a restart, too")
	control := fakestripe.Client{Base: l.url}
	begun, err := control.Redeliver(t.Context(), fakestripe.Redelivery{Events: happened[:1]})
	require.NoError(t, err)
	require.Equal(t, 1, begun)
	m.wait(t, 2)
	require.Eventually(t, func() bool { return pending() == 1 }, 5*time.Second, time.Millisecond)
	begun, err = control.Redeliver(t.Context(), fakestripe.Redelivery{})
	require.NoError(t, err)
	require.Equal(t, 1, begun, "only what was missed")
	require.ElementsMatch(t, happened, m.wait(t, 3))
	require.Eventually(t, func() bool { return pending() == 0 }, 5*time.Second, time.Millisecond)
	require.Equal(t, 3, l.server.Redeliver(fakestripe.Redelivery{All: true}))
	m.wait(t, 6)
	require.Zero(t, pending())
}

func TestRandomFaultsLoseNothingButWhatTheyDrop(t *testing.T) {
	t.Parallel()
	l, m := startWithMailbox(t)
	control := fakestripe.Client{Base: l.url}
	require.NoError(t, control.InjectWebhooks(t.Context(), fakestripe.WebhookFault{
		Kind: fakestripe.WebhookRandom, Times: -1, MS: 50, Seed: 42, Type: "customer.*",
	}))
	for range 60 {
		l.customer(t, "")
	}
	happened := l.happened(t)
	drops := func() (n int) {
		for _, made := range l.server.Webhooks().Deliveries {
			if made.Fault == fakestripe.WebhookDrop {
				n++
			}
		}
		return n
	}
	reached := func() int {
		ids := slices.DeleteFunc(m.got(), func(id string) bool { return !slices.Contains(happened, id) }) // strangers
		slices.Sort(ids)
		return len(slices.Compact(ids))
	}
	require.Eventually(t, func() bool { return reached()+drops() == len(happened) }, 5*time.Second, time.Millisecond)
	require.Positive(t, drops())
	shown, err := control.Webhooks(t.Context())
	require.NoError(t, err)
	require.Equal(t, 60, shown.Faults[0].Struck)
	require.Equal(t, drops(), l.server.Redeliver(fakestripe.Redelivery{}))
	require.Eventually(t, func() bool { return reached() == len(happened) }, 5*time.Second, time.Millisecond)
	require.NoError(t, control.ClearWebhooks(t.Context()))
	require.Empty(t, l.server.Webhooks().Faults)
}

func TestEventsReachBack30Days(t *testing.T) {
	t.Parallel()
	l := start(t)
	l.customer(t, "")
	l.wall.pass(30*day - time.Second)
	l.customer(t, "")
	require.Len(t, l.happened(t), 2)
	l.wall.pass(2 * time.Second)
	require.Len(t, l.happened(t), 1)
}

func TestWhatIsRightlySignedMayStillBeNoNews(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var got []string
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		event, err := webhook.ConstructEvent(body, r.Header.Get("Stripe-Signature"), "whsec_box")
		if err != nil {
			t.Error(err)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		got = append(got, string(event.Type)+" "+event.Account+" "+event.GetObjectValue("object")+" "+event.GetObjectValue("customer"))
		if len(body) > 10<<20 {
			got = append(got, "huge")
		}
	}))
	t.Cleanup(hook.Close)
	l := startWith(t, fakestripe.Options{WebhookURL: hook.URL, WebhookSecret: "whsec_box"})
	c := l.customer(t, "")
	for _, kind := range append(fakestripe.Unrelated(), fakestripe.WebhookHuge) {
		l.server.InjectWebhooks(fakestripe.WebhookFault{Kind: kind, Type: "invoice.created"})
		l.draft(t, c.ID)
	}
	want := []string{
		"customer.created  customer ",
		"nothing.known  invoice " + c.ID, "invoice.created  invoice " + c.ID,
		"invoice.created  thing ", "invoice.created  invoice " + c.ID,
		"invoice.created acct_other invoice " + c.ID, "invoice.created  invoice " + c.ID,
		"invoice.created  invoice cus_other", "invoice.created  invoice " + c.ID,
		"invoice.created  invoice " + c.ID, "huge", "invoice.created  invoice " + c.ID,
	}
	require.Eventually(t, func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(got) == len(want)
	}, 5*time.Second, time.Millisecond)
	require.ElementsMatch(t, want, got)
}
