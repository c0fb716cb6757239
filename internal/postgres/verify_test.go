package postgres_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/postgres"
)

func TestVerifyFindsNothingWhereAllIsWell(t *testing.T) {
	t.Parallel()
	f := newYear(t)
	require.Positive(t, f.count("notices"))
	f.clean()
	for _, period := range []string{"2026-10-01", "2026-11-01", "2026-11-01.2", "2026-12-01"} {
		found, err := f.Verify(f.ctx, "acme", period)
		require.NoError(t, err)
		require.Empty(t, found, period)
	}
	found, err := f.Verify(f.ctx, "beta", "")
	require.NoError(t, err)
	text, err := json.Marshal(found)
	require.NoError(t, err)
	require.Equal(t, "[]", string(text))
	_, err = f.Verify(f.ctx, "nobody", "")
	require.ErrorIs(t, err, billing.ErrNotFound)
	_, err = f.Verify(f.ctx, "acme", "2020-01-01")
	require.ErrorIs(t, err, billing.ErrNotFound)
}

// TestEverySeededCorruptionIsCaught spoils a sound database in one way at a
// time, with triggers and foreign keys off as only a superuser can, and asks for
// the check that must name it.
func TestEverySeededCorruptionIsCaught(t *testing.T) {
	t.Parallel()
	f := newYear(t)
	f.backUp()
	for name, c := range map[string]struct {
		checks  string // that must name it, of those that may
		corrupt string
	}{
		"an event is lost":                    {"totals_recount spend_recount usage_lines", `DELETE FROM usage_events WHERE event_id = 'first haiku'`},
		"a parked event is counted":           {"totals_recount", `UPDATE usage_events SET rate_id = NULL, period_id = NULL, parked_reason = 'x' WHERE event_id = 'first haiku'`},
		"a total is off by one":               {"totals_recount", `UPDATE usage_totals SET cache_read = cache_read + 1 WHERE period_id = '2026-12-01' AND cache_read > 0`},
		"a total is lost":                     {"totals_recount", `DELETE FROM usage_totals WHERE user_id = ''`},
		"a total is made up":                  {"totals_recount", `UPDATE usage_totals SET user_id = 'u8' WHERE user_id = 'u9' AND period_id = '2026-10-01'`},
		"an event's quantity is changed":      {"totals_recount spend_recount usage_lines usage_members", `UPDATE usage_events SET output = output + 1 WHERE event_id = 'late us'`},
		"an event has the old price":          {"event_rate", `UPDATE usage_events e SET rate_id = (SELECT rate_id FROM usage_events WHERE event_id = 'old prices band below') WHERE event_id = 'new prices band below'`},
		"an event has the lower band":         {"event_rate", `UPDATE usage_events e SET rate_id = (SELECT rate_id FROM usage_events WHERE event_id = 'first band below') WHERE event_id = 'first band above'`},
		"an event lost its modifier":          {"event_rate", `UPDATE usage_events SET inference_geo = NULL WHERE event_id = 'first us'`},
		"a batch event is billed in full":     {"event_rate", `UPDATE usage_events SET service_tier = 'batch' WHERE event_id = 'first us'`},
		"a tier without a price is billed":    {"event_rate", `UPDATE usage_events SET service_tier = 'priority' WHERE event_id = 'first haiku'`},
		"a rate is changed":                   {"event_rate", `UPDATE rates SET output = output + 0.01 WHERE model = 'claude-haiku-4-5' AND service_tier = 'standard'`},
		"a price is changed":                  {"event_rate", `UPDATE model_prices SET cache_read = 1 WHERE model = 'claude-test'`},
		"a tool's price is changed":           {"event_rate", `UPDATE tool_prices SET amount = 11`},
		"a price is gone":                     {"event_rate", `DELETE FROM model_prices WHERE model = 'claude-haiku-4-5'`},
		"less than the minimum is billed":     {"event_rate", `UPDATE usage_events SET code_execution = 7 WHERE event_id = 'first runs briefly'`},
		"a minimum is changed":                {"event_rate", `UPDATE tool_prices SET minimum = 1902 WHERE tool = 'code_execution'`},
		"seconds are lost":                    {"totals_recount spend_recount usage_lines", `UPDATE usage_events SET code_execution = 1900 WHERE event_id = 'first runs'`},
		"the allowance is another":            {"free_use", `UPDATE tool_prices SET free_per_month = 3002 WHERE tool = 'code_execution'`},
		"nothing is free":                     {"free_use", `DELETE FROM invoice_lines WHERE key LIKE '%/free'`},
		"another's use is free":               {"free_use", `UPDATE invoice_line_members m SET user_id = 'u7' FROM invoice_lines l WHERE l.invoice_id = m.invoice_id AND l.n = m.n AND l.key LIKE '%/free' AND user_id = 'u2'`},
		"free at another price":               {"free_use", `UPDATE invoice_lines SET unit_price = 0.04 WHERE key LIKE '%/free'`},
		"an event is billed elsewhere":        {"event_period totals_recount", `UPDATE usage_events SET period_id = '2026-12-01' WHERE event_id = 'november haiku'`},
		"an open period's event is late":      {"event_period", `UPDATE usage_events SET origin_id = '2026-12-01', period_id = '2026-11-01.2' WHERE event_id = 'december haiku'`},
		"a late event has no origin":          {"event_period totals_recount", `UPDATE usage_events SET origin_id = NULL WHERE event_id = 'late haiku'`},
		"a retraction of more":                {"retraction totals_recount", `UPDATE usage_events SET output = output - 1 WHERE event_id = 'undo'`},
		"a retraction of nothing":             {"retraction", `DELETE FROM usage_events WHERE event_id = 'undone'`},
		"a retraction at another price":       {"retraction", `UPDATE usage_events e SET rate_id = (SELECT rate_id FROM usage_events WHERE event_id = 'first us') WHERE event_id = 'undo october'`},
		"a retraction is lost":                {"totals_recount spend_recount usage_lines", `DELETE FROM usage_events WHERE event_id = 'undo october'`},
		"a retraction of a retraction":        {"retraction", `UPDATE usage_events SET retracts = 'undo' WHERE event_id = 'undo october'`},
		"a retracted event waits":             {"retraction", `UPDATE usage_events SET void = false WHERE event_id = 'void'`},
		"an event waits for nothing":          {"retraction", `DELETE FROM usage_events WHERE event_id = 'undo void'`},
		"a run of a model is lost":            {"event_whole totals_recount spend_recount usage_lines", `DELETE FROM usage_events WHERE event_id = 'first sampled' AND part = 1`},
		"a run of a model is made up":         {"event_whole", `UPDATE usage_events SET part = 3 WHERE event_id = 'december sampled' AND part = 2`},
		"a run is another's":                  {"event_whole", `UPDATE usage_events SET user_id = 'u9' WHERE event_id = 'december sampled' AND part = 2`},
		"one run of an event has no price":    {"event_whole", `UPDATE usage_events SET rate_id = NULL, period_id = NULL, parked_reason = 'x' WHERE event_id = 'december sampled' AND part = 1`},
		"one run is not taken back":           {"retraction", `DELETE FROM usage_events WHERE event_id = 'undo sampled' AND part = 1`},
		"a run is priced as another model":    {"model_name model_spellings", `UPDATE usage_events SET sent_model = 'claude-opus-4-5-20251101' WHERE event_id = 'december sampled' AND part = 1`},
		"a model is billed as another":        {"model_name", `UPDATE usage_events SET sent_model = 'anthropic/claude-opus-4.5' WHERE event_id = 'december haiku'`},
		"a name is not written down":          {"model_spellings", `DELETE FROM model_spellings WHERE period_id = '2026-12-01'`},
		"a name that nobody sent":             {"model_spellings", `UPDATE model_spellings SET sent_model = 'claude-haiku' WHERE period_id = '2026-12-01'`},
		"what has no price counts otherwise":  {"spend_recount", `UPDATE spend_counters SET provisional = provisional + 1 WHERE scope = 'user' AND provisional > 0`},
		"what has no price counts twice":      {"spend_recount", `UPDATE usage_events SET provisional = 2 * provisional WHERE event_id = 'waits' AND part = 1`},
		"a counter is off by the least":       {"spend_recount", `UPDATE spend_counters SET spend = spend + 0.0000000001 WHERE scope = 'organization' AND org_id = 'beta'`},
		"a user's counter is lost":            {"spend_recount", `DELETE FROM spend_counters WHERE subject = 'u1' AND org_id = 'acme'`},
		"a tier's counter is another's":       {"spend_recount", `UPDATE spend_counters SET subject = 'gold' WHERE subject = 'chat'`},
		"a counter of no month":               {"spend_recount", `UPDATE spend_counters SET window_start = window_start + interval '1 hour' WHERE subject = 'u9'`},
		"a gap between periods":               {"period_tiling", `UPDATE periods SET starts_at = starts_at + interval '1 second' WHERE id = '2026-11-01'`},
		"periods overlap":                     {"period_tiling", `UPDATE periods SET ends_at = ends_at + interval '1 hour' WHERE id = '2026-11-01'`},
		"the contract's start is left out":    {"period_tiling", `UPDATE organizations SET starts_at = starts_at - interval '1 day' WHERE id = 'beta'`},
		"a boundary in the wrong zone":        {"period_calendar", `UPDATE organizations SET timezone = 'UTC' WHERE id = 'beta'`},
		"a boundary that drifts":              {"period_calendar", `UPDATE periods SET ends_at = ends_at - interval '1 day' WHERE id = '2026-12-01'`},
		"a period under another name":         {"period_calendar", `UPDATE periods SET id = '2026-12-02' WHERE id = '2026-12-01'`},
		"a closed period without invoice":     {"period_invoiced", `UPDATE invoices SET status = 'void' WHERE id = 'acme/2026-10-01'`},
		"an invoice of an open period":        {"period_invoiced", `UPDATE periods SET closed_at = NULL WHERE id = '2026-10-01'`},
		"two live invoices of a period":       {"period_invoiced usage_lines", `DROP INDEX invoices_one_live; UPDATE invoices SET period_id = '2026-11-01', revision = 2 WHERE id = 'acme/2026-11-01.2'`},
		"an invoice in another currency":      {"currency", `UPDATE invoices SET currency = 'EUR' WHERE id = 'acme/2026-10-01'`},
		"a price book in another currency":    {"currency", `UPDATE price_books SET currency = 'EUR'`},
		"a line of more than was used":        {"usage_lines line_exact", `UPDATE invoice_lines SET quantity = quantity + 1 WHERE n = 5 AND invoice_id = 'acme/2026-10-01'`},
		"a line at another price":             {"usage_lines", `UPDATE invoice_lines SET unit_price = unit_price + 1 WHERE token_class = 'web_search'`},
		"a line is lost":                      {"usage_lines", `DELETE FROM invoice_lines WHERE token_class = 'web_search'`},
		"a line is made up":                   {"usage_lines", `UPDATE invoice_lines SET model = 'claude-other' WHERE token_class = 'web_search'`},
		"a late line without its origin":      {"usage_lines", `UPDATE invoice_lines SET origin_id = '2026-11-01' WHERE origin_id = '2026-10-01' AND invoice_id = 'acme/2026-11-01'`},
		"a user pays for another":             {"usage_members", `UPDATE invoice_line_members SET user_id = 'u7' WHERE user_id = 'u9'`},
		"a user's part is lost":               {"usage_members member_parts", `DELETE FROM invoice_line_members WHERE user_id = 'u9'`},
		"a seat-day too many":                 {"seat_lines member_parts", `UPDATE invoice_line_members SET quantity = quantity + 1 WHERE user_id = 'u4' AND n = 1 AND invoice_id = 'acme/2026-10-01'`},
		"a seat that nobody held":             {"seat_lines", `DELETE FROM seat_assignments WHERE user_id = 'u4'`},
		"a seat at another price":             {"seat_lines", `UPDATE seat_prices SET amount = 25 WHERE effective_from > '2026-01-01'`},
		"a surcharge for all":                 {"seat_lines", `UPDATE seat_assignments SET hipaa = true WHERE user_id = 'u3'`},
		"a seat line over another month":      {"seat_lines line_exact", `UPDATE invoice_lines SET per = 30 WHERE kind = 'seat' AND per = 31`},
		"an exact amount that is not":         {"line_exact usage_lines", `UPDATE invoice_lines SET exact_amount = exact_amount + 0.000000000001 WHERE kind = 'usage' AND n = 6`},
		"a seat's exact amount that is not":   {"line_exact", `UPDATE invoice_lines SET exact_amount = exact_amount + 0.00000000000000001 WHERE kind = 'seat'`},
		"a line is rounded up":                {"line_amount member_parts invoice_total", `UPDATE invoice_lines SET amount = amount + 0.01 WHERE kind = 'usage' AND n = 6`},
		"a line is not rounded":               {"line_amount", `UPDATE invoice_lines SET amount = exact_amount WHERE kind = 'usage'`},
		"the parts go along":                  {"line_amount", `UPDATE invoice_lines SET amount = amount + 0.01 WHERE n = 6; UPDATE invoice_line_members m SET amount = amount + 0.01 WHERE n = 6 AND user_id = (SELECT min(user_id) FROM invoice_line_members x WHERE x.invoice_id = m.invoice_id AND x.n = 6)`},
		"a cent is dealt out twice":           {"member_parts", `UPDATE invoice_line_members SET amount = amount + 0.01 WHERE (invoice_id, n, user_id) = (SELECT invoice_id, n, min(user_id) FROM invoice_line_members GROUP BY 1, 2 ORDER BY 1, 2 LIMIT 1)`},
		"a cent is dealt out unfairly":        {"member_parts", `UPDATE invoice_line_members m SET amount = amount + CASE user_id WHEN 'u1' THEN 0.02 ELSE -0.02 END WHERE (invoice_id, n) = (SELECT invoice_id, n FROM invoice_line_members WHERE user_id IN ('u1', 'u4') AND quantity > 0 GROUP BY 1, 2 HAVING count(*) = 2 LIMIT 1) AND user_id IN ('u1', 'u4')`},
		"a total is too high":                 {"invoice_total", `UPDATE invoices SET total = total + 0.01 WHERE id = 'acme/2026-10-01'`},
		"a subtotal is too high":              {"invoice_total", `UPDATE invoices SET subtotal = subtotal + 0.01 WHERE id = 'beta/2026-10-31'`},
		"a discount is too high":              {"discount content_hash", `UPDATE invoice_lines SET amount = amount - 0.01 WHERE kind = 'discount'`},
		"a discount of another sum":           {"discount content_hash", `UPDATE invoice_lines SET unit_price = unit_price - 1 WHERE kind = 'discount'`},
		"a discount is lost":                  {"discount invoice_total", `DELETE FROM invoice_lines WHERE kind = 'discount' AND invoice_id = 'acme/2026-10-01'`},
		"late usage had another discount":     {"discount", `UPDATE periods SET discount = 11 WHERE org_id = 'acme' AND id = '2026-10-01'`},
		"the discount's sum is off":           {"invoice_total", `UPDATE invoices SET discount = discount + 0.01 WHERE id = 'acme/2026-10-01'`},
		"a description is changed":            {"content_hash", `UPDATE invoice_lines SET description = 'a gift' WHERE n = 1`},
		"an invoice is dated back":            {"content_hash", `UPDATE invoices SET finalized_at = finalized_at - interval '1 microsecond'`},
		"a hash is changed":                   {"content_hash", `UPDATE invoices SET content_hash = 'x'`},
		"an invoice of another's period":      {"invoice_period", `DROP INDEX invoices_one_live; UPDATE invoices SET org_id = 'beta', period_id = '2026-10-04', revision = 2 WHERE id = 'acme/2026-10-01'`},
		"an invoice that covers more":         {"invoice_period", `UPDATE invoices SET period_end = period_end + interval '1 day' WHERE id = 'acme/2026-10-01'`},
		"a small amount that is collected":    {"invoice_outcome", `UPDATE invoices SET status = 'open' WHERE id = 'beta/2026-10-04'`},
		"a large amount that is settled":      {"invoice_outcome", `UPDATE invoices SET status = 'settled' WHERE id = 'acme/2026-10-01'`},
		"a carried amount is billed twice":    {"carried_forward", `UPDATE invoices SET carried_into = NULL WHERE id = 'beta/2026-10-04'`},
		"another amount is carried":           {"carried_forward", `UPDATE invoice_lines SET amount = amount + 1 WHERE kind = 'carried_forward'`},
		"a carried amount is lost":            {"carried_forward", `DELETE FROM invoice_lines WHERE kind = 'carried_forward'`},
		"an item too few":                     {"provider_items", `DELETE FROM provider_items WHERE n = 1 AND invoice_id = 'acme/2026-10-01'`},
		"a carried invoice is published":      {"provider_items", `UPDATE invoices SET stripe_invoice_id = 'in_x' WHERE id = 'beta/2026-10-04'`},
		"more came in than was asked":         {"payments_sum paid_settled", `UPDATE invoices SET amount_settled = 0.01 WHERE id = 'acme/2026-10-01'`},
		"two payments of one invoice":         {"payments_sum", `DROP INDEX payments_one_success; UPDATE payments SET status = 'succeeded' WHERE invoice_id = 'acme/2026-10-01'`},
		"paid and nothing came in":            {"paid_settled", `DELETE FROM payments WHERE status = 'succeeded'`},
		"settled otherwise by nothing":        {"paid_settled", `UPDATE invoices SET amount_settled = 0 WHERE id = 'acme/2026-11-01.2'`},
		"paid by hand":                        {"paid_settled", `UPDATE invoices SET status = 'paid', amount_paid = total WHERE id = 'acme/2026-11-01'`},
		"unpaid again":                        {"paid_settled", `UPDATE invoices SET status = 'open' WHERE id = 'acme/2026-10-01'`},
		"money for a withdrawn invoice":       {"paid_settled", `UPDATE invoices SET status = 'void', paid_at = NULL WHERE id = 'acme/2026-10-01'`},
		"a key of another attempt":            {"payment_attempts", `UPDATE payments SET idempotency_key = idempotency_key || '0' WHERE attempt = 2`},
		"an attempt is skipped":               {"payment_attempts", `UPDATE payments SET attempt = 3 WHERE attempt = 2`},
		"an attempt over more than the total": {"payment_attempts", `UPDATE payments SET amount = amount * 2 WHERE attempt = 1`},
		"two attempts at once":                {"payment_in_flight", `DROP INDEX payments_one_in_flight; INSERT INTO payments (invoice_id, attempt, status, amount, idempotency_key, created_at) SELECT invoice_id, 2, 'processing', amount, replace(idempotency_key, '/1', '/2'), created_at FROM payments WHERE status = 'unknown'`},
		"an attempt after the end":            {"payment_in_flight", `UPDATE invoices SET status = 'written_off' WHERE id = 'acme/2026-11-01'`},
		"a crossing without a notice":         {"notice_missing", `DELETE FROM notices WHERE scope = 'organization' AND threshold = 75`},
		"a member's without a notice":         {"notice_missing", `DELETE FROM notices WHERE scope = 'seat_tier' AND subject = 'u1'`},
		"a pool's without a notice":           {"notice_missing", `DELETE FROM notices WHERE scope = 'seat_tier' AND subject = 'chat_claude_code'`},
		"a limit that was cut by hand":        {"notice_missing", `UPDATE limits SET amount = 0.01 WHERE scope = 'user'`},
		"a notice below its threshold":        {"notice_unsound", `UPDATE notices SET spent = 0.01 WHERE scope = 'organization' AND threshold = 75`},
		"a notice of what was never spent":    {"notice_unsound", `UPDATE notices SET subject = 'u8' WHERE scope = 'seat_tier' AND subject = 'u1'`},
		"an entry is lost":                    {"ledger_balance", `DELETE FROM ledger_entries WHERE account = 'cash'`},
		"an entry is changed":                 {"ledger_balance ledger_revenue", `UPDATE ledger_entries SET amount = amount + 0.01 WHERE account = 'revenue'`},
		"a transaction of nothing":            {"ledger_balance ledger_cash", `DELETE FROM ledger_entries WHERE transaction_id IN (SELECT id FROM ledger_transactions WHERE kind = 'payment')`},
		"cash that never came":                {"ledger_cash", `UPDATE payments SET status = 'failed' WHERE status = 'succeeded'`},
		"money in another's name":             {"ledger_cash", `UPDATE ledger_entries SET invoice_id = 'acme/2026-11-01' WHERE account = 'cash'`},
		"a booking of an invoice is lost":     {"ledger_receivable ledger_revenue", `DELETE FROM ledger_entries WHERE invoice_id = 'acme/2026-11-01'; DELETE FROM ledger_transactions WHERE invoice_id = 'acme/2026-11-01'`},
		"what was carried is owed twice":      {"ledger_receivable", `UPDATE ledger_entries SET invoice_id = 'beta/2026-10-31' WHERE invoice_id = 'beta/2026-10-04' AND amount < 0 AND account = 'receivable'`},
		"given up in the ledger alone":        {"ledger_receivable ledger_bad_debt", `UPDATE ledger_entries SET account = 'bad_debt' WHERE invoice_id = 'acme/2026-11-01' AND account = 'receivable'`},
		"the guard of edges is off":           {"final_rows", `ALTER TABLE invoices DISABLE TRIGGER invoices_move_forward`},
		"the guard of the ledger is off":      {"final_rows", `ALTER TABLE ledger_entries DISABLE TRIGGER ledger_entries_are_final`},
		"the balance is not watched":          {"final_rows", `ALTER TABLE ledger_entries DISABLE TRIGGER ledger_entries_balance`},
		"a number is missing":                 {"invoice_numbers", `UPDATE installation SET last_invoice_number = last_invoice_number + 1`},
		"a number was never drawn":            {"invoice_numbers", `UPDATE invoices SET number = 'INV-000099' WHERE id = 'acme/2026-10-01'`},
		"the guard of lines is off":           {"final_rows", `ALTER TABLE invoice_lines DISABLE TRIGGER invoice_lines_are_final`},
		"the guard of invoices is gone":       {"final_rows", `DROP TRIGGER invoices_are_final ON invoices`},
	} {
		t.Run(name, func(t *testing.T) {
			f := &fixture{f.Store, t, t.Context(), f.pool}
			defer f.restore(c.corrupt)
			f.spoil(c.corrupt)
			found, err := f.Verify(f.ctx, "", "")
			require.NoError(t, err)
			named := map[string]bool{}
			for _, d := range found {
				named[d.Check] = true
				require.NotEmpty(t, d.Subject)
				require.NotEqual(t, d.Expected, d.Actual, d)
			}
			for check := range strings.SplitSeq(c.checks, " ") {
				require.True(t, named[check], "%s is not among %v", check, found)
			}
		})
	}
	f.clean()
}

// spoil runs statements with triggers and foreign keys off.
func (f *fixture) spoil(statements string) {
	f.t.Helper()
	err := pgx.BeginFunc(f.ctx, f.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(f.ctx, `SET LOCAL session_replication_role = replica`); err != nil {
			return err
		}
		for statement := range strings.SplitSeq(statements, ";") {
			tag, err := tx.Exec(f.ctx, statement)
			if err != nil {
				return err
			}
			if verb, _, _ := strings.Cut(strings.TrimSpace(statement), " "); verb == "UPDATE" || verb == "DELETE" || verb == "INSERT" {
				require.Positive(f.t, tag.RowsAffected(), "nothing was spoilt")
			}
		}
		return nil
	})
	require.NoError(f.t, err)
}

// ownTables lists the schema's tables.
const ownTables = `SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'schema_version' ORDER BY 1`

// backUp keeps a copy of every row; restore brings back what statements have
// spoilt.
func (f *fixture) backUp() {
	f.t.Helper()
	f.eachTable(`CREATE SCHEMA IF NOT EXISTS backup`, func(table string) string {
		return `CREATE TABLE backup.` + table + ` AS TABLE public.` + table
	})
}

func (f *fixture) restore(spoilt string) {
	f.t.Helper()
	f.eachTable(`SET LOCAL session_replication_role = replica`, func(table string) string {
		if !strings.Contains(spoilt, " "+table+" ") {
			return ""
		}
		return `DELETE FROM public.` + table + `; INSERT INTO public.` + table + ` OVERRIDING SYSTEM VALUE SELECT * FROM backup.` + table
	})
	if !strings.Contains(spoilt, "DROP") && !strings.Contains(spoilt, "ALTER") {
		return
	}
	for _, statement := range []string{
		`CREATE UNIQUE INDEX IF NOT EXISTS invoices_one_live ON invoices (org_id, period_id) WHERE status <> 'void'`,
		`CREATE UNIQUE INDEX IF NOT EXISTS payments_one_in_flight ON payments (invoice_id) WHERE status IN ('unknown', 'processing')`,
		`CREATE UNIQUE INDEX IF NOT EXISTS payments_one_success ON payments (invoice_id) WHERE status = 'succeeded'`,
		`ALTER TABLE invoice_lines ENABLE TRIGGER invoice_lines_are_final`,
		`ALTER TABLE invoices ENABLE TRIGGER invoices_move_forward`,
		`ALTER TABLE ledger_entries ENABLE TRIGGER ledger_entries_are_final`,
		`ALTER TABLE ledger_entries ENABLE TRIGGER ledger_entries_balance`,
		`CREATE OR REPLACE TRIGGER invoices_are_final BEFORE UPDATE OF total ON invoices FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()`,
	} {
		_, err := f.pool.Exec(f.ctx, statement)
		require.NoError(f.t, err)
	}
}

func (f *fixture) eachTable(first string, statement func(table string) string) {
	f.t.Helper()
	err := pgx.BeginFunc(f.ctx, f.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(f.ctx, first); err != nil {
			return err
		}
		rows, err := tx.Query(f.ctx, ownTables)
		if err != nil {
			return err
		}
		tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return err
		}
		for _, table := range tables {
			for one := range strings.SplitSeq(statement(table), ";") {
				if _, err := tx.Exec(f.ctx, one); err != nil { // an empty one does nothing
					return err
				}
			}
		}
		return nil
	})
	require.NoError(f.t, err)
}

func TestManyDifferencesOfOneCheckAreCounted(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	items := make([]billing.UsageItem, 150)
	for i := range items {
		items[i] = use("e"+string(rune('0'+i/100))+string(rune('0'+i/10%10))+string(rune('0'+i%10)), "u1", october, 1)
	}
	f.store(items...)
	f.spoil(`UPDATE rates SET output = output * 2`)
	found, err := f.Verify(f.ctx, "acme", "")
	require.NoError(t, err)
	count, last := 0, postgres.Difference{}
	for _, d := range found {
		if d.Check == "event_rate" {
			count, last = count+1, d
		}
	}
	require.Equal(t, 101, count)
	require.Equal(t, postgres.Difference{Check: "event_rate", Organization: "acme", Subject: "more", Expected: "0", Actual: "50"}, last)
}

func TestOurInvoicesAreHeldAgainstTheProviders(t *testing.T) {
	t.Parallel()
	f := newYear(t)
	usd := func(invoice string) billing.Money {
		i, err := f.Invoice(f.ctx, invoice, false)
		require.NoError(t, err)
		return i.Total
	}
	var asked []string
	theirs := map[string]billing.ProviderInvoiceState{}
	fetch := func(_ context.Context, id string) (billing.ProviderInvoiceState, error) {
		asked = append(asked, id)
		state, ok := theirs[id]
		if !ok {
			return state, billing.NotFound("no invoice %s", id)
		}
		return state, nil
	}
	sound := func() {
		theirs["in_1"] = billing.ProviderInvoiceState{Status: "paid", Total: usd(octoberInvoice), Charges: 1, Charged: usd(octoberInvoice)}
		theirs["in_2"] = billing.ProviderInvoiceState{Status: "paid", Total: usd("acme/2026-11-01"), Charges: 1, Charged: usd("acme/2026-11-01")} // our attempt is still unknown
		theirs["in_3"] = billing.ProviderInvoiceState{Status: "paid", Total: usd("acme/2026-11-01.2")}
	}
	verify := func() []postgres.Difference {
		found, err := f.VerifyProvider(f.ctx, "acme", fetch)
		require.NoError(t, err)
		return found
	}
	sound()
	require.Empty(t, verify())
	require.Equal(t, []string{"in_2", "in_3", "in_1"}, []string{asked[1], asked[2], asked[0]})

	for name, c := range map[string]struct {
		check string
		state billing.ProviderInvoiceState
	}{
		"unpaid there":           {"provider_status", billing.ProviderInvoiceState{Status: "open", Total: usd(octoberInvoice), Charges: 1, Charged: usd(octoberInvoice)}},
		"over another total":     {"provider_total", billing.ProviderInvoiceState{Status: "paid", Total: usd("acme/2026-11-01"), Charges: 1, Charged: usd(octoberInvoice)}},
		"charged twice":          {"provider_charges", billing.ProviderInvoiceState{Status: "paid", Total: usd(octoberInvoice), Charges: 2, Charged: usd(octoberInvoice)}},
		"paid and not charged":   {"provider_charges", billing.ProviderInvoiceState{Status: "paid", Total: usd(octoberInvoice), Charged: usd(octoberInvoice)}},
		"in another currency":    {"provider_total", billing.ProviderInvoiceState{Status: "paid", Total: billing.Money{Amount: usd(octoberInvoice).Amount, Currency: "EUR"}, Charges: 1, Charged: usd(octoberInvoice)}},
		"charged another amount": {"provider_cash", billing.ProviderInvoiceState{Status: "paid", Total: usd(octoberInvoice), Charges: 1, Charged: usd("acme/2026-11-01")}},
		"withdrawn there alone":  {"provider_status", billing.ProviderInvoiceState{Status: "void", Total: usd(octoberInvoice), Charges: 1, Charged: usd(octoberInvoice)}},
	} {
		theirs["in_1"] = c.state
		found := verify()
		require.Len(t, found, 1, name)
		require.Equal(t, c.check, found[0].Check, name)
		require.Equal(t, octoberInvoice, found[0].Subject, name)
	}
	sound()
	delete(theirs, "in_1")
	require.Equal(t, "provider_invoice", verify()[0].Check)
	broken := errors.New("no answer")
	_, err := f.VerifyProvider(f.ctx, "acme", func(context.Context, string) (billing.ProviderInvoiceState, error) {
		return billing.ProviderInvoiceState{}, broken
	})
	require.ErrorIs(t, err, broken)
}
