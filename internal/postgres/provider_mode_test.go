package postgres_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
)

func TestADatabaseStaysInTheModeOfItsCustomers(t *testing.T) {
	t.Parallel()
	f := newIssued(t)
	require.NoError(t, f.UseProviderMode(f.ctx, true))
	require.NoError(t, f.UseProviderMode(f.ctx, false), "nobody is a customer in live mode yet")
	require.NoError(t, f.RecordCustomer(f.ctx, "acme", "cus_1", ""))
	require.NoError(t, f.UseProviderMode(f.ctx, false))
	err := f.UseProviderMode(f.ctx, true)
	require.ErrorIs(t, err, billing.ErrConflict)
	require.ErrorContains(t, err, "the Stripe key is of live mode, and this database's customers are in test mode")
	require.NoError(t, f.UseProviderMode(f.ctx, false), "the refusal changed nothing")
}

func TestATestKeyIsRefusedWhereCustomersAreLive(t *testing.T) {
	t.Parallel()
	f := newIssued(t)
	require.NoError(t, f.UseProviderMode(f.ctx, true))
	require.NoError(t, f.RecordCustomer(f.ctx, "acme", "cus_1", ""))
	require.ErrorContains(t, f.UseProviderMode(f.ctx, false), "accepted: a key of live mode")
}
