package main

import (
	"context"

	enumspb "go.temporal.io/api/enums/v1"
)

// historyCost is what one quiet month costs: an organisation with seats only,
// invoiced and paid at once.
type historyCost struct{ events, actions, activities int }

// A month that is caught up with does not wait out its draft window, which is
// over: that timer starts, fires, and wakes up the workflow by one task.
const (
	eventsOfDraftWindow  = 1 + 1 + 3
	actionsOfDraftWindow = 1
)

// history counts the events and actions of a month that was closed before. Those
// organisations were caught up with after the month's end, so the waiting is
// added; the tests of package workflows count a month that ran its length.
func (r *rig) history(ctx context.Context) (cost historyCost, err error) {
	err = r.monthOf(ctx, "close-0-000", func(t enumspb.EventType) {
		cost.events++
		switch t {
		case enumspb.EVENT_TYPE_TIMER_STARTED, enumspb.EVENT_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES,
			enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED, enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_CONTINUED_AS_NEW:
			cost.actions++
		case enumspb.EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_INITIATED:
			cost.actions += 2 // the command and the new execution
		case enumspb.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
			cost.actions++
			cost.activities++
		}
	})
	cost.events += eventsOfDraftWindow
	cost.actions += actionsOfDraftWindow
	return cost, err
}
