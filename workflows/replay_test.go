package workflows

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/sdk/client"
	sdklog "go.temporal.io/sdk/log"
	"go.temporal.io/sdk/worker"
)

// TestReplay replays every recorded history: whatever a deployed version has
// begun, this one must be able to finish. See TestRecord for new ones.
func TestReplay(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join(recordings, "*.json"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			replayer := worker.NewWorkflowReplayer()
			for _, of := range subjects() {
				replayer.RegisterWorkflow(of.workflow)
			}
			require.NoError(t, replayer.ReplayWorkflowHistory(
				sdklog.NewStructuredLogger(slog.New(slog.DiscardHandler)), history(t, file)))
		})
	}
}

// TestEveryScenarioIsRecorded sees that a new branch gets its recording.
func TestEveryScenarioIsRecorded(t *testing.T) {
	t.Parallel()
	for _, of := range subjects() {
		for name, s := range of.scenarios {
			if s.notRecorded == "" {
				require.FileExists(t, filepath.Join(recordings, fileName(of, name)), "run TestRecord with -record")
			}
		}
	}
}

// quietMonth is how many events an organisation in which nothing happens may
// cost in a month: its cycle, an invoice of two items, and one payment.
const quietMonth = 90

// TestQuietMonth counts what a quiet month costs.
func TestQuietMonth(t *testing.T) {
	t.Parallel()
	total := 0
	for _, file := range []string{
		"BillingCycle-a-quiet-month-looks-twice-starts-the-invoice-and-goes-on.json",
		"InvoicePeriod-a-quiet-month-waits-out-the-draft-window-publishes-and-has-the-invoice-collected.json",
		"CollectPayment-a-quiet-month-is-paid-at-once.json",
	} {
		events := len(history(t, filepath.Join(recordings, file)).GetEvents())
		t.Logf("%3d events: %s", events, file)
		total += events
	}
	t.Logf("%3d events in all", total)
	require.LessOrEqual(t, total, quietMonth)
}

// TestHistoriesTellAStranger looks for what people read in Temporal's UI: every
// activity, timer and child has a summary.
func TestHistoriesTellAStranger(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join(recordings, "*.json"))
	require.NoError(t, err)
	for _, file := range files {
		for _, event := range history(t, file).GetEvents() {
			switch {
			case event.GetActivityTaskScheduledEventAttributes() != nil,
				event.GetTimerStartedEventAttributes() != nil,
				event.GetStartChildWorkflowExecutionInitiatedEventAttributes() != nil,
				event.GetWorkflowExecutionStartedEventAttributes() != nil:
				require.NotEmpty(t, event.GetUserMetadata().GetSummary().GetData(), "%s: event %d", file, event.GetEventId())
			}
		}
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		require.NotContains(t, string(text), "@", "an address in %s", file)
	}
}

func history(t *testing.T, file string) *historypb.History {
	t.Helper()
	reader, err := os.Open(file)
	require.NoError(t, err)
	defer func() { require.NoError(t, reader.Close()) }()
	h, err := client.HistoryFromJSON(reader, client.HistoryJSONOptions{})
	require.NoError(t, err)
	return h
}
