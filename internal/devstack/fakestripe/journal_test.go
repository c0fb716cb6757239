package fakestripe_test

import (
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/stripe/stripe-go/v76"

	"github.com/arrears-dev/arrears/internal/devstack/fakestripe"
)

// run starts a server on the file, without ever closing it in order: as if it
// were killed when the returned function is called.
func run(t *testing.T, file string) (*local, func()) {
	t.Helper()
	w := newWall()
	server, err := fakestripe.New(fakestripe.Options{StateFile: file, Now: w.now, Log: quiet()})
	require.NoError(t, err)
	listener := httptest.NewServer(server)
	t.Cleanup(func() { _ = server.Close() })
	return &local{API: clientOf(listener.URL, "sk_test_1"), server: server, url: listener.URL, wall: w}, listener.Close
}

func TestAKilledServerLosesNothingItAnswered(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "stripe.journal")
	l, kill := run(t, file)
	c := l.customer(t, "pm_card_visa")
	debtor := l.customer(t, "pm_usBankAccount_success")
	debit := l.finalized(t, debtor.ID, 700)
	_, err := l.Invoices.Pay(debit.ID, nil)
	require.NoError(t, err)
	inv := l.finalized(t, c.ID, 1000, 200)
	_, err = l.Invoices.Pay(inv.ID, &stripe.InvoicePayParams{Params: keyed("pay/1")})
	require.NoError(t, err)
	draft := l.draft(t, c.ID, 1, 2, 3)
	gone := l.draft(t, c.ID, 5)
	_, err = l.Invoices.Del(gone.ID, nil)
	require.NoError(t, err)
	before := l.invoice(t, inv.ID)
	happened := l.events(t)
	kill()

	for range 2 { // the second time from the compacted file
		l, kill = run(t, file)
		got := l.invoice(t, inv.ID)
		got.LastResponse, before.LastResponse = nil, nil
		require.Equal(t, before, got)
		require.Equal(t, happened, l.events(t))
		paid, err := l.Invoices.Pay(inv.ID, &stripe.InvoicePayParams{Params: keyed("pay/1")})
		require.NoError(t, err)
		require.True(t, paid.Paid)
		require.Equal(t, "true", paid.LastResponse.Header.Get("Idempotent-Replayed"))
		require.EqualValues(t, 6, l.invoice(t, draft.ID).Total)
		require.EqualValues(t, 1, l.invoice(t, draft.ID).Lines.Data[0].Amount)
		_, err = l.Invoices.Get(gone.ID, nil)
		require.Equal(t, stripe.ErrorCodeResourceMissing, code(err))
		kill()
	}
	l, kill = run(t, file)
	defer kill()
	l.wall.pass(4 * day)
	require.EqualValues(t, 700, l.intent(t, debit).AmountReceived)
	next := l.finalized(t, c.ID, 1000)
	require.Equal(t, c.InvoicePrefix+"-0002", next.Number)
	charged, err := l.Invoices.Pay(next.ID, nil)
	require.NoError(t, err, "the restored method still works")
	require.True(t, charged.Paid)
}

func TestATornLastLineIsLeftOut(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "stripe.journal")
	l, kill := run(t, file)
	kept := l.customer(t, "")
	whole, err := os.ReadFile(file)
	require.NoError(t, err)
	lost := l.customer(t, "")
	kill()
	full, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, full[:(len(whole)+len(full))/2], 0o600))

	l, kill = run(t, file)
	defer kill()
	_, err = l.Customers.Get(kept.ID, nil)
	require.NoError(t, err)
	_, err = l.Customers.Get(lost.ID, nil)
	require.Equal(t, stripe.ErrorCodeResourceMissing, code(err))
	l.customer(t, "")
}

func TestABrokenLineInTheMiddleIsNotPassedOver(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "stripe.journal")
	require.NoError(t, os.WriteFile(file, []byte("{\"put\":[\n{}\n"), 0o600))
	_, err := fakestripe.New(fakestripe.Options{StateFile: file, Log: quiet()})
	require.ErrorContains(t, err, "line 1")
}
