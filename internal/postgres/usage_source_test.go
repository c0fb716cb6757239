package postgres_test

import (
	"testing"
	"time"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
)

// from returns an item that came by a source.
func from(source billing.UsageSource, item billing.UsageItem) billing.UsageItem {
	item.Source = source
	return item
}

func TestAProductIsTakenFromTheSourceThatItIsBoundTo(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(o *billing.Organization) {
		o.UsageSources = map[string]billing.UsageSource{"chat": billing.SourceOTLP}
	})
	first, changed := use("a", "u1", october, 100), use("a", "u1", october, 101)
	require.Equal(t, billing.UsageAccepted, f.ask(from(billing.SourceOTLP, first)).Status)
	require.Equal(t, billing.UsageDuplicate, f.ask(from(billing.SourceAPI, first)).Status, "stored, however it comes")
	for name, item := range map[string]billing.UsageItem{
		"another id":               from(billing.SourceAPI, use("b", "u1", october, 100)),
		"the id with other counts": from(billing.SourceImport, changed),
		"a path without a name":    use("c", "u1", october, 100),
		"another time as well":     from(billing.SourceAPI, use("d", "u1", october.AddDate(1, 0, 0), 100)),
	} {
		answer := f.ask(item)
		require.Equal(t, billing.UsageRejected, answer.Status, name)
		require.Equal(t, "product", answer.Field, name)
		require.Contains(t, answer.Reason, "usage of chat is bound to the source otlp", name)
	}
	require.Equal(t, billing.UsageConflict, f.ask(from(billing.SourceOTLP, changed)).Status, "by the same path it is one")
	require.Equal(t, "0.0005", f.spent(billing.ScopeOrganization, ""), "counted once")
	require.Equal(t, billing.UsageAccepted, f.ask(from(billing.SourceAPI, retract("r", "a", october))).Status, "what is taken back was billed once")
	f.clean()
}

// A parked event is released whatever its product was bound to meanwhile: it came
// when it could.
func TestParkedUsageIsReleasedWhateverItsProductIsBoundToSince(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	parked := use("p", "u1", october, 100)
	parked.Event.Model = "new"
	require.Equal(t, billing.UsageParked, f.ask(from(billing.SourceAPI, parked)).Status)
	_, err := f.ChangeTerms(f.ctx, "acme", billing.TermsChange{UsageSources: map[string]billing.UsageSource{"chat": billing.SourceOTLP}}, tester)
	require.NoError(t, err)
	_, err = f.LoadPriceBook(f.ctx, f.bookWith("new"), tester)
	require.NoError(t, err)
	released, err := f.ReleaseUsage(f.ctx, "acme", "", tester)
	require.NoError(t, err)
	require.EqualValues(t, 1, released.Released)
	f.clean()
}

func TestStatedCostsAreKeptExactlyWhileAnEventIsParked(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	costs := []string{"0.09061050000000000001", "123456789012345678.5", "0.0000000001", "10000", "7"}
	for i, cost := range costs {
		item := use(string(rune('a'+i)), "u1", october, 100)
		item.Event.Model, item.Event.StatedCost = "new", decimal.NewNullDecimal(decimal.RequireFromString(cost))
		require.Equal(t, billing.UsageParked, f.ask(item).Status)
		require.Equal(t, billing.UsageDuplicate, f.ask(item).Status)
		var kept decimal.Decimal
		require.NoError(t, f.pool.QueryRow(f.ctx, `SELECT stated_cost FROM usage_events WHERE event_id = $1`, item.Event.ID).Scan(&kept))
		require.Equal(t, cost, kept.String())
	}
	priced := use("z", "u1", october, 100)
	priced.Event.StatedCost = decimal.NewNullDecimal(decimal.NewFromInt(1))
	require.Equal(t, billing.UsageAccepted, f.ask(priced).Status)
	_, err := f.LoadPriceBook(f.ctx, f.bookWith("new"), tester)
	require.NoError(t, err)
	_, err = f.ReleaseUsage(f.ctx, "acme", "", tester)
	require.NoError(t, err)
	var kept int
	require.NoError(t, f.pool.QueryRow(f.ctx, `SELECT count(*) FROM usage_events WHERE stated_cost IS NOT NULL`).Scan(&kept))
	require.Zero(t, kept, "of no use once there is a price")
}

func TestAKeyOfOneMemberIsOfOneOrganizationAndMayDoLittle(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	good := billing.APIKey{ID: "key_1", Prefix: "p", Organization: "acme", Member: "alice", Scopes: []string{"usage:write"}}
	created, err := f.CreateAPIKey(f.ctx, good, [32]byte{1}, tester)
	require.NoError(t, err)
	require.Equal(t, "alice", created.Member)
	used, err := f.UseAPIKey(f.ctx, [32]byte{1})
	require.NoError(t, err)
	require.Equal(t, "alice", used.Member)
	require.WithinDuration(t, time.Now(), created.CreatedAt, time.Minute)
	ofAll, mighty := good, good
	ofAll.ID, ofAll.Organization = "key_2", ""
	mighty.ID, mighty.Scopes = "key_3", []string{"usage:write", "admin"}
	for i, bad := range []billing.APIKey{ofAll, mighty} {
		_, err := f.CreateAPIKey(f.ctx, bad, [32]byte{byte(i + 2)}, tester)
		require.ErrorContains(t, err, "23514")
	}
}
