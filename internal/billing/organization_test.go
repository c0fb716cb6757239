package billing_test

import (
	"testing"
	"time"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
)

func TestTermsLeftOpenHaveDefaults(t *testing.T) {
	t.Parallel()
	now := instant("2026-04-01T10:00:00.123456Z").Add(789)
	org := billing.Organization{ID: "acme", Now: now}
	require.NoError(t, org.Complete())
	require.Equal(t, billing.Organization{
		ID: "acme", Plan: billing.PlanEnterprise, Currency: "USD", Timezone: "UTC", AnchorDay: 1,
		StartsAt: now.Truncate(time.Microsecond), Collection: billing.ChargeAutomatically, NetDays: 30,
		LimitRule: billing.RuleStrictMin,
		Dunning:   billing.DefaultDunning(), Now: now.Truncate(time.Microsecond),
		Reminders: billing.DefaultReminders(), CardCeiling: billing.DefaultCardCeiling(),
	}, org)
	again := org
	require.NoError(t, again.Complete())
	require.Equal(t, org, again)
	require.Empty(t, org.Differs(again))
}

func TestTermsThatAreWrongAreNamed(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*billing.Organization)
		want   string
	}{
		"another plan":               {func(o *billing.Organization) { o.Plan = "team" }, `plan: "team" has no usage-based billing; accepted: enterprise`},
		"an id with capitals":        {func(o *billing.Organization) { o.ID = "Acme" }, `id: "Acme" is not `},
		"an unknown currency":        {func(o *billing.Organization) { o.Currency = "XAU" }, `currency "XAU" is not one of `},
		"an unknown zone":            {func(o *billing.Organization) { o.Timezone = "Paris" }, `timezone: "Paris" is not a name`},
		"a suspension in the past":   {func(o *billing.Organization) { o.SuspendAfter = new(int); *o.SuspendAfter = -1 }, `suspend_after: -1; accepted: 0 to 365`},
		"a ceiling below zero":       {func(o *billing.Organization) { o.CardCeiling = decimal.NewFromInt(-1) }, `card_ceiling: -1; accepted: an amount above 0`},
		"reminders in disorder":      {func(o *billing.Organization) { o.Reminders = []int{7, -3} }, `reminders: accepted: up to 10 ascending days`},
		"a reminder on the due date": {func(o *billing.Organization) { o.Reminders = []int{0} }, `reminders: accepted:`},
		"an anchor of 32":            {func(o *billing.Organization) { o.AnchorDay = 32 }, `anchor_day: 32 is not a day`},
		"an unknown collection":      {func(o *billing.Organization) { o.Collection = "cash" }, `collection: "cash"; accepted: charge_automatically, send_invoice`},
		"an unknown limit rule":      {func(o *billing.Organization) { o.LimitRule = "lax" }, `limit_rule: "lax"; accepted: strict_min, override`},
		"negative net days":          {func(o *billing.Organization) { o.NetDays = -1 }, `net_days: -1; accepted: 1 to 365`},
		"a negative window":          {func(o *billing.Organization) { o.DraftWindow = -1 }, `draft_window: -1ns; accepted: 0s to 720h`},
		"a start in 1999":            {func(o *billing.Organization) { o.StartsAt = date("1999-12-31") }, `start: 1999-12-31T00:00:00Z; accepted`},
		"a dunning that goes up":     {func(o *billing.Organization) { o.Dunning = []int{1} }, `dunning: accepted`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			org := billing.Organization{ID: "acme", Now: date("2026-04-01")}
			c.change(&org)
			err := org.Complete()
			require.ErrorIs(t, err, billing.ErrInvalid)
			require.ErrorContains(t, err, c.want)
		})
	}
}

func TestAContractThatDiffersSaysInWhat(t *testing.T) {
	t.Parallel()
	org := billing.Organization{ID: "acme", Now: date("2026-04-01")}
	require.NoError(t, org.Complete())
	for want, change := range map[string]func(*billing.Organization){
		"":           func(o *billing.Organization) { o.PaymentMethod = "pm" },
		"email":      func(o *billing.Organization) { o.Email = "a@acme.example" },
		"net days":   func(o *billing.Organization) { o.NetDays = 7 },
		"start":      func(o *billing.Organization) { o.StartsAt = o.StartsAt.Add(1) },
		"plan":       func(o *billing.Organization) { o.Plan = "team" },
		"currency":   func(o *billing.Organization) { o.Currency = "EUR" },
		"timezone":   func(o *billing.Organization) { o.Timezone = "Europe/Paris" },
		"anchor day": func(o *billing.Organization) { o.AnchorDay = 2 },
		"collection": func(o *billing.Organization) { o.Collection = billing.SendInvoice },
		"limit rule": func(o *billing.Organization) { o.LimitRule = billing.RuleOverride },
		"clock":      func(o *billing.Organization) { o.TestClock = true },
	} {
		other := org
		change(&other)
		require.Equal(t, want, org.Differs(other))
	}
}

func TestACardIsRefusedFromTheCeilingOn(t *testing.T) {
	t.Parallel()
	org := billing.Organization{ID: "acme", Now: time.Now()}
	require.NoError(t, org.Complete())
	total := func(amount string) billing.Money {
		return billing.Money{Amount: decimal.RequireFromString(amount), Currency: "USD"}
	}
	require.False(t, org.CardRefused(total("49999.99")))
	require.True(t, org.CardRefused(total("50000")))
	org.CardExempt = true
	require.False(t, org.CardRefused(total("50000")))
}
