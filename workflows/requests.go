package workflows

import (
	"context"
	"errors"
	"fmt"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
)

// request is an operator's update, as a run serves it.
type request[In any] struct {
	update      string
	description string
	name        func() string // of what is changed
	carryOut    func(Activities, context.Context, In) error
	input       func(OperatorRequest) In
	refuse      func() error // from the facts that the run knows
}

// serve serves an operator's update. The database decides; what it refuses is
// told to the operator, and what it grants makes the run look again.
func serve[In any](ctx workflow.Context, r *run, q request[In]) error {
	handle := func(ctx workflow.Context, asked OperatorRequest) error {
		err := perform(withDatabase(ctx, summary("Carry out the request to %s %s", q.update, q.name())), q.carryOut, q.input(asked))
		if app := (*temporal.ApplicationError)(nil); errors.As(err, &app) {
			return app
		}
		r.wake()
		return err
	}
	validate := func(asked OperatorRequest) error {
		if asked.Organization != r.status.Organization {
			return fmt.Errorf("this is the %s of %q, and not of %q", r.kind(ctx), r.status.Organization, asked.Organization)
		}
		return q.refuse()
	}
	return workflow.SetUpdateHandlerWithOptions(ctx, q.update, handle,
		workflow.UpdateHandlerOptions{Description: q.description, Validator: validate})
}

// kind is what a run is called in a sentence.
func (r *run) kind(ctx workflow.Context) string {
	if workflow.GetInfo(ctx).WorkflowType.Name == "InvoicePeriod" {
		return "invoice"
	}
	return "cycle"
}
