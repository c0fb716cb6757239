package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/config"
	"github.com/arrears-dev/arrears/internal/notify"
	"github.com/arrears-dev/arrears/internal/postgres"
)

type fakeChannel struct {
	name     string
	messages []notify.Message
	fails    error
}

func (f *fakeChannel) Name() string { return f.name }
func (f *fakeChannel) Deliver(_ context.Context, m notify.Message) error {
	if f.fails != nil {
		return f.fails
	}
	f.messages = append(f.messages, m)
	return nil
}

// fakeFacts remembers the last status of each message and channel.
type fakeFacts struct {
	mu       sync.Mutex
	statuses map[string]map[string]string
}

func (f *fakeFacts) Deliveries(_ context.Context, message string) (list []postgres.Delivery, err error) {
	for channel, status := range f.statuses[message] {
		list = append(list, postgres.Delivery{Channel: channel, Status: status, Failure: status})
	}
	return list, nil
}

func (f *fakeFacts) RecordDelivery(_ context.Context, message, channel, status, _ string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.statuses == nil {
		f.statuses = map[string]map[string]string{}
	}
	if f.statuses[message] == nil {
		f.statuses[message] = map[string]string{}
	}
	f.statuses[message][channel] = status
	return nil
}

func TestANoticeIsDeliveredOnceEveryChannelTookItAndNoneIsToldTwice(t *testing.T) {
	t.Parallel()
	mail, hook, facts := &fakeChannel{name: "mail"}, &fakeChannel{name: "webhook", fails: errors.New("down")}, &fakeFacts{}
	n := &notifier{mail: mail, webhook: hook, log: &fakeChannel{name: "log"}, facts: facts, now: time.Now}
	notice := billing.Notice{ID: 40, Organization: "acme", Scope: billing.ScopeUser, Limit: usd("4.00"), Spent: usd("3.00"), Email: "b@acme.example"}
	for range 3 {
		require.ErrorContains(t, n.Spend(t.Context(), notice), "down")
	}
	require.Len(t, mail.messages, 1, "a retry does not repeat what was taken")
	require.Equal(t, map[string]string{"mail": "delivered", "webhook": "failed"}, facts.statuses["notice/40"])
	hook.fails = nil
	require.NoError(t, n.Spend(t.Context(), notice))
	require.NoError(t, n.Spend(t.Context(), notice), "a record that was lost behind it repeats nothing")
	require.Equal(t, []int{1, 1}, []int{len(mail.messages), len(hook.messages)})

	notice.ID, hook.fails = 41, fmt.Errorf("gone: %w", notify.ErrRefused)
	require.Error(t, n.Spend(t.Context(), notice))
	hook.fails = nil
	require.ErrorContains(t, n.Spend(t.Context(), notice), "refused", "it is not asked again")
	require.Len(t, hook.messages, 1)
}

func usd(amount string) billing.Money {
	return billing.Money{Amount: decimal.RequireFromString(amount), Currency: "USD"}
}

func TestNotices(t *testing.T) {
	t.Parallel()
	mail, log := &fakeChannel{name: "mail"}, &fakeChannel{name: "log"}
	n := &notifier{mail: mail, log: log, facts: &fakeFacts{}, now: time.Now}
	notice := billing.Notice{
		ID: 40, Organization: "acme", Scope: billing.ScopeSeatTier, Subject: "user_00007", Tier: "chat", LimitID: 7, LimitVersion: 1,
		Threshold: 75, Limit: usd("4.00"), Spent: usd("3.0123"), Email: "billing@acme.example",
	}
	require.NoError(t, n.Spend(t.Context(), notice))
	require.Len(t, mail.messages, 1)
	require.Equal(t, "notice/40", mail.messages[0].Key)
	require.Equal(t, []string{"billing@acme.example"}, mail.messages[0].To)
	require.Contains(t, mail.messages[0].Subject, "each member on seat tier chat", "whose limit it is, beside whose spend")
	require.Contains(t, mail.messages[0].Text, "75.3%")

	notice.Email, notice.ID = "", 41
	require.NoError(t, n.Spend(t.Context(), notice))
	require.Len(t, mail.messages, 1)
	require.Len(t, log.messages, 1, "nobody's address is known")

	next := time.Date(2026, 11, 3, 0, 0, 0, 0, time.UTC)
	require.NoError(t, n.Payment(t.Context(), billing.PaymentNotice{
		ID: 1, Organization: "acme", Invoice: "acme/2026-10-01", Number: "INV-000001", Kind: billing.NoticePaymentFailed,
		Attempt: 1, Amount: usd("184.66"), FailureCode: "insufficient_funds", NextAt: next, Email: "billing@acme.example",
	}))
	require.Equal(t, "payment/acme/2026-10-01/declined/1", mail.messages[1].Key)
	require.Contains(t, mail.messages[1].Text, "does not have enough funds")
	require.Contains(t, mail.messages[1].Text, "2026")

	for kind, says := range map[billing.PaymentNoticeKind]string{
		billing.NoticeReminder: "have been due for 7 days", billing.NoticeNoMethod: "no payment method",
		billing.NoticeInvoiceSent: "Please pay it by 2 November 2026. ",
		billing.NoticeSuspended:   "blocked from now on", billing.NoticeActionRequired: "confirmed by the payer",
	} {
		mail.messages = nil
		require.NoError(t, n.Payment(t.Context(), billing.PaymentNotice{
			ID: 2, Organization: "acme", Invoice: "acme/2026-10-01", Number: "INV-000001", Kind: kind,
			Amount: usd("184.66"), NextAt: next, Day: 7, DueDate: "2026-11-02", Email: "billing@acme.example",
		}))
		require.Contains(t, strings.Join(strings.Fields(mail.messages[0].Text), " "), says)
	}
}

func TestTheSenderIsAddedWhereTheMailServersURLNamesNone(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		config.Config
		want string
	}{
		{config.Config{}, ""},
		{config.Config{SMTPURL: "smtp://mail:25", MailFrom: "a@b.example"}, "smtp://mail:25?from=a%40b.example"},
		{config.Config{SMTPURL: "smtp://mail:25?from=c@d.example", MailFrom: "a@b.c"}, "smtp://mail:25?from=c@d.example"},
		{config.Config{SMTPURL: "smtp://u:p@mail:25"}, "smtp://u:p@mail:25"},
	} {
		require.Equal(t, c.want, smtpURL(c.Config))
	}
}

func TestWhatIsMissingIsNamed(t *testing.T) {
	t.Parallel()
	err := run(t.Context(), []string{"DATABASE_URL=postgres://u:hunter2@h/d"}, &bytes.Buffer{})
	require.ErrorContains(t, err, "TEMPORAL_ADDRESS is missing")
	require.ErrorContains(t, err, "STRIPE_SECRET_KEY is missing")
	require.NotContains(t, err.Error(), "hunter2")
}

func TestDialingWaitsForTheServer(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 2*redial)
	defer cancel()
	var log bytes.Buffer
	_, err := dial(ctx, config.Config{TemporalAddress: "127.0.0.1:1"}, slog.New(slog.NewTextHandler(&log, nil)))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Equal(t, 1, bytes.Count(log.Bytes(), []byte("waiting for Temporal")), "said once")
}
