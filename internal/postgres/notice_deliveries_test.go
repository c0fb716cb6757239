package postgres_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
)

func TestDeliveriesAreRecordedPerChannelAndShownWithTheirNotice(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.limit(billing.ScopeOrganization, "", "10")
	f.use(use("a", "u1", october, 1_600_000))
	const key = "notice/1"
	for _, try := range [][3]string{{"webhook", "failed", "down"}, {"mail", "delivered", ""}, {"webhook", "failed", "still down"}, {"mail", "failed", "late news"}} {
		require.NoError(t, f.RecordDelivery(f.ctx, key, try[0], try[1], try[2]))
	}
	told, err := f.Deliveries(f.ctx, key)
	require.NoError(t, err)
	require.Len(t, told, 2)
	require.Equal(t, []any{"mail", "delivered", 1, ""}, []any{told[0].Channel, told[0].Status, told[0].Attempts, told[0].Failure})
	require.Equal(t, []any{"webhook", "failed", 2, "still down"}, []any{told[1].Channel, told[1].Status, told[1].Attempts, told[1].Failure})
	rows, err := f.Notices(f.ctx, "acme", true)
	require.NoError(t, err)
	require.Equal(t, int64(1), rows[0].ID)
	require.Len(t, rows[0].Deliveries, 2)
}
