package postgres

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
)

// The connection's own goroutine reads the rows: a panic there would end the
// program, and with it everybody's requests.
func TestARowThatCannotBeMadeFailsItsBatchAndNotTheProgram(t *testing.T) {
	t.Parallel()
	rows := &eventRows{intake: &intake{}, placed: make([]placedEvent, 1), items: make([]billing.UsageItem, 1), used: usedUp{}}
	_, err := rows.Read(make([]byte, 100))
	require.ErrorContains(t, err, "make a row")
	rows.close()
}
