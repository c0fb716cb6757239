package activities

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/workflows"
)

// later is a provider's error that may say when to try again.
type later time.Duration

func (l later) Error() string             { return "slow down" }
func (l later) RetryAfter() time.Duration { return time.Duration(l) }

func TestEachErrorHasItsRetryPolicy(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err       error
		wantType  string // of an application error; "" = the error itself
		wantFinal bool
		wantDelay time.Duration
	}{
		"what does not exist is final":            {err: billing.NotFound("organization acme"), wantType: NotFound, wantFinal: true},
		"what contradicts the record is final":    {err: billing.Conflict("already closed"), wantType: Conflict, wantFinal: true},
		"what is wrong in itself is final":        {err: billing.Invalid("amount"), wantType: Invalid, wantFinal: true},
		"a wrapped final error is final":          {err: fmt.Errorf("pay: %w", billing.Invalid("amount")), wantType: Invalid, wantFinal: true},
		"that billing is stopped is final":        {err: fmt.Errorf("pay: %w", billing.Stopped("since noon")), wantType: Stopped, wantFinal: true},
		"an error nobody thought of is retried":   {err: errors.New("surprise")},
		"a lost connection is retried":            {err: &url.Error{Op: "Post", URL: "https://api", Err: io.ErrUnexpectedEOF}},
		"a timeout is retried":                    {err: context.DeadlineExceeded},
		"a cancelled call is retried":             {err: context.Canceled},
		"a rate limit is retried when it is over": {err: fmt.Errorf("pay: %w", later(time.Minute)), wantType: "RetryLater", wantDelay: time.Minute},
		"a rate limit without a time is retried":  {err: later(0)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := final(c.err)
			require.ErrorContains(t, got, c.err.Error())
			var app *temporal.ApplicationError
			if c.wantType == "" {
				require.NotErrorAs(t, got, &app)
				require.Equal(t, c.err, got)
				return
			}
			require.ErrorAs(t, got, &app)
			require.Equal(t, c.wantType, app.Type())
			require.Equal(t, c.wantFinal, app.NonRetryable())
			require.Equal(t, c.wantDelay, app.NextRetryDelay())
		})
	}
	require.NoError(t, final(nil))
}

func TestEveryMethodClassifiesItsErrors(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	for method, call := range map[string]func(*rig) error{
		"Accrue":                func(r *rig) error { _, err := r.Accrue(ctx, workflows.CycleInput{}); return err },
		"PauseCycle":            func(r *rig) error { return r.PauseCycle(ctx, workflows.OperatorRequest{}) },
		"ResumeCycle":           func(r *rig) error { return r.ResumeCycle(ctx, workflows.OperatorRequest{}) },
		"EndPeriodNow":          func(r *rig) error { return r.EndPeriodNow(ctx, workflows.OperatorRequest{}) },
		"IssueInvoice":          func(r *rig) error { _, err := r.IssueInvoice(ctx, workflows.InvoiceRef{}); return err },
		"RegisterWait":          func(r *rig) error { _, err := r.RegisterWait(ctx, billing.Wait{}); return err },
		"BeginProviderInvoice":  func(r *rig) error { return r.CreateProviderInvoice(ctx, invoice) },
		"BeginProviderItem":     func(r *rig) error { return r.AddProviderItem(ctx, workflows.ItemRef{}) },
		"BeginProviderFinalize": func(r *rig) error { _, err := r.FinalizeProviderInvoice(ctx, invoice); return err },
		"BeginCollection":       func(r *rig) error { _, err := r.CollectInvoice(ctx, invoice); return err },
		"PendingNotices":        func(r *rig) error { _, err := r.DeliverNotices(ctx, organization); return err },
		"PendingPaymentNotices": func(r *rig) error { _, err := r.DeliverPaymentNotices(ctx, invoice); return err },
	} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			r := newRig()
			r.store.fails[method] = billing.NotFound("nothing here")
			var app *temporal.ApplicationError
			require.ErrorAs(t, call(r), &app)
			require.Equal(t, NotFound, app.Type())
			require.True(t, app.NonRetryable())
		})
	}
}

func TestReasonsForHistoriesHoldNoAddress(t *testing.T) {
	t.Parallel()
	got := reason(errors.New("550 5.1.1 <bob+billing@example.com>: unknown"))
	require.Equal(t, "550 5.1.1 <(address)>: unknown", got)
	require.Len(t, []rune(reason(errors.New(strings.Repeat("é", 1000)))), reasonLength+1)
}
