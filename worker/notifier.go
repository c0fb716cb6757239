package main

import (
	"context"
	"log/slog"
	"net/url"
	"strconv"
	"time"

	"github.com/shopspring/decimal"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/config"
	"github.com/arrears-dev/arrears/internal/notify"
)

// notifier tells people of spend and payments: by mail, or in the log where no
// mail server is configured or nobody's address is known.
type notifier struct {
	channel notify.Channel
	log     notify.Channel
	limits  func(ctx context.Context, organization string) ([]billing.Limit, error)
	now     func() time.Time
}

func newNotifier(cfg config.Config, log *slog.Logger, limits func(context.Context, string) ([]billing.Limit, error)) (*notifier, error) {
	channel, err := notify.Open(smtpURL(cfg), log)
	if err != nil {
		return nil, err
	}
	toLog, err := notify.Open("", log)
	return &notifier{channel, toLog, limits, time.Now}, err
}

// smtpURL is the mail server's, with the sender's address if it names none.
func smtpURL(cfg config.Config) string {
	u, err := url.Parse(string(cfg.SMTPURL))
	if err != nil || cfg.SMTPURL == "" || cfg.MailFrom == "" || u.Query().Get("from") != "" {
		return string(cfg.SMTPURL) // the channel says what is wrong with it
	}
	query := u.Query()
	query.Set("from", cfg.MailFrom)
	u.RawQuery = query.Encode()
	return u.String()
}

// Spend implements activities.Notifier.
func (n *notifier) Spend(ctx context.Context, notice billing.Notice) error {
	tier, err := n.tier(ctx, notice)
	if err != nil {
		return err
	}
	return n.deliver(ctx, notify.Spend(notify.SpendNotice{
		ID: strconv.FormatInt(notice.ID, 10), Organization: notice.Organization,
		Scope: notice.Scope, Subject: notice.Subject, Tier: tier,
		LimitID: strconv.FormatInt(notice.LimitID, 10), LimitVersion: notice.LimitVersion,
		Threshold: notice.Threshold, Percent: percent(notice.Spent.Amount, notice.Limit.Amount),
		Limit: notice.Limit, Spent: notice.Spent, PeriodStart: notice.Window.Start, ResetsAt: notice.Window.End,
		At: notice.At, Late: notice.Late, To: recipients(notice.Email),
	}))
}

// tier is whose limit a seat tier's notice is about: its subject may be a member.
func (n *notifier) tier(ctx context.Context, notice billing.Notice) (string, error) {
	if notice.Scope != billing.ScopeSeatTier {
		return "", nil
	}
	limits, err := n.limits(ctx, notice.Organization)
	if err != nil {
		return "", err
	}
	for _, limit := range limits {
		if limit.ID == notice.LimitID {
			return limit.Subject, nil
		}
	}
	return "", nil // it was removed meanwhile
}

// Payment implements activities.Notifier.
func (n *notifier) Payment(ctx context.Context, notice billing.PaymentNotice) error {
	news := notify.PaymentNotice{
		Event: eventOf(notice.Kind), Organization: notice.Organization, Invoice: notice.Invoice, Number: notice.Number,
		Amount: notice.Amount, Attempt: notice.Attempt, FailureCode: notice.FailureCode, At: n.now().UTC(), URL: notice.URL,
		To: recipients(notice.Email),
	}
	switch {
	case notice.NextAt.IsZero():
	case notice.Kind == billing.NoticeInvoiceSent:
		news.DueAt = &notice.NextAt
	default:
		news.NextAttempt = &notice.NextAt
	}
	return n.deliver(ctx, notify.Payment(news))
}

func (n *notifier) deliver(ctx context.Context, message notify.Message) error {
	if len(message.To) == 0 {
		return n.log.Deliver(ctx, message)
	}
	return n.channel.Deliver(ctx, message)
}

// eventOf names a payment notice as the messages do.
func eventOf(kind billing.PaymentNoticeKind) notify.PaymentEvent {
	switch kind {
	case billing.NoticePaymentFailed:
		return notify.PaymentDeclined
	case billing.NoticeActionRequired:
		return notify.PaymentActionRequired
	case billing.NoticePastDue:
		return notify.PaymentPastDue
	case billing.NoticePaid:
		return notify.PaymentReceived
	case billing.NoticeInvoiceSent:
		return notify.InvoiceSent
	default:
		return notify.PaymentEvent(kind)
	}
}

func recipients(email string) []string {
	if email == "" {
		return nil
	}
	return []string{email}
}

// percent is how much of a limit is spent, to a tenth; "" for a limit of zero.
func percent(spent, limit decimal.Decimal) string {
	if limit.IsZero() {
		return ""
	}
	return spent.Shift(2).DivRound(limit, 1).String()
}
