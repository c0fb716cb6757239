package stripe_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/devstack/stripemock"
	"github.com/arrears-dev/arrears/internal/stripe"
)

// everyRequest lists each kind of request that the product makes of Stripe. A new
// one is added here, so that it is checked against the API's own schema.
var everyRequest = []string{
	"DELETE /v1/invoices/*",
	"GET /v1/charges",
	"GET /v1/credit_notes",
	"GET /v1/invoiceitems",
	"GET /v1/invoices",
	"GET /v1/invoices/*",
	"GET /v1/payment_methods/*",
	"GET /v1/test_helpers/test_clocks",
	"GET /v1/test_helpers/test_clocks/*",
	"POST /v1/credit_notes",
	"POST /v1/customers",
	"POST /v1/customers/*",
	"POST /v1/invoiceitems",
	"POST /v1/invoices",
	"POST /v1/invoices/*/finalize",
	"POST /v1/invoices/*/mark_uncollectible",
	"POST /v1/invoices/*/pay",
	"POST /v1/invoices/*/void",
	"POST /v1/payment_methods/*/attach",
	"POST /v1/test_helpers/test_clocks",
	"POST /v1/test_helpers/test_clocks/*/advance",
}

// TestTheAPIsSchemaAcceptsEveryRequest sends what the gateway sends through
// stripe-mock, which knows today's API, and answers by a script in its place,
// since it keeps no state.
func TestTheAPIsSchemaAcceptsEveryRequest(t *testing.T) {
	t.Parallel()
	mock := stripemock.Start(t, "../..")
	const (
		clock   = `{"id":"clock_1","status":"ready","frozen_time":%TIME%}`
		invoice = `{"id":"in_1","status":"open","payment_intent":{"id":"pi_1","status":"requires_payment_method","latest_charge":"ch_1"}}`
		refusal = `{"error":{"type":"invalid_request_error","message":"no"}}`
		list    = `{"object":"list","data":[],"has_more":false}`
	)
	var mu sync.Mutex
	var requests []string
	advanced, invoiceStatus := "100", "open"
	var refuse string // the kind of request that is refused next
	s := scripted(t, func(w http.ResponseWriter, r *http.Request, _ int) {
		mu.Lock()
		defer mu.Unlock()
		kind := kindOf(r)
		requests = append(requests, kind)
		if kind == refuse {
			refuse = ""
			body := refusal
			if kind == "POST /v1/test_helpers/test_clocks" {
				body = `{"error":{"type":"idempotency_error"}}`
			}
			reply(400, body)(w, r, 0)
			return
		}
		answers := map[string]string{
			"POST /v1/invoices/*/pay":            `{"id":"in_1","status":"paid","payment_intent":{"id":"pi_1","status":"succeeded"}}`,
			"GET /v1/test_helpers/test_clocks":   `{"object":"list","data":[{"id":"clock_1","name":"` + installation + `/acme"}]}`,
			"GET /v1/test_helpers/test_clocks/*": strings.Replace(clock, "%TIME%", advanced, 1),
			"GET /v1/payment_methods/*":          `{"id":"pm_1","customer":{"id":"cus_1"}}`,
			"POST /v1/customers":                 `{"id":"cus_1"}`,
		}
		switch answer, known := answers[kind]; {
		case strings.HasSuffix(kind, "/advance"):
			advanced = "1900000000"
			reply(200, `{"id":"clock_1"}`)(w, r, 0)
		case known:
			reply(200, answer)(w, r, 0)
		case r.Method == http.MethodGet && path.Base(kind) != "*":
			reply(200, list)(w, r, 0)
		default:
			reply(200, strings.Replace(invoice, "open", invoiceStatus, 1))(w, r, 0)
		}
	}, through(t, mock))

	ctx := context.Background()
	one := func(err error) {
		t.Helper()
		require.NoError(t, err)
	}
	orgs := []billing.Organization{
		{ID: "acme", Email: "billing@acme.example", PaymentMethod: "pm_card_visa"},
		{ID: "acme", TestClock: true, Now: time.Unix(1790000000, 0)},
	}
	for _, org := range orgs {
		_, _, err := s.EnsureCustomer(ctx, installation, org)
		one(err)
	}
	refuse = "POST /v1/test_helpers/test_clocks"
	_, _, err := s.EnsureCustomer(ctx, installation, orgs[1])
	one(err)
	refuse = "POST /v1/payment_methods/*/attach"
	_, err = s.SetPaymentMethod(ctx, "cus_1", "pm_1", "method/1")
	one(err)
	one(s.AdvanceClock(ctx, "clock_1", time.Unix(1900000000, 0)))

	charged, sent := draftOf("cus_1", "acme/2026-10-01"), draftOf("cus_1", "acme/2026-11-01")
	sent.Collection, sent.NetDays = billing.SendInvoice, 0
	for _, draft := range []billing.ProviderInvoice{charged, sent} {
		_, err = s.CreateInvoice(ctx, draft)
		one(err)
		_, _, err = s.FindInvoice(ctx, draft)
		one(err)
	}
	item := itemOf(charged, "in_1", "usage", "-1.50")
	_, err = s.AddItem(ctx, item)
	one(err)
	_, _, err = s.FindItem(ctx, item)
	one(err)
	charged.StripeID = "in_1"
	_, err = s.FinalizeInvoice(ctx, charged)
	one(err)
	_, err = s.Invoice(ctx, "in_1")
	one(err)
	for _, refused := range []string{"", "POST /v1/invoices/*/pay"} {
		refuse = refused
		_, err = s.Pay(ctx, attempt(charged, 1, 0))
		one(err)
	}

	for _, correction := range []billing.InvoiceCorrection{
		asked(billing.CorrectionVoid, "", false), asked(billing.CorrectionWriteOff, "", false),
		asked(billing.CorrectionSettlement, "5", true), asked(billing.CorrectionCreditNote, "5", false),
	} {
		step := attempt(charged, 1, 0)
		step.Correction = correction
		_, err = s.Correct(ctx, step)
		one(err)
		_, _, err = s.FindCreditNote(ctx, step)
		one(err)
	}
	invoiceStatus = "draft"
	step := attempt(charged, 1, 0)
	step.Correction = asked(billing.CorrectionVoid, "", false)
	_, err = s.Correct(ctx, step)
	one(err)

	wrong, err := http.NewRequestWithContext(ctx, http.MethodPost, mock+"/v1/invoices", nil)
	one(err)
	wrong.SetBasicAuth(testKey, "")
	wrong.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	status, _ := forward(t, mock, wrong, []byte("colour=blue"))
	require.Equal(t, http.StatusBadRequest, status, "the schema refuses what is wrong")

	slices.Sort(requests)
	require.Equal(t, everyRequest, slices.Compact(requests))
}

// kindOf is a request's method and path with its ids left out.
func kindOf(r *http.Request) string {
	parts := strings.Split(r.URL.Path, "/")
	for i, part := range parts {
		if strings.ContainsAny(part, "_") && part != "payment_methods" && part != "credit_notes" && part != "mark_uncollectible" && part != "test_helpers" && part != "test_clocks" {
			parts[i] = "*"
		}
	}
	return r.Method + " " + strings.Join(parts, "/")
}

// through puts stripe-mock between the gateway and its script: each request goes
// there first, and one that is refused there fails the test.
func through(t *testing.T, mock string) func(*stripe.Options) {
	return func(o *stripe.Options) {
		script := o.APIBase
		proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			status, answer := forward(t, mock, r, body)
			if status != http.StatusOK {
				t.Errorf("%s %s %s\nis refused by the API's schema: %s", r.Method, r.URL, body, answer)
			}
			status, answer = forward(t, script, r, body)
			w.WriteHeader(status)
			_, _ = w.Write(answer)
		}))
		t.Cleanup(proxy.Close)
		o.APIBase = proxy.URL
	}
}

func forward(t *testing.T, to string, r *http.Request, body []byte) (int, []byte) {
	base, err := url.Parse(to)
	if err != nil {
		t.Error(err)
		return 0, nil
	}
	base.Path, base.RawQuery = r.URL.Path, r.URL.RawQuery
	again, err := http.NewRequestWithContext(r.Context(), r.Method, base.String(), bytes.NewReader(body))
	if err != nil {
		t.Error(err)
		return 0, nil
	}
	again.Header = r.Header.Clone()
	again.Header.Del("Accept-Encoding")
	response, err := http.DefaultClient.Do(again)
	if err != nil {
		t.Error(err)
		return 0, nil
	}
	defer func() { _ = response.Body.Close() }()
	answer, _ := io.ReadAll(response.Body)
	return response.StatusCode, answer
}
