package notify

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
)

var update = flag.Bool("update", false, "write the golden files anew")

func usd(amount string) billing.Money {
	return billing.Money{Amount: decimal.RequireFromString(amount), Currency: "USD"}
}

func at(text string) time.Time {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		panic(err)
	}
	return t
}

func spendNotice(change func(*SpendNotice)) SpendNotice {
	n := SpendNotice{
		ID: "17", Organization: "acme", Scope: billing.ScopeOrganization, LimitID: "3", LimitVersion: 2, Threshold: 90,
		Percent: "92.4", Limit: usd("500"), Spent: usd("462.00"),
		PeriodStart: at("2026-10-01T00:00:00Z"), ResetsAt: at("2026-11-01T00:00:00Z"), At: at("2026-10-19T13:37:11Z"),
		To: []string{"billing@acme.example"},
	}
	change(&n)
	return n
}

func paymentNotice(change func(*PaymentNotice)) PaymentNotice {
	next, due := at("2026-11-05T00:00:00Z"), at("2026-11-02T00:00:00Z")
	n := PaymentNotice{
		Event: PaymentDeclined, Organization: "acme", Invoice: "acme/2026-10-01", Number: "ACME-0007", Amount: usd("184.66"),
		Attempt: 1, FailureCode: "insufficient_funds", NextAttempt: &next, DueAt: &due,
		URL: "https://billing.example/i/1", At: at("2026-11-02T00:00:03Z"), To: []string{"billing@acme.example"},
	}
	change(&n)
	return n
}

// sentNotice is a notice that asks for a sent invoice, which has a whole day as
// its due date.
func sentNotice(event PaymentEvent, day int) PaymentNotice {
	return paymentNotice(func(n *PaymentNotice) {
		n.Event, n.Day, n.Attempt, n.NextAttempt, n.FailureCode = event, day, 0, nil, ""
		n.DueDate = "2026-11-01"
	})
}

func TestTextsAreTheGoldenOnes(t *testing.T) {
	t.Parallel()
	for name, message := range map[string]Message{
		"spend/organization-90": Spend(spendNotice(func(*SpendNotice) {})),
		"spend/organization-100": Spend(spendNotice(func(n *SpendNotice) {
			n.Threshold, n.Percent, n.Spent = 100, "100.0", usd("500.0000125")
		})),
		"spend/organization-150": Spend(spendNotice(func(n *SpendNotice) {
			n.Threshold, n.Percent, n.Spent = 150, "151.2", usd("756")
		})),
		"spend/organization-late": Spend(spendNotice(func(n *SpendNotice) { n.Late, n.At = true, at("2026-11-03T08:00:00Z") })),
		"spend/organization-zero": Spend(spendNotice(func(n *SpendNotice) {
			n.Threshold, n.Percent, n.Limit, n.Spent = 100, "", usd("0"), usd("0.0042")
		})),
		"spend/user-95": Spend(spendNotice(func(n *SpendNotice) {
			n.Scope, n.Subject, n.Threshold, n.Percent, n.Limit, n.Spent = billing.ScopeUser, "user_00013", 95, "95.0", usd("20"), usd("19.00")
		})),
		"spend/user-100": Spend(spendNotice(func(n *SpendNotice) {
			n.Scope, n.Subject, n.Threshold, n.Percent, n.Limit, n.Spent = billing.ScopeUser, "user_00013", 100, "101.5", usd("20"), usd("20.30")
		})),
		"spend/tier-per-member-95": Spend(spendNotice(func(n *SpendNotice) {
			n.Scope, n.Subject, n.Tier, n.Threshold, n.Percent, n.Limit, n.Spent = billing.ScopeSeatTier, "user_00013", "chat", 95, "96.0", usd("50"), usd("48")
		})),
		"spend/tier-pooled-100": Spend(spendNotice(func(n *SpendNotice) {
			n.Scope, n.Subject, n.Tier, n.Threshold, n.Percent, n.Limit, n.Spent = billing.ScopeSeatTier, "chat", "chat", 100, "100.4", usd("1000"), usd("1004")
		})),
		"payment/declined":          Payment(paymentNotice(func(*PaymentNotice) {})),
		"payment/declined-third":    Payment(paymentNotice(func(n *PaymentNotice) { n.Attempt, n.FailureCode = 3, "stolen_card" })),
		"payment/declined-last":     Payment(paymentNotice(func(n *PaymentNotice) { n.Attempt, n.FailureCode, n.NextAttempt = 8, "expired_card", nil })),
		"payment/action-required":   Payment(paymentNotice(func(n *PaymentNotice) { n.Event, n.NextAttempt = PaymentActionRequired, nil })),
		"payment/invoice-sent":      Payment(sentNotice(InvoiceSent, 0)),
		"payment/past-due":          Payment(paymentNotice(func(n *PaymentNotice) { n.Event, n.Attempt, n.NextAttempt = PaymentPastDue, 8, nil })),
		"payment/past-due-invoice":  Payment(paymentNotice(func(n *PaymentNotice) { n.Event, n.Attempt, n.NextAttempt, n.URL = PaymentPastDue, 0, nil, "" })),
		"payment/reminder-before":   Payment(sentNotice(PaymentReminder, -3)),
		"payment/reminder-after":    Payment(sentNotice(PaymentReminder, 7)),
		"payment/no-payment-method": Payment(paymentNotice(func(n *PaymentNotice) { n.Event, n.FailureCode = PaymentMethodMissing, "no_payment_method" })),
		"payment/suspended": Payment(paymentNotice(func(n *PaymentNotice) {
			n.Event, n.Attempt, n.NextAttempt, n.FailureCode = OrganizationSuspended, 0, nil, ""
		})),
		"payment/received":          Payment(paymentNotice(func(n *PaymentNotice) { n.Event, n.NextAttempt, n.DueAt = PaymentReceived, nil, nil })),
		"payment/of-a-newer-sender": Payment(paymentNotice(func(n *PaymentNotice) { n.Event, n.NextAttempt, n.Number = "refunded", nil, "" })),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data, err := json.MarshalIndent(message.Data, "", "  ")
			require.NoError(t, err)
			got := "Key: " + message.Key + "\nTo: " + strings.Join(message.To, ", ") + "\nSubject: " + message.Subject +
				"\n\n" + message.Text + "\n" + string(data) + "\n"
			file := filepath.Join("testdata", name+".txt")
			if *update {
				require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
				require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
			}
			want, err := os.ReadFile(file)
			require.NoError(t, err, "go test ./internal/notify -update writes it")
			require.Equal(t, string(want), got)
			for _, line := range strings.Split(message.Text, "\n") {
				require.LessOrEqual(t, utf8.RuneCountInString(line), 72, line)
			}
		})
	}
}

func TestTextsFromOutsideSteerNothing(t *testing.T) {
	t.Parallel()
	evil := "x\r\nBcc: thief@example.com\r\n\r\n\x1b[31mhello\u202e"
	for _, m := range []Message{
		Spend(spendNotice(func(n *SpendNotice) { n.Scope, n.Subject = billing.ScopeUser, evil })),
		Spend(spendNotice(func(n *SpendNotice) {
			n.Scope, n.Subject, n.Tier, n.Organization = billing.ScopeSeatTier, evil, evil, evil
		})),
		Payment(paymentNotice(func(n *PaymentNotice) {
			n.Organization, n.Number, n.URL, n.Event = evil, evil, evil, PaymentEvent(evil)
		})),
	} {
		require.NotContains(t, m.Subject, "\n")
		require.NotContains(t, m.Text, "\nBcc")
		require.NotContains(t, m.Subject+m.Text, "\x1b")
		require.NotContains(t, m.Subject+m.Text, "\u202e")
		require.NotContains(t, m.Subject+m.Text, "\r")
	}
}
