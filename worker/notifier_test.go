package main

import (
	"bytes"
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/config"
	"github.com/arrears-dev/arrears/internal/notify"
)

type fakeChannel struct{ messages []notify.Message }

func (*fakeChannel) Name() string { return "fake" }
func (f *fakeChannel) Deliver(_ context.Context, m notify.Message) error {
	f.messages = append(f.messages, m)
	return nil
}

func usd(amount string) billing.Money {
	return billing.Money{Amount: decimal.RequireFromString(amount), Currency: "USD"}
}

func TestNotices(t *testing.T) {
	t.Parallel()
	mail, log := &fakeChannel{}, &fakeChannel{}
	n := &notifier{mail, log, func(context.Context, string) ([]billing.Limit, error) {
		return []billing.Limit{{ID: 7, Scope: billing.ScopeSeatTier, Subject: "chat"}}, nil
	}, time.Now}
	notice := billing.Notice{
		ID: 40, Organization: "acme", Scope: billing.ScopeSeatTier, Subject: "user_00007", LimitID: 7, LimitVersion: 1,
		Threshold: 75, Limit: usd("4.00"), Spent: usd("3.0123"), Email: "billing@acme.example",
	}
	require.NoError(t, n.Spend(t.Context(), notice))
	require.Len(t, mail.messages, 1)
	require.Equal(t, "notice/40", mail.messages[0].Key)
	require.Equal(t, []string{"billing@acme.example"}, mail.messages[0].To)
	require.Contains(t, mail.messages[0].Subject, "each member on seat tier chat", "whose limit it is, beside whose spend")
	require.Contains(t, mail.messages[0].Text, "75.3%")

	notice.Email = ""
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
