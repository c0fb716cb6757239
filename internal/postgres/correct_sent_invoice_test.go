package postgres_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
)

// An open sent invoice is looked at whenever its collection wakes; that must not
// keep a correction from ever being the next step.
func TestACorrectionOfAnOpenSentInvoiceIsCarriedOut(t *testing.T) {
	t.Parallel()
	t.Run("a transfer in part, then the rest", func(t *testing.T) {
		t.Parallel()
		f := newPublished(t, bySend(30))
		f.lookAt(issuedAt, stillOpen)
		f.correct(transferred("7.50", "SEPA 1"))
		state := f.carryOut()
		require.Equal(t, billing.StatusOpen, state.Status)
		f.lookAt(issuedAt, stillOpen)
		f.correct(transferred("", "SEPA 2"))
		require.Equal(t, billing.StatusPaid, f.carryOut().Status)
		f.clean()
	})
	for _, end := range []struct {
		asked billing.CorrectionKind
		want  billing.InvoiceStatus
	}{{billing.CorrectionVoid, billing.StatusVoid}, {billing.CorrectionWriteOff, billing.StatusWrittenOff}} {
		t.Run(string(end.asked), func(t *testing.T) {
			t.Parallel()
			f := newPublished(t, bySend(30))
			f.lookAt(issuedAt, stillOpen)
			want := voided()
			want.Kind = end.asked
			f.correct(want)
			require.Equal(t, end.want, f.carryOut().Status)
			f.clean()
		})
	}
	t.Run("news of a payment is read first", func(t *testing.T) {
		t.Parallel()
		f := newPublished(t, bySend(30))
		f.lookAt(issuedAt, stillOpen)
		f.correct(voided())
		f.event("evt_1", "invoice.paid")
		require.Equal(t, billing.StepRefresh, f.begin().Do)
	})
}
