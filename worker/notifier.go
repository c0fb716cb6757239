package main

import (
	"context"
	"errors"
	"log/slog"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/shopspring/decimal"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/config"
	"github.com/arrears-dev/arrears/internal/notify"
	"github.com/arrears-dev/arrears/internal/postgres"
)

// notifier tells people of spend and payments: by mail where their address is
// known, by webhook, or by both; where neither is configured, in the log.
type notifier struct {
	mail    notify.Channel // nil = not configured
	webhook notify.Channel // nil = not configured
	log     notify.Channel
	facts   noticeFacts
	now     func() time.Time
}

// noticeFacts is what the notifier needs of the database.
type noticeFacts interface {
	Deliveries(ctx context.Context, message string) ([]postgres.Delivery, error)
	RecordDelivery(ctx context.Context, message, channel, status, failure string) error
}

func newNotifier(cfg config.Config, log *slog.Logger, facts noticeFacts) (n *notifier, err error) {
	n = &notifier{facts: facts, now: time.Now}
	if n.log, err = notify.Open("", log); err != nil {
		return nil, err
	}
	if cfg.SMTPURL != "" {
		if n.mail, err = notify.Open(smtpURL(cfg), log); err != nil {
			return nil, err
		}
	}
	if cfg.NotifyURL == "" {
		return n, nil
	}
	var secrets []string
	for _, secret := range cfg.NotifySecrets {
		secrets = append(secrets, string(secret))
	}
	if n.webhook, err = notify.OpenWebhook(cfg.NotifyURL, secrets...); err != nil {
		return nil, err
	}
	return n, nil
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
	return n.deliver(ctx, notify.Spend(notify.SpendNotice{
		ID: strconv.FormatInt(notice.ID, 10), Organization: notice.Organization,
		Scope: notice.Scope, Subject: notice.Subject, Tier: notice.Tier,
		LimitID: strconv.FormatInt(notice.LimitID, 10), LimitVersion: notice.LimitVersion,
		Threshold: notice.Threshold, Percent: percent(notice.Spent.Amount, notice.Limit.Amount),
		Limit: notice.Limit, Spent: notice.Spent, PeriodStart: notice.Window.Start, ResetsAt: notice.Window.End,
		At: notice.At, Late: notice.Late, To: recipients(notice.Email),
	}))
}

// Payment implements activities.Notifier.
func (n *notifier) Payment(ctx context.Context, notice billing.PaymentNotice) error {
	news := notify.PaymentNotice{
		Event: eventOf(notice.Kind), Organization: notice.Organization, Invoice: notice.Invoice, Number: notice.Number,
		Amount: notice.Amount, Attempt: notice.Attempt, FailureCode: notice.FailureCode, At: n.now().UTC(), URL: notice.URL,
		Day: notice.Day, DueDate: notice.DueDate,
		To: recipients(notice.Email),
	}
	switch {
	case notice.NextAt.IsZero():
	case notice.Kind == billing.NoticeInvoiceSent, notice.Kind == billing.NoticeReminder,
		notice.Kind == billing.NoticeActionRequired: // until when the payer may act
		news.DueAt = &notice.NextAt
	default:
		news.NextAttempt = &notice.NextAt
	}
	return n.deliver(ctx, notify.Payment(news))
}

// deliver hands a message to every channel that has not taken or refused it
// before, to all of them at once, so that none waits for another. It is delivered
// once all have taken it.
func (n *notifier) deliver(ctx context.Context, message notify.Message) error {
	before, err := n.facts.Deliveries(ctx, message.Key)
	if err != nil {
		return err
	}
	channels := n.channels(message)
	failures := make([]error, len(channels))
	var trying sync.WaitGroup
	for i, channel := range channels {
		known := slices.IndexFunc(before, func(d postgres.Delivery) bool { return d.Channel == channel.Name() })
		switch {
		case known >= 0 && before[known].Status == delivered:
		case known >= 0 && before[known].Status == refused:
			failures[i] = errors.New(before[known].Failure)
		default:
			trying.Go(func() { failures[i] = n.try(ctx, channel, message) })
		}
	}
	trying.Wait()
	return errors.Join(failures...)
}

// What a channel says to a message.
const (
	delivered = "delivered"
	failed    = "failed"
	refused   = "refused" // trying again cannot cure it
)

// recordTimeout bounds the record of a try, which is made even where the try
// used up its time.
const recordTimeout = 3 * time.Second

// try hands a message to one channel and records how that went.
func (n *notifier) try(ctx context.Context, channel notify.Channel, message notify.Message) error {
	err := channel.Deliver(ctx, message)
	status, failure := delivered, ""
	if err != nil {
		status, failure = failed, err.Error()
	}
	if errors.Is(err, notify.ErrRefused) {
		status = refused
	}
	recording, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
	defer cancel()
	return errors.Join(err, n.facts.RecordDelivery(recording, message.Key, channel.Name(), status, failure))
}

// channels lists those that a message goes to.
func (n *notifier) channels(message notify.Message) []notify.Channel {
	var channels []notify.Channel
	if n.mail != nil && len(message.To) > 0 {
		channels = append(channels, n.mail)
	}
	if n.webhook != nil {
		channels = append(channels, n.webhook)
	}
	if len(channels) == 0 {
		return []notify.Channel{n.log}
	}
	return channels
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
	case billing.NoticeReminder:
		return notify.PaymentReminder
	case billing.NoticeNoMethod:
		return notify.PaymentMethodMissing
	case billing.NoticeSuspended:
		return notify.OrganizationSuspended
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
