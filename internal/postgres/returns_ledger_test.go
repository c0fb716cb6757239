package postgres_test

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
)

// TestWhatGoesBackLeavesCashOnceWhateverItsStates follows refunds and
// disputes through their states, each told twice.
func TestWhatGoesBackLeavesCashOnceWhateverItsStates(t *testing.T) {
	t.Parallel()
	refunded := func(id, amount string, states ...string) (told []billing.Reversals) {
		for _, status := range states {
			told = append(told, billing.Reversals{Refunds: []billing.Refund{refundOf(id, status, amount)}})
		}
		return told
	}
	disputed := func(states ...string) (told []billing.Reversals) {
		for _, status := range states {
			told = append(told, billing.Reversals{Disputes: []billing.Dispute{disputeOf("dp_1", status)}})
		}
		return told
	}
	both := func(parts ...[]billing.Reversals) (all []billing.Reversals) {
		for _, part := range parts {
			all = append(all, part...)
		}
		return all
	}
	for name, c := range map[string]struct {
		told          []billing.Reversals
		out           string // what has left cash
		refunds, held string
		times         int // that something was booked
	}{
		"a refund succeeds at once":                  {refunded("re_1", "5", "succeeded"), "15", "5", "0", 1},
		"a refund succeeds after days":               {refunded("re_1", "5", "pending", "succeeded"), "15", "5", "0", 1},
		"a refund fails":                             {refunded("re_1", "5", "pending", "failed"), "20", "0", "0", 2},
		"a refund fails after it succeeded":          {refunded("re_1", "5", "pending", "succeeded", "failed"), "20", "0", "0", 2},
		"a refund is canceled":                       {refunded("re_1", "5", "requires_action", "canceled"), "20", "0", "0", 0},
		"a refund is canceled when it was under way": {refunded("re_1", "5", "pending", "canceled"), "20", "0", "0", 2},
		"the customer must act first":                {refunded("re_1", "5", "requires_action", "succeeded"), "15", "5", "0", 1},
		"two refunds whose names begin alike":        {both(refunded("re_1", "5", "succeeded"), refunded("re_10", "2", "pending", "failed"), refunded("re_100", "3", "succeeded")), "12", "8", "0", 4},
		"a dispute is lost":                          {disputed("needs_response", "under_review", "lost"), "0", "0", "20", 1},
		"a dispute is won":                           {disputed("needs_response", "under_review", "won"), "20", "0", "0", 2},
		"an inquiry takes nothing":                   {disputed("warning_needs_response", "warning_under_review", "warning_closed"), "20", "0", "0", 0},
		"an inquiry becomes a dispute that is lost":  {disputed("warning_needs_response", "needs_response", "lost"), "0", "0", "20", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newPublished(t)
			f.charge(succeeded)
			before := f.count("ledger_transactions")
			for _, told := range c.told {
				f.returns(told)
				f.returns(told)
				f.clean()
			}
			f.returns(c.told[0]) // what was said first comes again, late
			require.Equal(t, c.out, f.balance("cash"))
			require.Equal(t, c.refunds, f.balance("refunds"))
			require.Equal(t, c.held, f.balance("disputes"))
			require.Equal(t, c.times, f.count("ledger_transactions")-before)
			require.Equal(t, "0", f.balance("receivable"), "what was paid was paid")
			require.Equal(t, billing.StatusPaid, f.invoice().Status)
			f.clean()
		})
	}
}

func TestNewsOfARefundToldManyTimesAtOnceIsBookedOnce(t *testing.T) {
	t.Parallel()
	f := newPublished(t)
	f.charge(succeeded)
	var telling sync.WaitGroup
	failures := make(chan error, 8)
	for i := range 8 {
		status := []string{"pending", "succeeded"}[i%2]
		telling.Go(func() {
			_, err := f.RecordReversals(f.ctx, octoberInvoice, billing.Reversals{
				Refunds: []billing.Refund{refundOf("re_1", status, "5.00"), refundOf("re_2", "succeeded", "1.00")},
			})
			failures <- err
		})
	}
	telling.Wait()
	close(failures)
	for err := range failures {
		require.NoError(t, err)
	}
	require.Equal(t, 3, f.count("refunds"))
	require.Equal(t, "6", f.balance("refunds"))
	require.Equal(t, "14", f.balance("cash"))
	f.clean()
}

// A look that began earlier may be recorded later: a refund that has failed or a
// dispute that is decided stays so.
func TestAStateThatIsFinalIsNotTakenBackByAnOlderLook(t *testing.T) {
	t.Parallel()
	f := newPublished(t)
	f.charge(succeeded)
	for _, status := range []string{"failed", "pending", "succeeded"} {
		f.returns(billing.Reversals{Refunds: []billing.Refund{refundOf("re_1", status, "5.00")}})
	}
	for _, status := range []string{"won", "under_review"} {
		f.returns(billing.Reversals{Disputes: []billing.Dispute{disputeOf("dp_1", status)}})
	}
	require.Equal(t, "20", f.balance("cash"))
	f.clean()
}
