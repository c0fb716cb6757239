package fakestripe_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/stripe/stripe-go/v76"

	"github.com/arrears-dev/arrears/internal/devstack/fakestripe"
)

func TestEachFaultStrikesAsItSays(t *testing.T) {
	t.Parallel()
	var cut *url.Error
	for name, c := range map[string]struct {
		fault  fakestripe.Fault
		check  func(t *testing.T, err error)
		worked bool // the work is done although the client was not told
	}{
		"refused": {
			fault: fakestripe.Fault{Kind: fakestripe.FaultRefuse},
			check: func(t *testing.T, err error) { require.Equal(t, http.StatusServiceUnavailable, status(err)) },
		},
		"rate limit": {
			fault: fakestripe.Fault{Kind: fakestripe.FaultRateLimit},
			check: func(t *testing.T, err error) {
				require.Equal(t, http.StatusTooManyRequests, status(err))
				require.Equal(t, stripe.ErrorCodeRateLimit, code(err))
			},
		},
		"lock timeout": {
			fault: fakestripe.Fault{Kind: fakestripe.FaultLockTimeout},
			check: func(t *testing.T, err error) {
				require.Equal(t, http.StatusTooManyRequests, status(err))
				require.Equal(t, stripe.ErrorCodeLockTimeout, code(err))
			},
		},
		"outage": {
			fault: fakestripe.Outage(time.Hour),
			check: func(t *testing.T, err error) { require.ErrorAs(t, err, &cut) },
		},
		"answer dropped": {
			fault:  fakestripe.Fault{Kind: fakestripe.FaultDrop},
			check:  func(t *testing.T, err error) { require.ErrorAs(t, err, &cut) },
			worked: true,
		},
		"half an answer": {
			fault:  fakestripe.Fault{Kind: fakestripe.FaultHalf},
			check:  func(t *testing.T, err error) { require.ErrorIs(t, err, io.ErrUnexpectedEOF) },
			worked: true,
		},
		"connection reset in the answer": {
			fault: fakestripe.Fault{Kind: fakestripe.FaultReset},
			check: func(t *testing.T, err error) {
				require.True(t, errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.ErrUnexpectedEOF), "%v", err)
			},
			worked: true,
		},
		"stored failure": {
			fault:  fakestripe.Fault{Kind: fakestripe.FaultError500},
			check:  func(t *testing.T, err error) { require.Equal(t, http.StatusInternalServerError, status(err)) },
			worked: true,
		},
		"late answer": {
			fault:  fakestripe.Fault{Kind: fakestripe.FaultDelay, MS: 1},
			check:  func(t *testing.T, err error) { require.NoError(t, err) },
			worked: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := start(t)
			l.server.Inject(c.fault.On("POST", "/v1/customers"))
			_, err := l.Customers.New(nil)
			c.check(t, err)
			require.Len(t, l.events(t, "customer.created"), map[bool]int{true: 1}[c.worked])
			plan := l.server.Faults()
			require.NotEmpty(t, plan.Strikes)
			require.Equal(t, c.fault.Kind, plan.Strikes[0].Kind)
			require.Equal(t, "/v1/customers", plan.Strikes[0].Path)
			l.server.ClearFaults()
			_, err = l.Customers.New(nil)
			require.NoError(t, err)
		})
	}
}

func TestAPlanCountsRequestsFromItsOrder(t *testing.T) {
	t.Parallel()
	l := start(t)
	refuse := fakestripe.Fault{Kind: fakestripe.FaultRefuse}.On("GET", "/v1/customers")
	l.server.Inject(refuse.At(2), refuse.At(4).Repeat(2), fakestripe.Fault{Kind: fakestripe.FaultLockTimeout}.At(5))
	var got []int
	for range 8 {
		answer, err := http.NewRequest(http.MethodGet, l.url+"/v1/customers", nil)
		require.NoError(t, err)
		answer.SetBasicAuth("sk_test_1", "")
		response, err := http.DefaultClient.Do(answer)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		got = append(got, response.StatusCode)
	}
	require.Equal(t, []int{200, 503, 200, 503, 503, 429, 200, 200}, got, "what is due while another strikes is next")
	require.Empty(t, l.server.Faults().Faults)
	require.Len(t, l.server.Faults().Strikes, 4)
}

func TestAnOutageLastsAsLongAsItSaysByTheServersClock(t *testing.T) {
	t.Parallel()
	l := start(t)
	l.server.Inject(fakestripe.Outage(6 * time.Hour))
	for range 3 {
		_, err := l.Customers.New(nil)
		require.ErrorAs(t, err, new(*url.Error))
	}
	l.wall.pass(6*time.Hour - time.Second)
	_, err := l.Customers.New(nil)
	require.Error(t, err)
	l.wall.pass(time.Second)
	_, err = l.Customers.New(nil)
	require.NoError(t, err)

	l.server.Inject(fakestripe.Fault{Kind: fakestripe.FaultOutage, Status: 503})
	l.wall.pass(24 * time.Hour)
	_, err = l.Customers.New(nil)
	require.Equal(t, http.StatusServiceUnavailable, status(err), "without a span until it is cleared")
	l.server.ClearFaults()
	_, err = l.Customers.New(nil)
	require.NoError(t, err)
}

func TestTheSameSeedScattersTheSameFaults(t *testing.T) {
	t.Parallel()
	kinds := []fakestripe.FaultKind{fakestripe.FaultDrop, fakestripe.FaultReset, fakestripe.FaultError500}
	a, b := fakestripe.Scatter(7, 100, 20, kinds...), fakestripe.Scatter(7, 100, 20, kinds...)
	require.Equal(t, a, b)
	require.NotEqual(t, a, fakestripe.Scatter(8, 100, 20, kinds...))
	struck := map[int]bool{}
	for _, f := range a {
		require.False(t, struck[f.Nth])
		struck[f.Nth] = true
		require.GreaterOrEqual(t, f.Nth, 1)
		require.LessOrEqual(t, f.Nth, 100)
	}
	require.Len(t, struck, 20)
}

func TestWrongOrdersAreRefusedWhole(t *testing.T) {
	t.Parallel()
	l := start(t)
	for path, bad := range map[string][]string{
		"/_local/faults": {
			`[{"kind":"drop"},{"kind":"nothing"}]`, `[{"kind":"drop","path":"["}]`, `[{"kind":"drop","nth":-1}]`,
			`[{"kind":"refuse","status":200}]`, `[{"knd":"drop"}]`, `{}`,
		},
		"/_local/webhooks": {
			`[{"kind":"drop"},{"kind":"nothing"}]`, `[{"kind":"drop","kinds":["delay"]}]`, `[{"kind":"random","kinds":["shuffle"]}]`,
			`[{"kind":"delay","ms":-1}]`, `nonsense`,
		},
	} {
		for _, order := range bad {
			answer, err := http.Post(l.url+path, "application/json", strings.NewReader(order))
			require.NoError(t, err)
			body := new(bytes.Buffer)
			_, err = body.ReadFrom(answer.Body)
			require.NoError(t, err)
			require.NoError(t, answer.Body.Close())
			require.Equal(t, http.StatusBadRequest, answer.StatusCode, order)
			require.Regexp(t, "accepted|wanted", body.String())
		}
	}
	require.Empty(t, l.server.Faults().Faults)
	require.Empty(t, l.server.Webhooks().Faults)
	require.Panics(t, func() { l.server.Inject(fakestripe.Fault{Kind: "nothing"}) })
}

func TestFaultsAreOrderedShownAndClearedOverHTTP(t *testing.T) {
	t.Parallel()
	l, ctx := start(t), t.Context()
	control := fakestripe.Client{Base: l.url + "/"}
	require.NoError(t, control.Inject(ctx, fakestripe.Fault{Kind: fakestripe.FaultLockTimeout}.Repeat(3)))
	_, err := l.Customers.New(nil)
	require.Equal(t, stripe.ErrorCodeLockTimeout, code(err))
	plan, err := control.Faults(ctx)
	require.NoError(t, err)
	require.Equal(t, l.server.Faults().Strikes, plan.Strikes)
	require.Len(t, plan.Faults, 1)
	require.Equal(t, 1, plan.Faults[0].Struck)
	require.NoError(t, control.ClearFaults(ctx))
	_, err = l.Customers.New(nil)
	require.NoError(t, err)
	require.NoError(t, control.Release(ctx))
	require.ErrorContains(t, control.Inject(ctx, fakestripe.Fault{Kind: "nothing"}), "accepted")
	_, err = fakestripe.Client{Base: "http://127.0.0.1:1"}.Faults(ctx)
	require.Error(t, err)
}

func TestTheRateIsLimitedPerEndpointAndInAll(t *testing.T) {
	t.Parallel()
	l := start(t)
	l.server.SetLimits(fakestripe.LiveLimits())
	list := func(n int, paths ...string) map[string]int {
		got := map[string]int{}
		for i := range n {
			path := paths[i%len(paths)]
			r, err := http.NewRequest(http.MethodGet, l.url+path, nil)
			require.NoError(t, err)
			r.SetBasicAuth("sk_test_1", "")
			answer, err := http.DefaultClient.Do(r)
			require.NoError(t, err)
			body, err := io.ReadAll(answer.Body)
			require.NoError(t, err)
			require.NoError(t, answer.Body.Close())
			if answer.StatusCode == http.StatusTooManyRequests {
				require.Contains(t, string(body), `"code":"rate_limit"`)
			}
			got[fmt.Sprint(answer.StatusCode, answer.Header.Get("Stripe-Rate-Limited-Reason"))]++
		}
		return got
	}
	require.Equal(t, map[string]int{"200": 25, "429endpoint-rate": 5}, list(30, "/v1/customers"))
	l.wall.pass(time.Second)
	require.Equal(t, map[string]int{"404": 25, "429endpoint-rate": 5}, list(30, "/v1/invoices/in_1", "/v1/invoices/in_2"),
		"an endpoint is the same for every id")
	require.Equal(t, map[string]int{"200": 20, "429endpoint-rate": 2}, list(22, "/v1/invoices/search?query=status:'open'"))
	require.Equal(t, map[string]int{"200": 55, "429global-rate": 5},
		list(60, "/v1/customers", "/v1/invoices", "/v1/charges", "/v1/events"), "45 were answered in the same second")
	limits, refused := l.server.Limits()
	require.Equal(t, fakestripe.LiveLimits(), limits)
	require.Equal(t, fakestripe.Refused{Account: 5, Endpoint: 12}, refused)
	l.server.SetLimits(fakestripe.Limits{})
	require.Equal(t, map[string]int{"200": 60}, list(60, "/v1/customers"))
}

func TestSearchLagsAMinuteAndListsDoNot(t *testing.T) {
	t.Parallel()
	l := start(t)
	c := l.customer(t, "pm_card_visa")
	found := func(query string) int {
		n := 0
		it := l.Invoices.Search(&stripe.InvoiceSearchParams{SearchParams: stripe.SearchParams{Query: query}})
		for it.Next() {
			n++
		}
		require.NoError(t, it.Err())
		return n
	}
	inv := l.draft(t, c.ID, 1000)
	require.True(t, l.Invoices.List(&stripe.InvoiceListParams{Customer: &c.ID}).Next())
	require.Zero(t, found("status:'draft'"))
	l.wall.pass(time.Minute)
	require.Equal(t, 1, found("status:'draft' AND customer:'"+c.ID+"'"))
	_, err := l.Invoices.FinalizeInvoice(inv.ID, nil)
	require.NoError(t, err)
	require.Equal(t, 1, found("status:'draft'"), "as it was")
	require.Zero(t, found("status:'open'"))
	l.wall.pass(time.Minute)
	require.Zero(t, found("status:'draft'"))
	require.Equal(t, 1, found("status:'open'"))
	gone := l.draft(t, c.ID)
	l.wall.pass(time.Minute)
	_, err = l.Invoices.Del(gone.ID, nil)
	require.NoError(t, err)
	require.Zero(t, found("status:'draft'"), "what is gone is not shown")
}
