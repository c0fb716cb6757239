package api

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// slowInbox stores nothing before its time has passed.
type slowInbox struct{ takes time.Duration }

func (s slowInbox) Receive(ctx context.Context, _ []byte, _ string, _ time.Time) (bool, error) {
	select {
	case <-ctx.Done():
		return false, ctx.Err()
	case <-time.After(s.takes):
		return true, nil
	}
}

// Stripe waits for ten seconds and sends again what was not answered by a 2xx.
func TestADeliveryIsAnsweredInTimeHoweverSlowTheDatabaseIs(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		takes  time.Duration
		status int
	}{
		"stored late, and in time": {5 * time.Second, http.StatusOK},
		"refused, to come again":   {10 * time.Second, http.StatusServiceUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				handler := New(Options{Inbox: slowInbox{c.takes}, Key: key, MaxBody: 4096, Log: slog.New(slog.DiscardHandler)})
				began, answer := time.Now(), httptest.NewRecorder()
				handler.ServeHTTP(answer, httptest.NewRequest(http.MethodPost, "/v1/webhooks/stripe", strings.NewReader("{}")))
				require.Equal(t, c.status, answer.Code, answer.Body.String())
				require.Less(t, time.Since(began), 10*time.Second)
			})
		})
	}
}
