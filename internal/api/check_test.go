package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
)

var (
	checkedAt = time.Date(2026, 10, 7, 12, 0, 0, 0, time.UTC)
	resetsAt  = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
)

// CheckLimit knows a spender under their tier's limit, a saver, and services.
func (f *fakeStore) CheckLimit(_ context.Context, organization, user string) (billing.LimitCheck, error) {
	if f.broken != nil {
		return billing.LimitCheck{}, f.broken
	}
	f.mu.Lock()
	f.asked = append(f.asked, user)
	f.mu.Unlock()
	if organization == "nobody" {
		return billing.LimitCheck{}, billing.NotFound("organization %q does not exist", organization)
	}
	check := billing.LimitCheck{Currency: "USD", AsOf: checkedAt, Window: billing.Period{End: resetsAt}}
	limit := billing.Limit{ID: 7, Scope: billing.ScopeSeatTier, Subject: "chat", Amount: decimal.NewNullDecimal(decimal.NewFromInt(40))}
	switch user {
	case "spender":
		check.Binding = &billing.Standing{Limit: limit, Spent: decimal.RequireFromString("40.125"), SpentBefore: decimal.RequireFromString("38.5")}
	case "late":
		check.Stop, check.StopAt = billing.StopContractEnded, checkedAt
	case "overdue", "blocked":
		check.Stop = billing.SuspendedOverdue
		if user == "blocked" {
			check.Stop = billing.SuspendedByHand
		}
		check.Binding = &billing.Standing{Limit: limit}
	case "saver":
		check.Binding = &billing.Standing{Limit: limit, Spent: decimal.RequireFromString("0.4")}
	}
	return check, nil
}

func checkOf(body string) request {
	return request{method: http.MethodPost, path: "/v1/limits/check", key: key, contentType: "application/json", body: body}
}

func TestABlockedAnswerSaysWhoCanDoWhat(t *testing.T) {
	t.Parallel()
	server, _ := newGateway(t, nil)
	status, _, body := send(t, server, checkOf(`{"organization":"acme","user":"spender","product":"chat","model":"claude-sonnet-4-5"}`))
	require.Equal(t, http.StatusOK, status, body)
	require.JSONEq(t, `{"decision":"blocked","scope":"seat_tier","subject":"chat","limit_id":7,
		"limit":{"amount":"40.00","currency":"USD"},"spent":{"amount":"40.125","currency":"USD"},"spent_before":{"amount":"38.50","currency":"USD"},"provisional":{"amount":"0.00","currency":"USD"},"remaining":{"amount":"-0.125","currency":"USD"},
		"as_of":"2026-10-07T12:00:00Z","resets_at":"2026-11-01T00:00:00Z","degraded":false,"reason":"limit_reached",
		"message":"40.125 USD of the limit of the seat tier chat is spent (40.00 USD); it starts again at 2026-11-01T00:00:00Z, or when the limit is raised",
		"who_can_raise":["owner","primary_owner","billing_manager"],"action_url":"https://example.com/acme/limits","retry":false}`, body)
}

func TestNothingRunsAfterTheEndOfTheContract(t *testing.T) {
	t.Parallel()
	server, _ := newGateway(t, nil)
	status, _, body := send(t, server, checkOf(`{"organization":"acme","user":"late","product":"chat"}`))
	require.Equal(t, http.StatusOK, status, body)
	require.JSONEq(t, `{"decision":"blocked","scope":null,"subject":null,"limit_id":null,"limit":null,"spent":null,"spent_before":null,"provisional":null,"remaining":null,
		"as_of":"2026-10-07T12:00:00Z","resets_at":null,"degraded":false,
		"reason":"contract_ended","message":"the organization's contract ended at 2026-10-07T12:00:00Z","who_can_raise":[],"action_url":"","retry":false}`, body)
}

func TestASuspendedOrganizationMayRunNothing(t *testing.T) {
	t.Parallel()
	server, _ := newGateway(t, nil)
	for user, want := range map[string]string{
		"overdue": `"reason":"payment_overdue","message":"the organization is suspended because a payment is overdue; requests run again as soon as it is paid"`,
		"blocked": `"reason":"suspended","message":"the organization is suspended; an operator can resume it"`,
	} {
		status, _, body := send(t, server, checkOf(`{"organization":"acme","user":"`+user+`","product":"chat"}`))
		require.Equal(t, http.StatusOK, status, body)
		require.JSONEq(t, `{"decision":"blocked","scope":"organization","subject":null,"limit_id":null,"limit":null,"spent":null,"spent_before":null,"provisional":null,"remaining":null,
			"as_of":"2026-10-07T12:00:00Z","resets_at":null,"degraded":false,`+want+`,
			"who_can_raise":["owner","primary_owner","billing_manager"],"action_url":"https://example.com/acme/limits","retry":false}`, body)
	}
}

func TestAnAllowedAnswerSaysWhatRemains(t *testing.T) {
	t.Parallel()
	server, _ := newGateway(t, nil)
	status, _, body := send(t, server, checkOf(`{"organization":"acme","user":"saver","product":"chat"}`))
	require.Equal(t, http.StatusOK, status, body)
	require.JSONEq(t, `{"decision":"allowed","scope":"seat_tier","subject":"chat","limit_id":7,
		"limit":{"amount":"40.00","currency":"USD"},"spent":{"amount":"0.40","currency":"USD"},"spent_before":{"amount":"0.00","currency":"USD"},"provisional":{"amount":"0.00","currency":"USD"},"remaining":{"amount":"39.60","currency":"USD"},
		"as_of":"2026-10-07T12:00:00Z","resets_at":"2026-11-01T00:00:00Z","degraded":false}`, body)
	for _, service := range []string{`{"organization":"acme","product":"chat"}`, `{"organization":"acme","user":null,"product":"chat"}`} {
		_, _, body = send(t, server, checkOf(service))
		require.JSONEq(t, `{"decision":"allowed","scope":null,"subject":null,"limit_id":null,"limit":null,"spent":null,"spent_before":null,"provisional":null,"remaining":null,
			"as_of":"2026-10-07T12:00:00Z","resets_at":"2026-11-01T00:00:00Z","degraded":false}`, body, "unlimited")
	}
}

func TestAnOutageFailsOpenOrClosedAndIsLogged(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		closed bool
		want   string
		retry  string
	}{
		"open": {false, `{"decision":"allowed","degraded":true,"scope":null,"subject":null,"limit_id":null,
			"limit":null,"spent":null,"spent_before":null,"provisional":null,"remaining":null,"as_of":null,"resets_at":null}`, ""},
		"closed": {true, `{"decision":"blocked","degraded":true,"scope":null,"subject":null,"limit_id":null,"reason":"unknown",
			"limit":null,"spent":null,"spent_before":null,"provisional":null,"remaining":null,"as_of":null,"resets_at":null,
			"message":"the limits cannot be read now; try again","who_can_raise":[],"action_url":"","retry":true}`, retryAfter},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log bytes.Buffer
			store := &fakeStore{broken: errors.New("connection refused")}
			server := httptest.NewServer(New(Options{
				Checks: store, Key: key, FailClosed: c.closed, MaxBody: 4096, Log: slog.New(slog.NewTextHandler(&log, nil)),
			}))
			t.Cleanup(server.Close)
			status, header, body := send(t, server, checkOf(`{"organization":"acme","user":"saver","product":"chat"}`))
			require.Equal(t, http.StatusOK, status)
			require.JSONEq(t, c.want, body)
			require.Equal(t, c.retry, header.Get("Retry-After"))
			server.Close()
			require.Contains(t, log.String(), "limits could not be checked")
		})
	}
}

func TestChecksThatCannotBeMeant(t *testing.T) {
	t.Parallel()
	server, _ := newGateway(t, nil)
	for body, want := range map[string]struct {
		status int
		field  string
	}{
		`{"organization":"nobody","product":"chat"}`:                        {http.StatusNotFound, ""},
		`{"product":"chat"}`:                                                {http.StatusBadRequest, "organization"},
		`{"organization":"acme"}`:                                           {http.StatusBadRequest, "product"},
		`{"organization":"acme","user":"","product":"chat"}`:                {http.StatusBadRequest, "user"},
		`{"organization":"acme","user":"a\u0000","product":"chat"}`:         {http.StatusBadRequest, "user"},
		`{"organization":"acme","user":"` + strings.Repeat("a", 201) + `"}`: {http.StatusBadRequest, "user"},
		`{"organization":"acme","user":7,"product":"chat"}`:                 {http.StatusBadRequest, ""},
		`{"organization":"acme","product":"chat","User":"a"}`:               {http.StatusBadRequest, ""},
		`{"organization":"acme","organization":"globex","product":"chat"}`:  {http.StatusBadRequest, ""},
		`{"organization":"acme","product":"chat"} {}`:                       {http.StatusBadRequest, ""},
		`{"organization":"acme","product":"` + "\xff" + `"}`:                {http.StatusBadRequest, ""},
		``: {http.StatusBadRequest, ""},
		`{"organization":"` + strings.Repeat("a", maxCheck) + `","product":"chat"}`: {http.StatusRequestEntityTooLarge, ""},
	} {
		status, _, answer := send(t, server, checkOf(body))
		require.Equal(t, want.status, status, "%s: %s", body, answer)
		var refused struct {
			Error struct {
				Field string `json:"field"`
			} `json:"error"`
		}
		require.NoError(t, json.Unmarshal([]byte(answer), &refused))
		require.Equal(t, want.field, refused.Error.Field, body)
	}
	plain := checkOf(`{"organization":"acme","product":"chat"}`)
	plain.contentType = "text/plain"
	status, _, _ := send(t, server, plain)
	require.Equal(t, http.StatusUnsupportedMediaType, status)
}
