package postgres

import (
	"context"
	"encoding/json"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/arrears-dev/arrears/internal/billing"
)

// AuditEntry is one line of the audit trail.
type AuditEntry struct {
	ID           int64           `json:"id"`
	Organization string          `json:"organization"`
	At           time.Time       `json:"at"`
	Actor        string          `json:"actor"`
	Action       string          `json:"action"`
	Subject      string          `json:"subject"`
	Before       json.RawMessage `json:"before"`
	After        json.RawMessage `json:"after"`
	Reason       string          `json:"reason"`
}

// audit records a change and returns the entry's number. before and after are
// written as JSON; nil = nothing.
func audit(ctx context.Context, tx querier, org string, by billing.Actor, action, subject string, before, after any) (id int64, err error) {
	const statement = `
INSERT INTO audit_log (org_id, actor, action, subject, before, after, reason)
VALUES (@org, @actor, @action, @subject, @before, @after, @reason)
RETURNING id`
	err = tx.QueryRow(ctx, statement, pgx.NamedArgs{
		"org": org, "actor": by.Name, "action": action, "subject": subject,
		"before": before, "after": after, "reason": by.Reason,
	}).Scan(&id)
	return id, wrap("write the audit trail", err)
}

// RecordRequest writes an operator's request to the audit trail before it is
// sent to a workflow, which is told the entry's number only.
func (s *Store) RecordRequest(ctx context.Context, org string, by billing.Actor, action string) (int64, error) {
	return audit(ctx, s.pool, org, by, action, "", nil, nil)
}

// AuditTrail lists an organisation's audit entries, newest first, and those of
// the keys that open every organisation, so this one too. Organisation "" has what
// concerns no single one: such keys, and price books.
func (s *Store) AuditTrail(ctx context.Context, org string, limit int) ([]AuditEntry, error) {
	const statement = `
SELECT id, org_id, at, actor, action, subject, before, after, reason
  FROM audit_log
 WHERE org_id = $1
    OR (org_id = '' AND action LIKE 'keys.%')
 ORDER BY id DESC
 LIMIT $2`
	rows, err := s.pool.Query(ctx, statement, org, limit)
	if err != nil {
		return nil, wrap("read the audit trail", err)
	}
	entries, err := pgx.CollectRows(rows, pgx.RowToStructByPos[AuditEntry])
	return entries, wrap("read the audit trail", err)
}
