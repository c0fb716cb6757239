package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// Delivery is how the last try to hand a message to one channel went.
type Delivery struct {
	Channel  string    `json:"channel"`
	Status   string    `json:"status"` // delivered, failed: tried again later, refused: never again
	Attempts int       `json:"attempts"`
	Failure  string    `json:"failure,omitempty"`
	TriedAt  time.Time `json:"tried_at"` // wall clock
}

// Deliveries lists what each channel said to a message.
func (s *Store) Deliveries(ctx context.Context, message string) ([]Delivery, error) {
	const statement = `
SELECT channel, status, attempts, failure, tried_at
  FROM notice_deliveries
 WHERE message_key = $1
 ORDER BY channel`
	rows, err := s.pool.Query(ctx, statement, message)
	if err != nil {
		return nil, wrap("read the deliveries of "+message, err)
	}
	deliveries, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Delivery])
	return deliveries, wrap("read the deliveries of "+message, err)
}

// RecordDelivery records how a try went. What was delivered stays delivered.
func (s *Store) RecordDelivery(ctx context.Context, message, channel, status, failure string) error {
	const statement = `
INSERT INTO notice_deliveries AS d (message_key, channel, status, failure)
VALUES ($1, $2, $3, left($4, 500))
    ON CONFLICT (message_key, channel) DO UPDATE
   SET status = excluded.status, failure = excluded.failure, attempts = d.attempts + 1, tried_at = now()
 WHERE d.status <> 'delivered'`
	_, err := s.pool.Exec(ctx, statement, message, channel, status, failure)
	return wrap("record a delivery of "+message, err)
}

// noticeDeliveries lists the deliveries of spend notices.
func (s *Store) noticeDeliveries(ctx context.Context, notices []int64) (map[int64][]Delivery, error) {
	const statement = `
SELECT n.id, d.channel, d.status, d.attempts, d.failure, d.tried_at
  FROM unnest($1::bigint[]) AS n (id)
  JOIN notice_deliveries d ON d.message_key = 'notice/' || n.id
 ORDER BY n.id, d.channel`
	rows, err := s.pool.Query(ctx, statement, notices)
	if err != nil {
		return nil, wrap("list deliveries", err)
	}
	all := map[int64][]Delivery{}
	var id int64
	var d Delivery
	_, err = pgx.ForEachRow(rows, []any{&id, &d.Channel, &d.Status, &d.Attempts, &d.Failure, &d.TriedAt}, func() error {
		d.TriedAt = d.TriedAt.UTC()
		all[id] = append(all[id], d)
		return nil
	})
	return all, wrap("list deliveries", err)
}
