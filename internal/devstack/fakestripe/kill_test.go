package fakestripe_test

import (
	"bufio"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/stripe/stripe-go/v76"
	"github.com/stripe/stripe-go/v76/client"

	"github.com/arrears-dev/arrears/internal/devstack/fakestripe"
)

// killedFile names the state file to the child process that is to be killed.
const killedFile = "LOCALSTRIPE_KILLED_FILE"

func TestMain(m *testing.M) {
	if file := os.Getenv(killedFile); file != "" {
		serveUntilKilled(file)
	}
	os.Exit(m.Run())
}

func serveUntilKilled(file string) {
	server, err := fakestripe.New(fakestripe.Options{StateFile: file, Log: quiet()})
	if err != nil {
		panic(err)
	}
	fmt.Println(httptest.NewServer(server).URL)
	time.Sleep(time.Minute) // a parent that dies leaves no server behind
	os.Exit(1)
}

func TestSIGKILLUnderLoadLosesNothingThatWasAnswered(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "stripe.journal")
	answered := map[string]bool{}
	for range 3 {
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), killedFile+"="+file)
		out, err := child.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, child.Start())
		lines := bufio.NewScanner(out)
		require.True(t, lines.Scan())
		hammer(lines.Text(), answered, func() { require.NoError(t, child.Process.Kill()) })
		_ = child.Wait() // it was killed
	}
	require.NotEmpty(t, answered)
	l, stop := run(t, file)
	defer stop()
	for id := range answered {
		inv := l.invoice(t, id)
		require.True(t, inv.Paid)
		require.Len(t, l.charges(t, inv.Customer.ID), 1)
	}
}

// hammer bills from several sides and kills the server in the middle of it. It
// notes the invoices whose payment was answered.
func hammer(url string, answered map[string]bool, kill func()) {
	var all sync.WaitGroup
	var mu sync.Mutex
	for range 4 {
		all.Go(func() {
			sc := clientOf(url, "sk_test_1")
			for {
				id, err := billOne(sc)
				if err != nil {
					return
				}
				mu.Lock()
				answered[id] = true
				mu.Unlock()
			}
		})
	}
	time.Sleep(200 * time.Millisecond)
	kill()
	all.Wait()
}

func billOne(sc *client.API) (invoice string, err error) {
	visa := str("pm_card_visa")
	c, err := sc.Customers.New(&stripe.CustomerParams{
		PaymentMethod: visa, InvoiceSettings: &stripe.CustomerInvoiceSettingsParams{DefaultPaymentMethod: visa},
	})
	if err != nil {
		return "", err
	}
	_, err = sc.InvoiceItems.New(&stripe.InvoiceItemParams{Customer: &c.ID, Amount: stripe.Int64(1000), Currency: str("usd")})
	if err != nil {
		return "", err
	}
	inv, err := sc.Invoices.New(&stripe.InvoiceParams{Customer: &c.ID, PendingInvoiceItemsBehavior: str("include")})
	if err != nil {
		return "", err
	}
	_, err = sc.Invoices.Pay(inv.ID, &stripe.InvoicePayParams{Params: keyed(c.ID)})
	return inv.ID, err
}
