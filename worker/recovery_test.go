package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/activities"
	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/config"
	"github.com/arrears-dev/arrears/internal/devstack/fakestripe"
	"github.com/arrears-dev/arrears/internal/devstack/pgtest"
	"github.com/arrears-dev/arrears/internal/postgres"
	"github.com/arrears-dev/arrears/internal/pricebook"
	"github.com/arrears-dev/arrears/internal/stripe"
	"github.com/arrears-dev/arrears/workflows"
)

var operator = billing.Actor{Name: "ann", Reason: "a test"}

// world is a database and a Stripe that does not go back in time with it.
type world struct {
	t       *testing.T
	url     string // of the database
	copies  int
	address string       // of Stripe
	writes  atomic.Int64 // there
	gateway *stripe.Gateway
	store   *postgres.Store
	do      *activities.Activities
	month   time.Time    // that is billed: over for weeks
	later   atomic.Int64 // than now it is at Stripe, in hours
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, url: pgtest.NewURL(t)}
	now := time.Now().UTC()
	w.month = time.Date(now.Year(), now.Month()-2, 1, 0, 0, 0, 0, time.UTC)
	account, err := fakestripe.New(fakestripe.Options{
		Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return time.Now().Add(time.Duration(w.later.Load()) * time.Hour) },
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, account.Close()) })
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			w.writes.Add(1)
		}
		account.ServeHTTP(rw, r)
	}))
	t.Cleanup(server.Close)
	w.address = server.URL
	w.gateway, err = stripe.New(stripe.Options{Key: "sk_test_local", APIBase: server.URL, Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	w.open(w.url)
	_, err = w.store.LoadPriceBook(t.Context(), pricebook.Default(), operator)
	require.NoError(t, err)
	return w
}

// open starts to work on a database, as a worker does.
func (w *world) open(databaseURL string) {
	w.t.Helper()
	log := slog.New(slog.DiscardHandler)
	store, err := postgres.Open(w.t.Context(), databaseURL)
	require.NoError(w.t, err)
	require.NoError(w.t, store.RecordFirstEpoch(w.t.Context()))
	people, err := newNotifier(config.Config{}, log, store)
	require.NoError(w.t, err)
	w.url, w.store, w.do = databaseURL, store, activities.New(store, w.gateway, people, log)
	w.t.Cleanup(store.Close)
}

// backup copies the database as it is, and returns how to restore that: to go on
// with the copy, a day after Stripe has forgotten every key.
func (w *world) backup() (restore func()) {
	w.t.Helper()
	w.store.Close() // what is copied must be left alone
	at, err := url.Parse(w.url)
	require.NoError(w.t, err)
	original := strings.TrimPrefix(at.Path, "/")
	w.copies++
	backup := fmt.Sprintf("%s_backup_%d", original, w.copies)
	w.admin(fmt.Sprintf("CREATE DATABASE %s TEMPLATE %s", backup, original))
	w.t.Cleanup(func() { w.admin(fmt.Sprintf("DROP DATABASE IF EXISTS %s WITH (FORCE)", backup)) })
	w.open(w.url)
	return func() {
		w.t.Helper()
		w.store.Close()
		w.later.Add(25)
		at.Path = "/" + backup
		w.open(at.String())
	}
}

// admin runs a statement beside the database, sql one in it.
func (w *world) admin(statement string) {
	w.t.Helper()
	at, err := url.Parse(w.url)
	require.NoError(w.t, err)
	at.Path = "/postgres"
	w.exec(at.String(), statement)
}

func (w *world) sql(statement string) { w.exec(w.url, statement) }

func (w *world) exec(databaseURL, statement string) {
	w.t.Helper()
	conn, err := pgx.Connect(context.Background(), databaseURL)
	require.NoError(w.t, err)
	defer conn.Close(context.Background())
	_, err = conn.Exec(context.Background(), statement)
	require.NoError(w.t, err)
}

// contract takes an organisation on, with a member and a card.
func (w *world) contract(id string) {
	w.t.Helper()
	org := billing.Organization{ID: id, StartsAt: w.month, PaymentMethod: "pm_card_visa", LateWindow: 100 * 24 * time.Hour, Email: id + "@example.com"}
	_, err := w.store.CreateOrganizations(w.t.Context(), []billing.Organization{org}, operator)
	require.NoError(w.t, err)
	_, err = w.store.AssignSeats(w.t.Context(), id, []postgres.SeatChange{{User: "u1", Tier: "chat", From: w.month}}, operator)
	require.NoError(w.t, err)
	require.NoError(w.t, w.store.StartCycle(w.t.Context(), id, operator))
}

// use stores one event of the month.
func (w *world) use(org, id string) {
	w.t.Helper()
	event := billing.Event{
		ID: id, Organization: org, User: "u1", OccurredAt: w.month.Add(time.Hour), Product: "chat", Model: "claude-sonnet-4-5",
		ServiceTier: billing.Standard, Speed: billing.Standard, InferenceGeo: billing.GeoGlobal,
	}
	event.Quantities[billing.Input] = 3_000_000
	item := billing.UsageItem{Event: event}
	answers, err := w.store.StoreUsage(w.t.Context(), org, []billing.UsageItem{item})
	require.NoError(w.t, err)
	require.Equal(w.t, billing.UsageAccepted, answers[0].Status, answers[0].Reason)
}

func (w *world) ref(org string) workflows.InvoiceRef {
	return workflows.InvoiceRef{Organization: org, Period: w.month.Format(time.DateOnly), Revision: 1}
}

// issue ends and closes the month.
func (w *world) issue(org string) billing.Issued {
	w.t.Helper()
	_, err := w.do.Accrue(w.t.Context(), workflows.CycleInput{Organization: org})
	require.NoError(w.t, err)
	issued, err := w.do.IssueInvoice(w.t.Context(), w.ref(org))
	require.NoError(w.t, err)
	return issued
}

// publish makes an issued invoice known to Stripe.
func (w *world) publish(issued billing.Issued) {
	w.t.Helper()
	require.Equal(w.t, billing.StatusOpen, issued.Status, issued.Reason)
	require.NoError(w.t, w.do.CreateProviderInvoice(w.t.Context(), issued.Invoice))
	for n := range issued.Items {
		require.NoError(w.t, w.do.AddProviderItem(w.t.Context(), workflows.ItemRef{Invoice: issued.Invoice, Number: n + 1}))
	}
	mismatch, err := w.do.FinalizeProviderInvoice(w.t.Context(), issued.Invoice)
	require.NoError(w.t, err)
	require.Empty(w.t, mismatch)
}

// collect charges a published invoice.
func (w *world) collect(invoice string) {
	w.t.Helper()
	for range 3 {
		stands, err := w.do.CollectInvoice(w.t.Context(), invoice)
		require.NoError(w.t, err)
		if stands.Status == billing.StatusPaid {
			return
		}
	}
	require.Fail(w.t, "not paid", invoice)
}

func (w *world) bill(org string) billing.Invoice {
	w.t.Helper()
	issued := w.issue(org)
	w.publish(issued)
	w.collect(issued.Invoice)
	return w.invoice(issued.Invoice)
}

func (w *world) invoice(id string) billing.Invoice {
	w.t.Helper()
	invoice, err := w.store.Invoice(w.t.Context(), id, false)
	require.NoError(w.t, err)
	return invoice
}

// level makes the database level with Stripe, as a sweep does.
func (w *world) level() {
	w.t.Helper()
	page := billing.SweepPage{}
	for !page.Done {
		var err error
		page, err = w.do.SweepInvoices(w.t.Context(), page)
		require.NoError(w.t, err)
	}
}

// behind reports whether billing waits for that.
func (w *world) behind() bool {
	w.t.Helper()
	err := w.store.CheckBillingEnabled(w.t.Context())
	if err != nil {
		require.ErrorIs(w.t, err, billing.ErrStopped)
	}
	stop, readErr := w.store.BillingStop(w.t.Context())
	require.NoError(w.t, readErr)
	require.Equal(w.t, err != nil, stop != nil && stop.Behind)
	return err != nil
}

// clean finds nothing wrong, here or at Stripe, but for what is expected.
func (w *world) clean(expected ...string) {
	w.t.Helper()
	found, err := w.store.Verify(w.t.Context(), "", "")
	require.NoError(w.t, err)
	there, err := w.store.VerifyProvider(w.t.Context(), "", w.gateway.Invoice)
	require.NoError(w.t, err)
	checks := []string{}
	for _, d := range append(found, there...) {
		checks = append(checks, d.Check)
	}
	if expected == nil {
		expected = []string{}
	}
	require.Equal(w.t, expected, checks, "%v %v", found, there)
}

// at returns how many objects of a kind there are at Stripe.
func (w *world) at(kind string) int {
	w.t.Helper()
	request, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, w.address+"/v1/"+kind+"?limit=100", nil)
	require.NoError(w.t, err)
	request.SetBasicAuth("sk_test_local", "")
	response, err := http.DefaultClient.Do(request)
	require.NoError(w.t, err)
	defer response.Body.Close()
	var list struct{ Data []any }
	require.NoError(w.t, json.NewDecoder(response.Body).Decode(&list))
	return len(list.Data)
}

// voidThere withdraws an invoice at Stripe, as a person does in its dashboard.
func (w *world) voidThere(stripeInvoice string) {
	w.t.Helper()
	w.post("invoices/"+stripeInvoice+"/void", url.Values{}, nil)
}

// card has an organisation charged to another card.
func (w *world) card(org, method string) {
	w.t.Helper()
	have, err := w.store.Organization(w.t.Context(), org)
	require.NoError(w.t, err)
	_, err = w.gateway.SetPaymentMethod(w.t.Context(), have.StripeCustomerID, method, "method/"+method)
	require.NoError(w.t, err)
}

// others makes invoices at Stripe that are not ours.
func (w *world) others(n int) {
	w.t.Helper()
	var customer struct{ ID string }
	w.post("customers", url.Values{}, &customer)
	for range n {
		w.post("invoices", url.Values{"customer": {customer.ID}, "currency": {"usd"}}, nil)
	}
}

// post makes or changes an object at Stripe.
func (w *world) post(path string, params url.Values, into any) {
	w.t.Helper()
	w.send(http.MethodPost, path, params, into)
}

func (w *world) send(method, path string, params url.Values, into any) {
	w.t.Helper()
	request, err := http.NewRequestWithContext(w.t.Context(), method, w.address+"/v1/"+path, strings.NewReader(params.Encode()))
	require.NoError(w.t, err)
	request.SetBasicAuth("sk_test_local", "")
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	response, err := http.DefaultClient.Do(request)
	require.NoError(w.t, err)
	defer response.Body.Close()
	require.Equal(w.t, http.StatusOK, response.StatusCode)
	if into != nil {
		require.NoError(w.t, json.NewDecoder(response.Body).Decode(into))
	}
}

func TestWhatWasBilledSinceTheBackupIsAdopted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.contract("acme")
	w.use("acme", "1")
	restore := w.backup()
	require.False(t, w.behind(), "the same server, the same tables")
	paid := w.bill("acme")
	w.clean()

	restore()
	require.True(t, w.behind())
	held := w.issue("acme")
	require.True(t, held.Stopped, "nothing is issued meanwhile")
	require.Contains(t, held.Reason, "by itself")
	before := w.writes.Load()
	w.level()
	require.False(t, w.behind())
	require.Equal(t, before, w.writes.Load(), "reading is enough")
	w.clean("provider_orphan")

	again := w.bill("acme")
	require.Equal(t, paid.StripeInvoiceID, again.StripeInvoiceID)
	require.Equal(t, paid.Number, again.Number, "as on the payer's copy")
	require.Equal(t, []int{1, 1, 1}, []int{w.at("customers"), w.at("invoices"), w.at("charges")})
	w.clean()
	w.level()
	w.clean()
}

func TestWhatWasPaidSinceTheBackupIsNotChargedAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.contract("acme")
	w.use("acme", "1")
	issued := w.issue("acme")
	w.publish(issued)
	restore := w.backup()
	w.collect(issued.Invoice)

	restore()
	before := w.writes.Load()
	stands, err := w.do.CollectInvoice(t.Context(), issued.Invoice)
	require.NoError(t, err)
	require.True(t, stands.Stopped)
	w.level()
	w.collect(issued.Invoice)
	require.Equal(t, before, w.writes.Load(), "it was looked at first")
	require.Equal(t, 1, w.at("charges"))
	w.clean()
}

func TestWhatWasHalfPublishedAtTheBackupIsTakenUpAsItIsThere(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.contract("acme")
	w.use("acme", "1")
	issued := w.issue("acme")
	require.NoError(t, w.do.CreateProviderInvoice(t.Context(), issued.Invoice))
	restore := w.backup()
	w.publish(issued)
	w.collect(issued.Invoice)

	restore()
	w.level()
	w.bill("acme")
	require.Equal(t, []int{1, 1, issued.Items}, []int{w.at("invoices"), w.at("charges"), w.at("invoiceitems")})
	w.clean()
}

func TestABackupFromBeforeTheFirstWorkerRanIsOne(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, err := w.store.CreateOrganizations(t.Context(), []billing.Organization{{ID: "acme", StartsAt: w.month}}, operator)
	require.NoError(t, err)
	w.sql(`UPDATE database_incarnation SET known = NULL`)
	w.open(w.url)
	require.True(t, w.behind())
}

func TestABillThatComesToAnotherTotalWaitsForWhatWasLost(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.contract("acme")
	w.contract("globex")
	w.use("acme", "1")
	restore := w.backup()
	w.use("acme", "2")
	paid := w.bill("acme")

	restore()
	w.level()
	parked := w.issue("acme")
	require.Equal(t, billing.StatusParked, parked.Status)
	require.Contains(t, parked.Reason, paid.StripeInvoiceID)
	require.Contains(t, parked.Reason, paid.Total.String())
	require.Contains(t, parked.Reason, "import again")
	require.NotEqual(t, paid.Number, w.bill("globex").Number, "nobody else waits, and nobody gets a number that somebody else has")

	w.use("acme", "2")
	again := w.bill("acme")
	require.Equal(t, []string{paid.StripeInvoiceID, paid.Number}, []string{again.StripeInvoiceID, again.Number})
	require.Equal(t, 2, w.at("charges"), "one each")
	w.clean()
}

// publishedByMistake takes an organisation under contract, and publishes what it
// used once and what is sent by mistake after the backup, and never again.
func (w *world) publishedByMistake(org string) (restore func(), wrong billing.Invoice) {
	w.t.Helper()
	w.contract(org)
	w.use(org, "1")
	restore = w.backup()
	w.use(org, "2")
	issued := w.issue(org)
	w.publish(issued)
	return restore, w.invoice(issued.Invoice)
}

func TestWhatIsWithdrawnAtStripeIsBilledAnew(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	restore, wrong := w.publishedByMistake("acme")

	restore()
	w.level()
	require.Equal(t, billing.StatusParked, w.issue("acme").Status)
	w.voidThere(wrong.StripeInvoiceID)
	w.level()
	right := w.bill("acme")
	require.NotEqual(t, wrong.StripeInvoiceID, right.StripeInvoiceID)
	require.NotEqual(t, wrong.Number, right.Number)
	require.Equal(t, 1, w.at("charges"))
	w.clean()
}

// Stripe keeps a key for a day, and what was made under it was withdrawn.
func TestWhatIsWithdrawnWithinADayIsBilledAnewAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	restore, wrong := w.publishedByMistake("acme")

	restore()
	w.later.Add(-24)
	w.level()
	w.voidThere(wrong.StripeInvoiceID)
	w.level()
	right := w.bill("acme")
	require.NotEqual(t, wrong.StripeInvoiceID, right.StripeInvoiceID)
	require.Equal(t, 1, w.at("charges"))
	w.clean()
}

// The twin was declined under the key of the first attempt.
func TestWhatIsMadeInsteadOfADeclinedInvoiceIsChargedAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	restore, wrong := w.publishedByMistake("acme")
	w.card("acme", "pm_card_chargeCustomerFail")
	_, err := w.do.CollectInvoice(t.Context(), wrong.ID)
	require.NoError(t, err)
	w.card("acme", "pm_card_visa")

	restore()
	w.later.Add(-24)
	w.level()
	w.voidThere(wrong.StripeInvoiceID)
	w.level()
	require.NotEqual(t, wrong.StripeInvoiceID, w.bill("acme").StripeInvoiceID)
	w.clean()
}

func TestADraftThatIsDeletedAtStripeIsMadeAnewAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.contract("acme")
	w.use("acme", "1")
	restore := w.backup()
	issued := w.issue("acme")
	require.NoError(t, w.do.CreateProviderInvoice(t.Context(), issued.Invoice))
	draft := w.invoice(issued.Invoice)

	restore()
	w.later.Add(-24)
	w.level()
	w.send(http.MethodDelete, "invoices/"+draft.StripeInvoiceID, url.Values{}, nil)
	again := w.bill("acme")
	require.NotEqual(t, draft.StripeInvoiceID, again.StripeInvoiceID)
	require.Equal(t, draft.Number, again.Number)
	require.Equal(t, 1, w.at("charges"))
}

func TestADraftThatWasForgottenKeepsTheNumberThatItSays(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.contract("acme")
	w.use("acme", "1")
	restore := w.backup()
	issued := w.issue("acme")
	require.NoError(t, w.do.CreateProviderInvoice(t.Context(), issued.Invoice))
	draft := w.invoice(issued.Invoice)

	restore()
	w.level()
	again := w.bill("acme")
	require.Equal(t, []string{draft.StripeInvoiceID, draft.Number}, []string{again.StripeInvoiceID, again.Number})
	w.clean()
}

// The period was ended early, which is forgotten: it ends by itself long after the
// database is level.
func TestAnInvoiceOfAPeriodThatWasEndedEarlyIsLookedForToo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.contract("acme")
	w.use("acme", "1")
	restore := w.backup()
	paid := w.bill("acme")

	restore()
	w.level()
	w.sql(`UPDATE database_incarnation SET caught_up_at = '` + w.month.AddDate(0, 0, 20).Format(time.RFC3339) + `'`)
	require.Equal(t, paid.StripeInvoiceID, w.bill("acme").StripeInvoiceID)
	require.Equal(t, []int{1, 1}, []int{w.at("invoices"), w.at("charges")})
	w.clean()
}

// It has read its first page, and would record of the restored database that all
// is known until an hour ago.
func TestASweepThatBeganBeforeTheRestoreLeavesNoGap(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.contract("acme")
	w.contract("globex")
	w.use("acme", "1")
	w.use("globex", "2")
	w.sql(`INSERT INTO provider_sweeps (list, swept_to) SELECT list, now() - interval '10 hours' FROM unnest('{invoices,events}'::text[]) AS list`)
	restore := w.backup()
	w.later.Add(-5)
	w.others(100)
	paid := w.bill("acme")
	invoices, err := w.do.SweepInvoices(t.Context(), billing.SweepPage{})
	require.NoError(t, err)
	require.False(t, invoices.Done)

	restore()
	invoices, err = w.do.SweepInvoices(t.Context(), invoices)
	require.NoError(t, err)
	require.True(t, invoices.Done)
	require.True(t, w.behind())
	w.level()
	require.False(t, w.behind())
	w.clean("provider_orphan")
	require.NotEqual(t, paid.Number, w.bill("globex").Number)
}

func TestAnOrganizationThatWasForgottenKeepsItsCustomer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	restore := w.backup()
	w.contract("acme")
	w.use("acme", "1")
	paid := w.bill("acme")

	restore()
	w.level()
	w.clean("provider_orphan")
	w.contract("acme")
	w.use("acme", "1")
	require.Equal(t, paid.StripeInvoiceID, w.bill("acme").StripeInvoiceID)
	require.Equal(t, []int{1, 1, 1}, []int{w.at("customers"), w.at("invoices"), w.at("charges")})
	w.clean()
}

func TestWhoeverPutRowsBackUnnoticedSaysSo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	changed, err := w.store.DeclareRestored(t.Context(), operator)
	require.NoError(t, err)
	require.True(t, changed)
	require.True(t, w.behind())
	changed, err = w.store.DeclareRestored(t.Context(), operator)
	require.NoError(t, err)
	require.False(t, changed)
	w.clean("database_behind")

	_, err = w.store.StopBilling(t.Context(), operator)
	require.NoError(t, err)
	w.level()
	stop, err := w.store.BillingStop(t.Context())
	require.NoError(t, err)
	require.Equal(t, "ann", stop.Actor, "a person's stop stays until a person lifts it")
	require.False(t, stop.Behind)
	w.clean()
}

func TestAWorkerHasTheProviderSweptWhileTheDatabaseIsBehind(t *testing.T) {
	t.Parallel()
	present, sweeps := "", 0
	l := &recovery{
		behind:  func(context.Context) (string, error) { return present, nil },
		trigger: func(context.Context) error { sweeps++; return nil },
		log:     slog.New(slog.DiscardHandler),
	}
	require.NoError(t, l.look(t.Context()))
	require.Zero(t, sweeps)
	present = "another"
	require.NoError(t, l.look(t.Context()))
	require.NoError(t, l.look(t.Context()))
	require.Equal(t, 2, sweeps, "until it is level")
}
