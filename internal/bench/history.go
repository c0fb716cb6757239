package main

import (
	"context"

	enumspb "go.temporal.io/api/enums/v1"
)

// historyCost is what one quiet month costs: an organisation with seats only,
// invoiced and paid at once.
type historyCost struct{ events, actions, activities int }

// timers is what the month's two timers (its end, the draft window) add to the
// history of one that is caught up with after its end: started, fired, and the
// workflow task that wakes up, and the look at the facts that follows the first.
const (
	eventsOfTimers     = 2*(2+3) + 6
	actionsOfTimers    = 2 + 1
	activitiesOfTimers = 1
)

// history counts the events and actions of a month that was closed before. Those
// organisations were caught up with, so what their timers would have added is
// added here; the recorded history of a month that ran its length is counted by
// the tests of package workflows.
func (r *rig) history(ctx context.Context) (cost historyCost, err error) {
	err = r.monthOf(ctx, "close-0-000", func(t enumspb.EventType) {
		cost.events++
		switch t {
		case enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED, enumspb.EVENT_TYPE_TIMER_STARTED,
			enumspb.EVENT_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES, enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED,
			enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_CONTINUED_AS_NEW, enumspb.EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_INITIATED:
			cost.actions++
		case enumspb.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
			cost.actions++
			cost.activities++
		}
	})
	cost.events += eventsOfTimers
	cost.actions += actionsOfTimers
	cost.activities += activitiesOfTimers
	return cost, err
}
