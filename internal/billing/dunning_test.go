package billing_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
)

func TestTheDefaultDunningChargesEightTimesInTwoWeeks(t *testing.T) {
	t.Parallel()
	require.NoError(t, billing.CheckDunning(billing.DefaultDunning()))
	first := instant("2026-05-02T00:00:07Z")
	var dates []string
	for attempts := 0; ; attempts++ {
		at, ok := billing.NextAttempt(billing.DefaultDunning(), first, attempts)
		if !ok {
			break
		}
		require.Equal(t, "00:00:07", at.Format(time.TimeOnly))
		dates = append(dates, at.Format(time.DateOnly))
	}
	require.Equal(t, []string{
		"2026-05-02", "2026-05-03", "2026-05-05", "2026-05-07", "2026-05-09", "2026-05-12", "2026-05-14", "2026-05-16",
	}, dates)
	_, ok := billing.NextAttempt(billing.DefaultDunning(), first, 9)
	require.False(t, ok)
}

func TestDefaultDunningIsEachCallersOwn(t *testing.T) {
	t.Parallel()
	billing.DefaultDunning()[0] = 99
	require.Equal(t, 0, billing.DefaultDunning()[0])
}

func TestADunningTableAscendsFromTheFirstAttempt(t *testing.T) {
	t.Parallel()
	for name, table := range map[string][]int{"one attempt": {0}, "weekly": {0, 7, 14, 21}, "a year": {0, 365}} {
		require.NoError(t, billing.CheckDunning(table), name)
	}
	for name, table := range map[string][]int{
		"empty": {}, "nothing": nil, "no first attempt": {1, 2}, "descending": {0, 5, 3}, "twice on a day": {0, 3, 3},
		"before the first attempt": {-1, 0}, "more than twenty": {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20},
		"after more than a year": {0, 366}, "after more time than a duration holds": {0, 200_000},
	} {
		err := billing.CheckDunning(table)
		require.ErrorIs(t, err, billing.ErrInvalid, name)
		require.ErrorContains(t, err, "dunning: ")
	}
}

func TestHardDeclinesAreNotTriedAgain(t *testing.T) {
	t.Parallel()
	for _, code := range []string{"lost_card", "stolen_card", "fraudulent", "incorrect_number", "revocation_of_authorization"} {
		require.True(t, billing.HardDecline(code), code)
	}
	for _, code := range []string{"insufficient_funds", "generic_decline", "expired_card", "authentication_required", "processing_error", ""} {
		require.False(t, billing.HardDecline(code), code)
	}
}
