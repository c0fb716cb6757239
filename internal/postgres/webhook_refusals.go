package postgres

import (
	"context"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"
)

// WebhookRefusals is how many deliveries were refused on a day, for one reason.
// Nothing of their content is stored.
type WebhookRefusals struct {
	Day    string `json:"day"` // in UTC
	Reason string `json:"reason"`
	Count  int64  `json:"count"`
}

// CountWebhookRefusals adds refused deliveries to those of today, by reason.
func (s *Store) CountWebhookRefusals(ctx context.Context, byReason map[string]int64) error {
	const statement = `
INSERT INTO webhook_refusals AS w (day, reason, count)
VALUES ((now() AT TIME ZONE 'UTC')::date, left($1, 40), $2)
    ON CONFLICT (day, reason) DO UPDATE SET count = w.count + excluded.count`
	err := s.inTx(ctx, func(tx pgx.Tx) error {
		for _, reason := range slices.Sorted(maps.Keys(byReason)) { // in one order, as rows are locked
			if _, err := tx.Exec(ctx, statement, reason, byReason[reason]); err != nil {
				return err
			}
		}
		return nil
	})
	return wrap("count refused webhooks", err)
}

// WebhookRefusals lists how many deliveries were refused, the newest day first.
func (s *Store) WebhookRefusals(ctx context.Context, limit int) ([]WebhookRefusals, error) {
	const statement = `SELECT day::text, reason, count FROM webhook_refusals ORDER BY day DESC, reason LIMIT $1`
	rows, err := s.pool.Query(ctx, statement, limit)
	if err != nil {
		return nil, wrap("list refused webhooks", err)
	}
	refusals, err := pgx.CollectRows(rows, pgx.RowToStructByPos[WebhookRefusals])
	return refusals, wrap("list refused webhooks", err)
}
