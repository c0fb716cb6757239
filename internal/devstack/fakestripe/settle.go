package fakestripe

import (
	"cmp"
	"slices"
)

// settlePassing settles what is due by the wall clock, looking once a second.
func (t *tx) settlePassing() {
	if now := instant(t.wall.Unix()); now != t.settledAt {
		t.settledAt = now
		t.settleDue()
	}
}

// settleDue does what time alone brings about: bank debits end, and invoices
// with auto_advance move on.
func (t *tx) settleDue() {
	for _, p := range t.dueIntents() {
		t.endDebit(p)
	}
	for _, re := range t.dueRefunds() {
		t.endRefund(re)
	}
	for _, inv := range t.dueInvoices() {
		t.advance(inv)
	}
}

func (t *tx) dueIntents() []*paymentIntent {
	var due []*paymentIntent
	for _, p := range t.unsettled {
		if p.private.SettleAt <= t.now(p.Customer) {
			due = append(due, p)
		}
	}
	slices.SortFunc(due, func(a, b *paymentIntent) int {
		return cmp.Or(cmp.Compare(a.private.SettleAt, b.private.SettleAt), cmp.Compare(a.ID, b.ID))
	})
	return due
}

func (t *tx) dueRefunds() []*refund {
	var due []*refund
	for _, re := range t.refunding {
		if re.private.SettleAt <= t.now(re.private.Customer) {
			due = append(due, re)
		}
	}
	slices.SortFunc(due, func(a, b *refund) int {
		return cmp.Or(cmp.Compare(a.private.SettleAt, b.private.SettleAt), cmp.Compare(a.ID, b.ID))
	})
	return due
}

// finalizesAt is when Stripe finalises a draft by itself.
func (i *invoice) finalizesAt() instant { return i.Created + hour }

func (t *tx) dueInvoices() []*invoice {
	var due []*invoice
	for _, inv := range t.advances {
		at := inv.NextPaymentAttempt
		if inv.Status == "draft" {
			at = inv.finalizesAt()
		}
		if at <= t.now(inv.Customer) {
			due = append(due, inv)
		}
	}
	slices.SortFunc(due, func(a, b *invoice) int {
		return cmp.Or(cmp.Compare(a.Created, b.Created), cmp.Compare(a.ID, b.ID))
	})
	return due
}

// advance finalises a draft whose hour has passed and charges it once. Stripe's
// retries after that are not modelled.
func (t *tx) advance(inv *invoice) {
	now := max(inv.finalizesAt(), inv.NextPaymentAttempt)
	if inv.Status == "draft" {
		t.finalize(inv, now)
	}
	inv.NextPaymentAttempt = 0
	m, ok := t.defaultMethod(inv)
	chargeable := inv.Status == "open" && inv.CollectionMethod == "charge_automatically" &&
		chargeAmount(inv) == nil && !t.processing(inv)
	if !ok || !chargeable {
		t.put(inv)
		return
	}
	t.collect(inv, m, true, now) // a decline is told by events
}
