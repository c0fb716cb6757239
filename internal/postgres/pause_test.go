package postgres

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestThoseWhoLostTheSameRaceDoNotMeetAgain(t *testing.T) {
	t.Parallel()
	for attempt := 1; attempt < maxRetries; attempt++ {
		pauses := map[time.Duration]bool{}
		for range 100 {
			p := pause(attempt)
			require.Positive(t, p)
			require.LessOrEqual(t, p, time.Duration(attempt)*10*time.Millisecond)
			pauses[p] = true
		}
		require.Greater(t, len(pauses), 50)
	}
}
