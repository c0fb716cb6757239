package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	gosmtp "github.com/emersion/go-smtp"
	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/activities"
	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/config"
	"github.com/arrears-dev/arrears/internal/devstack/pgtest"
	"github.com/arrears-dev/arrears/internal/postgres"
	"github.com/arrears-dev/arrears/internal/pricebook"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m, postgres.Migrate)) }

// mailbox is a mail server that counts.
type mailbox struct {
	mu          sync.Mutex
	connections int
	mails       map[string]int // by message id
	stop        func()         // called at the n-th mail
	stopAt      int
}

type mailSession struct{ *mailbox }

func (mailSession) Reset()                                 {}
func (mailSession) Logout() error                          { return nil }
func (mailSession) Mail(string, *gosmtp.MailOptions) error { return nil }
func (mailSession) Rcpt(string, *gosmtp.RcptOptions) error { return nil }

func (s mailSession) Data(r io.Reader) error {
	text, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	_, id, _ := strings.Cut(string(text), "Message-ID: ")
	id, _, _ = strings.Cut(id, "\r\n")
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mails[id]++
	if len(s.mails) == s.stopAt {
		s.stop()
	}
	return nil
}

type quiet struct{}

func (quiet) Printf(string, ...any) {}
func (quiet) Println(...any)        {}

func startMailbox(t *testing.T) (box *mailbox, address string) {
	t.Helper()
	box = &mailbox{mails: map[string]int{}}
	server := gosmtp.NewServer(gosmtp.BackendFunc(func(*gosmtp.Conn) (gosmtp.Session, error) {
		box.mu.Lock()
		defer box.mu.Unlock()
		box.connections++
		return mailSession{box}, nil
	}))
	server.Domain, server.ErrorLog = "localhost", quiet{}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	return box, listener.Addr().String()
}

// Thousands of members pass their limits at once. The notices go out in bounded
// rounds over few connections; a worker that dies in the middle of one costs at
// most the one mail that it had not recorded.
func TestManyCrossingsGoOutInRounds(t *testing.T) {
	t.Parallel()
	const members = 2000
	store := postgres.New(pgtest.New(t))
	box, address := startMailbox(t)
	now := time.Date(2026, 10, 10, 0, 0, 0, 0, time.UTC)
	by := billing.Actor{Name: "tester"}
	_, err := store.LoadPriceBook(t.Context(), pricebook.Default(), by)
	require.NoError(t, err)
	_, err = store.CreateOrganizations(t.Context(), []billing.Organization{{
		ID: "acme", StartsAt: now.AddDate(0, 0, -9), TestClock: true, Now: now, Email: "billing@acme.example",
		DraftWindow: billing.DefaultDraftWindow, LateWindow: billing.DefaultLateWindow,
	}}, by)
	require.NoError(t, err)
	var seats []postgres.SeatChange
	var items []billing.UsageItem
	for i := range members {
		user := fmt.Sprintf("user_%05d", i)
		seats = append(seats, postgres.SeatChange{User: user, Tier: "chat", From: now.AddDate(0, 0, -9)})
		event := billing.Event{
			ID: user, Organization: "acme", User: user, OccurredAt: now.AddDate(0, 0, -1), Product: "chat", Model: "claude-haiku-4-5",
			ServiceTier: billing.Standard, Speed: billing.Standard, InferenceGeo: billing.GeoGlobal,
		}
		event.Quantities[billing.Output] = 400_000
		items = append(items, billing.UsageItem{Event: event})
	}
	_, err = store.AssignSeats(t.Context(), "acme", seats, by)
	require.NoError(t, err)
	limit := billing.LimitChange{Scope: billing.ScopeSeatTier, Subject: "chat"}
	require.NoError(t, limit.Amount.Scan("2.00"))
	_, err = store.SetLimit(t.Context(), "acme", limit, by)
	require.NoError(t, err)
	_, err = store.StoreUsage(t.Context(), "acme", items)
	require.NoError(t, err)

	channels, err := newNotifier(config.Config{SMTPURL: config.Secret("smtp://" + address)}, slog.New(slog.DiscardHandler), store)
	require.NoError(t, err)
	work := activities.New(store, nil, channels, slog.New(slog.DiscardHandler))
	dying, die := context.WithCancel(t.Context())
	box.stop, box.stopAt = die, 30
	_, err = work.DeliverNotices(dying, "acme")
	require.ErrorIs(t, err, context.Canceled)

	rounds, pending := 0, members
	for pending > 0 {
		delivery, err := work.DeliverNotices(t.Context(), "acme")
		require.NoError(t, err)
		require.LessOrEqual(t, delivery.Sent, 100)
		require.Less(t, delivery.Pending, pending, "each round gets on")
		rounds, pending = rounds+1, delivery.Pending
	}
	require.Equal(t, members/100, rounds)
	require.Len(t, box.mails, members)
	twice := 0
	for _, times := range box.mails {
		if times > 1 {
			twice++
		}
	}
	require.LessOrEqual(t, twice, 1)
	require.LessOrEqual(t, box.connections, members/100+2)
	rows, err := store.Notices(t.Context(), "acme", false)
	require.NoError(t, err)
	sent := map[string]int{}
	for _, n := range rows {
		sent[n.Status]++
	}
	require.Equal(t, map[string]int{"sent": members, "recorded": 2 * members}, sent)
}
