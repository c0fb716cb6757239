package workflows

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"

	"github.com/arrears-dev/arrears/internal/devstack/temporaltest"
)

func sweepProviders() subject {
	return subject{
		name: "SweepProvider", workflow: SweepProvider, child: "none", scenarios: sweepProviderScenarios(),
		start: func(f *fake, _ scenario) (any, client.StartWorkflowOptions) {
			return SweepInput{}, client.StartWorkflowOptions{
				ID: SweepProviderID + "-" + f.organization, TaskQueue: TaskQueue, StaticSummary: "Sweep of the payment provider",
			}
		},
	}
}

func sweepProviderScenarios() map[string]scenario {
	return map[string]scenario{
		"what nobody told of is found": {
			want: `
				0 SweepEvents 0
				0 SweepEvents 100
				0 SweepInvoices 0
				0 SweepInvoices 100
				0 RequestLooks
				0 StartMissing nobody
				0 StartMissing acme
				0 end`,
		},
		"a sweep that grew too long goes on in the next run": {
			given:       func(f *fake) { f.failing["RequestLooks"] = []error{errors.New("busy")} },
			outgrown:    0.000001,
			notRecorded: "nothing in it takes time but what is tried again",
			want: `
				0 SweepEvents 0
				0 SweepEvents 100
				0 SweepInvoices 0
				0 SweepInvoices 100
				0 RequestLooks
				0 RequestLooks
				0 continue with /`,
		},
	}
}

// TestTheSweepIsScheduledOnce makes the schedule twice on a real server, and
// again after people paused it.
func TestTheSweepIsScheduledOnce(t *testing.T) {
	t.Parallel()
	c, err := client.Dial(client.Options{HostPort: temporaltest.Start(t)})
	require.NoError(t, err)
	defer c.Close()
	schedules := c.ScheduleClient()
	for range 2 {
		require.NoError(t, EnsureSweepSchedule(t.Context(), schedules))
	}
	handle := schedules.GetHandle(t.Context(), SweepProviderID)
	defer func() { _ = handle.Delete(t.Context()) }()
	require.NoError(t, handle.Pause(t.Context(), client.SchedulePauseOptions{Note: "maintenance"}))
	require.NoError(t, EnsureSweepSchedule(t.Context(), schedules))

	found, err := handle.Describe(t.Context())
	require.NoError(t, err)
	require.True(t, found.Schedule.State.Paused, "as people left it")
	require.Equal(t, enumspb.SCHEDULE_OVERLAP_POLICY_SKIP, found.Schedule.Policy.Overlap)
	require.Equal(t, 10*time.Minute, found.Schedule.Policy.CatchupWindow)
	require.Equal(t, time.Hour, found.Schedule.Spec.Intervals[0].Every)
	action, ok := found.Schedule.Action.(*client.ScheduleWorkflowAction)
	require.True(t, ok)
	require.Equal(t, "SweepProvider", action.Workflow)
	require.Equal(t, TaskQueue, action.TaskQueue)
}
