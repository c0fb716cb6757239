package billing_test

import (
	"crypto/sha256"
	"encoding/hex"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/arrears-dev/arrears/internal/billing"
)

// The serialisation is documented; here it is once, written out.
func TestTheContentHashIsTakenOverTheDocumentedText(t *testing.T) {
	t.Parallel()
	at := instant("2026-05-02T00:00:00Z").Add(1500)
	invoice := billing.Invoice{
		ID: "acme/2026-04-01", Number: "INV-000007", Organization: "acme", PeriodID: "2026-04-01", Revision: 1,
		PeriodStart: april.Start, PeriodEnd: april.End, FinalizedAt: &at, Currency: "USD",
		Lines: []billing.Line{{
			Key: "usage/chat/m/output/5", Kind: billing.KindUsage, Description: "chät m", Product: "chat", Model: "m", TokenClass: "output",
			Quantity: dec("1000000"), UnitPrice: usd("5.00"), Per: 1_000_000, Exact: usd("5"), Amount: usd("5.0"), PeriodOfOrigin: "2026-04-01",
			Members: []billing.Allocation{{Quantity: dec("1000000"), Exact: usd("5"), Amount: usd("5.00")}},
		}},
	}
	invoice.AddUp()
	const text = `4:line,21:usage/chat/m/output/5,5:usage,7:chät m,4:chat,1:m,6:output,7:1000000,1:5,7:1000000,1:5,1:5,10:2026-04-01,` +
		`6:member,0:,7:1000000,1:5,1:5,` +
		`7:invoice,15:acme/2026-04-01,10:INV-000007,4:acme,10:2026-04-01,1:1,20:2026-04-01T00:00:00Z,20:2026-05-01T00:00:00Z,` +
		`28:2026-05-02T00:00:00.0000015Z,3:USD,1:5,1:0,1:5,`
	sum := sha256.Sum256([]byte(text))
	require.Equal(t, hex.EncodeToString(sum[:]), billing.HashOf(&invoice))
}

func TestAnyOrderBatchingAndSplittingGivesTheSameHash(t *testing.T) {
	property(t, func(t *rapid.T) {
		statement, rater := drawWorld(t)
		events := drawEvents(t, rater, "events")
		hash := func(usage []billing.UsageTotal) string {
			return billing.HashOf(&billing.Invoice{Lines: linesOf(t, statement, usage)})
		}
		want := hash(addUp(totalsOf(t, rater, events)))
		shuffled := rapid.Permutation(events).Draw(t, "order")
		cut := rapid.IntRange(0, len(shuffled)).Draw(t, "batch")
		require.Equal(t, want, hash(append(addUp(totalsOf(t, rater, shuffled[:cut])), addUp(totalsOf(t, rater, shuffled[cut:]))...)))
		require.Equal(t, want, hash(splitTotals(t, totalsOf(t, rater, events))))
		if len(events) > 0 {
			more := append(events, events[0])
			if lines := linesOf(t, statement, totalsOf(t, rater, events[:1])); len(lines) > 0 {
				require.NotEqual(t, want, hash(totalsOf(t, rater, more)), "one event more is another bill")
			}
		}
	})
}
