package fakestripe

import "time"

// state is everything that is kept, behind the server's one mutex.
type state struct {
	customers *table[*customer]
	methods   *table[*paymentMethod]
	invoices  *table[*invoice]
	items     *table[*invoiceItem]
	intents   *table[*paymentIntent]
	charges   *table[*charge]
	refunds   *table[*refund]
	notes     *table[*creditNote]
	clocks    *table[*testClock]
	endpoints *table[*webhookEndpoint]
	disputes  *table[*dispute]
	cash      *table[*cashTransaction]
	shelves   map[string]shelf

	lines     map[string][]*invoiceItem // by invoice, in the order of its lines
	unsettled map[string]*paymentIntent // bank debits under way
	refunding map[string]*refund        // refunds that are not at their end
	advances  map[string]*invoice       // invoices that Stripe moves on by itself
	settledAt instant                   // when what is due was last looked for
	events    eventLog
	replies   replies
	search    searchIndex
}

func newState() *state {
	s := &state{
		customers: newTable(func() *customer { return &customer{} }),
		methods:   newTable(func() *paymentMethod { return &paymentMethod{} }),
		invoices:  newTable(func() *invoice { return &invoice{} }),
		items:     newTable(func() *invoiceItem { return &invoiceItem{} }),
		intents:   newTable(func() *paymentIntent { return &paymentIntent{} }),
		charges:   newTable(func() *charge { return &charge{} }),
		refunds:   newTable(func() *refund { return &refund{} }),
		notes:     newTable(func() *creditNote { return &creditNote{} }),
		clocks:    newTable(func() *testClock { return &testClock{} }),
		endpoints: newTable(func() *webhookEndpoint { return &webhookEndpoint{} }),
		disputes:  newTable(func() *dispute { return &dispute{} }),
		cash:      newTable(func() *cashTransaction { return &cashTransaction{} }),
		refunding: map[string]*refund{},
		lines:     map[string][]*invoiceItem{},
		unsettled: map[string]*paymentIntent{},
		advances:  map[string]*invoice{},
		events:    eventLog{at: map[string]int{}},
		replies:   newReplies(),
		search:    searchIndex{known: map[string]map[string]string{}},
	}
	s.shelves = map[string]shelf{
		"customer": s.customers, "payment_method": s.methods, "invoice": s.invoices,
		"invoiceitem": s.items, "payment_intent": s.intents, "charge": s.charges,
		"refund": s.refunds, "credit_note": s.notes, "test_helpers.test_clock": s.clocks,
		"webhook_endpoint": s.endpoints, "dispute": s.disputes, "customer_cash_balance_transaction": s.cash,
	}
	return s
}

// put keeps an object and the indexes that hang on it.
func (s *state) put(o object) {
	s.shelves[o.kind()].put(o)
	switch o := o.(type) {
	case *paymentIntent:
		if delete(s.unsettled, o.ID); o.Status == "processing" && o.private.SettleAt != 0 {
			s.unsettled[o.ID] = o
		}
	case *refund:
		if delete(s.refunding, o.ID); o.private.SettleAt != 0 {
			s.refunding[o.ID] = o
		}
	case *invoice:
		if delete(s.advances, o.ID); o.advancing() {
			s.advances[o.ID] = o
		}
	}
}

func (s *state) drop(o object) {
	s.shelves[o.kind()].drop(o.key())
	if inv, ok := o.(*invoice); ok {
		delete(s.advances, inv.ID)
	}
}

// clockOf returns the time at which a customer lives: its test clock's, or the
// wall's.
func (s *state) clockOf(customerID string, wall time.Time) instant {
	if c, ok := s.customers.get(customerID); ok && c.TestClock != "" {
		if clock, ok := s.clocks.get(string(c.TestClock)); ok {
			return clock.FrozenTime
		}
	}
	return instant(wall.Unix())
}
