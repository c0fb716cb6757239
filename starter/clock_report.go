package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/postgres"
)

// reportRow is one thing that happened while time passed.
type reportRow struct {
	At           time.Time      `json:"at"`
	Organization string         `json:"organization"`
	Kind         string         `json:"kind"` // notice, period, draft, invoice, payment, payment_notice
	ID           string         `json:"id"`
	Status       string         `json:"status"`
	Amount       *billing.Money `json:"amount"`
	Text         string         `json:"text"`
}

// compare orders by time; at one time, periods end before invoices are issued,
// and those before payments.
func (h reportRow) compare(other reportRow) int {
	kinds := []string{"notice", "period", "draft", "invoice", "payment", "payment_notice"}
	return cmp.Or(h.At.Compare(other.At), strings.Compare(h.Organization, other.Organization),
		cmp.Compare(slices.Index(kinds, h.Kind), slices.Index(kinds, other.Kind)),
		cmp.Compare(len(h.ID), len(other.ID)), strings.Compare(h.ID, other.ID))
}

// snapshot is what there is to tell of an organisation at one moment.
type snapshot struct {
	now    time.Time
	things map[string]reportRow // by a name that changes when a status does
	issued map[string]bool      // invoices, by id
}

func snapshots(ctx context.Context, store *postgres.Store, clocks []*testClock) (map[string]snapshot, error) {
	all := map[string]snapshot{}
	for _, c := range clocks {
		s, err := takeSnapshot(ctx, store, c.org.ID)
		if err != nil {
			return nil, err
		}
		all[c.org.ID] = s
	}
	return all, nil
}

// takeSnapshot reads what has happened to an organisation so far.
func takeSnapshot(ctx context.Context, store *postgres.Store, id string) (snapshot, error) {
	s := snapshot{things: map[string]reportRow{}, issued: map[string]bool{}}
	org, err := store.Organization(ctx, id)
	if err != nil {
		return s, err
	}
	s.now = org.Now
	notices, err := listNotices(ctx, store, id, false)
	if err != nil {
		return s, err
	}
	for _, n := range notices {
		s.addNotice(n)
	}
	invoices, err := listInvoices(ctx, store, id)
	if err != nil {
		return s, err
	}
	for _, i := range invoices {
		s.addInvoice(i)
	}
	payments, err := store.Payments(ctx, id)
	if err != nil {
		return s, err
	}
	for _, p := range payments {
		s.addPayment(id, p)
	}
	paymentNotices, err := store.PaymentNotices(ctx, id)
	if err != nil {
		return s, err
	}
	for _, n := range paymentNotices {
		s.add(reportRow{
			At: n.At, Organization: id, Kind: "payment_notice", ID: fmt.Sprint(n.ID), Status: n.Status,
			Text: fmt.Sprintf("%s of invoice %s", n.Kind, n.Invoice), Amount: &n.Amount,
		})
	}
	return s, nil
}

func (s snapshot) add(h reportRow) { s.things[h.Kind+"/"+h.ID+"/"+h.Status] = h }

func (s snapshot) addNotice(v noticeView) {
	s.add(reportRow{
		At: v.At, Organization: v.Organization, Kind: "notice", ID: fmt.Sprint(v.ID), Status: v.Status, Amount: &v.Spent,
		Text: fmt.Sprintf("%s reached %d %% of %s (%s)", v.whose(), v.Threshold, v.Limit, v.Status),
	})
}

func (s snapshot) addInvoice(i billing.Invoice) {
	s.add(reportRow{
		At: i.PeriodEnd, Organization: i.Organization, Kind: "period", ID: i.Organization + "/" + i.PeriodID, Status: "ended",
		Text: "the period " + i.PeriodID + " ended",
	})
	h := reportRow{
		At: i.PeriodEnd, Organization: i.Organization, Kind: "invoice", ID: i.ID, Status: string(i.Status), Amount: &i.Total,
		Text: fmt.Sprintf("%s was issued and is %s", i.ID, i.Status),
	}
	switch i.Status {
	case billing.StatusDraft:
		h.Kind, h.Text = "draft", i.ID+" can be looked at"
	case billing.StatusParked:
		h.Kind, h.Text = "draft", i.ID+" is parked: "+i.ParkedReason
	default:
		s.issued[i.ID] = true
		if i.FinalizedAt != nil {
			h.At = *i.FinalizedAt
		}
	}
	s.add(h)
}

func (s snapshot) addPayment(org string, p postgres.Payment) {
	text := fmt.Sprintf("attempt %d at %s %s", p.Attempt, p.Invoice, p.Status)
	if p.FailureCode != "" {
		text += ": " + p.FailureCode
	}
	s.add(reportRow{
		At: p.CreatedAt, Organization: org, Kind: "payment", ID: fmt.Sprint(p.ID), Status: string(p.Status), Amount: &p.Amount, Text: text,
	})
}

// since lists what is there and was not before.
func (s snapshot) since(before snapshot) []reportRow {
	var news []reportRow
	for name, h := range s.things {
		if _, known := before.things[name]; known {
			continue
		}
		if h.Kind == "invoice" && before.issued[h.ID] { // its status is what is new
			h.At, h.Text = s.now, fmt.Sprintf("%s is %s now", h.ID, h.Status)
		}
		news = append(news, h)
	}
	return news
}
