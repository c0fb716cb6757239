package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/arrears-dev/arrears/internal/billing"
)

// Difference is one thing that is not as it must be.
type Difference struct {
	Check        string `json:"check"`
	Organization string `json:"organization"` // "" = of the whole database
	Subject      string `json:"subject"`
	Expected     string `json:"expected"`
	Actual       string `json:"actual"`
}

// check is one recount or comparison. Its statement returns the subject of each
// difference, what was expected, and what is there; nothing where all is well.
// The statements are written apart from the rules that they check, in plain SQL
// from the raw facts.
type check struct {
	name      string
	statement string
}

// maxDifferences bounds how many differences of one check are listed.
const maxDifferences = 100

// Verify recounts and reconciles everything inside the database, for one
// organisation ("" = all) and one period ("" = all), each organisation in one
// snapshot. It changes nothing. No difference is an empty list.
func (s *Store) Verify(ctx context.Context, org, period string) ([]Difference, error) {
	orgs, err := s.organizationsToVerify(ctx, org)
	if err != nil {
		return nil, err
	}
	differences := []Difference{}
	for _, id := range orgs {
		err := s.readOnly(ctx, func(tx pgx.Tx) error {
			v, err := newVerification(ctx, tx, id, period)
			if err != nil {
				return err
			}
			if err := v.runAll(ctx); err != nil {
				return err
			}
			differences = append(differences, v.found...)
			return nil
		})
		if err != nil {
			return nil, wrap("verify "+id, err)
		}
	}
	if org != "" {
		return differences, nil
	}
	err = s.readOnly(ctx, func(tx pgx.Tx) error {
		v := &verification{tx: tx, args: pgx.NamedArgs{}}
		err := v.run(ctx, databaseChecks())
		differences = append(differences, v.found...)
		return err
	})
	return differences, wrap("verify the database", err)
}

func (s *Store) organizationsToVerify(ctx context.Context, org string) ([]string, error) {
	if org != "" {
		return []string{org}, nil
	}
	rows, err := s.pool.Query(ctx, `SELECT id FROM organizations ORDER BY id`)
	if err != nil {
		return nil, wrap("list organizations", err)
	}
	orgs, err := pgx.CollectRows(rows, pgx.RowTo[string])
	return orgs, wrap("list organizations", err)
}

// verification is the checking of one organisation in one snapshot.
type verification struct {
	tx       pgx.Tx
	org      string
	book     string // its price book
	period   string // "" = all
	calendar billing.Calendar
	args     pgx.NamedArgs // of every statement
	found    []Difference
}

// newVerification reads what the checks are told about an organisation. SQL never
// computes a boundary of time: months and days come from the one calendar.
func newVerification(ctx context.Context, tx pgx.Tx, org, period string) (*verification, error) {
	const statement = `
SELECT currency, timezone, anchor_day, price_book, coalesce(clock_at, now()), (SELECT id::text FROM installation),
       @period = '' OR EXISTS (SELECT FROM periods WHERE org_id = @org AND id = @period)
  FROM organizations
 WHERE id = @org`
	v := &verification{tx: tx, org: org, period: period}
	var currency billing.Currency
	var zone, installation string
	var anchor int
	var now time.Time
	var periodExists bool
	err := tx.QueryRow(ctx, statement, pgx.NamedArgs{"org": org, "period": period}).
		Scan(&currency, &zone, &anchor, &v.book, &now, &installation, &periodExists)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil, billing.NotFound("organization %q does not exist", org)
	case err != nil:
		return nil, err
	case !periodExists:
		return nil, billing.NotFound("organization %q has no period %q", org, period)
	}
	if v.calendar, err = billing.NewCalendar(zone, anchor); err != nil {
		return nil, err
	}
	v.args = pgx.NamedArgs{
		"org": org, "period": period, "currency": currency, "book": v.book, "now": now, "installation": installation,
		"unit":            billing.FromMinor(1, currency).Amount,
		"smallest_charge": currency.SmallestCharge().Amount,
		"charge_digits":   currency.ChargeDigits(),
		"largest_charge":  currency.LargestCharge().Amount,
	}
	if err := v.findMonths(ctx); err != nil {
		return nil, err
	}
	return v, v.findDays(ctx)
}

// findMonths lists the billing months in which anything was spent, or is said to
// have been; of one period only, where one is asked for.
func (v *verification) findMonths(ctx context.Context) error {
	const statement = `
SELECT min(at), max(at)
  FROM (SELECT min(occurred_at) AS at FROM usage_events WHERE org_id = @org AND rate_id IS NOT NULL
         UNION ALL
        SELECT max(occurred_at) FROM usage_events WHERE org_id = @org AND rate_id IS NOT NULL
         UNION ALL
        SELECT window_start FROM spend_counters WHERE org_id = @org) used`
	const ofPeriod = `SELECT starts_at, starts_at FROM periods WHERE org_id = @org AND id = @period`
	query := statement
	if v.period != "" {
		query = ofPeriod
	}
	var first, last *time.Time
	if err := v.tx.QueryRow(ctx, query, v.args).Scan(&first, &last); err != nil {
		return wrap("find the months of usage", err)
	}
	starts, ends := []time.Time{}, []time.Time{}
	if first != nil {
		for month := v.calendar.Month(*first); !month.Start.After(*last); month = v.calendar.Month(month.End) {
			starts, ends = append(starts, month.Start), append(ends, month.End)
		}
	}
	v.args["month_starts"], v.args["month_ends"] = starts, ends
	return nil
}

// findDays lists the days of each live invoice's period, and how many the whole
// billing month has.
func (v *verification) findDays(ctx context.Context) error {
	const statement = `
SELECT id, period_start, period_end
  FROM invoices
 WHERE org_id = @org AND status <> 'void' AND (@period = '' OR period_id = @period)`
	rows, err := v.tx.Query(ctx, statement, v.args)
	if err != nil {
		return wrap("find the days of the invoices", err)
	}
	invoices, days, months := []string{}, []time.Time{}, []int64{}
	var id string
	var span billing.Period
	_, err = pgx.ForEachRow(rows, []any{&id, &span.Start, &span.End}, func() error {
		month := int64(len(v.calendar.Days(v.calendar.Month(span.Start))))
		for _, day := range v.calendar.Days(span) {
			invoices, days, months = append(invoices, id), append(days, day), append(months, month)
		}
		return nil
	})
	v.args["day_invoices"], v.args["days"], v.args["day_months"] = invoices, days, months
	return wrap("find the days of the invoices", err)
}

// runAll runs every check of an organisation.
func (v *verification) runAll(ctx context.Context) error {
	for _, checks := range [][]check{usageChecks(), periodChecks(), invoiceChecks(), lineChecks(), paymentChecks(), ledgerChecks(), noticeChecks()} {
		if err := v.run(ctx, checks); err != nil {
			return err
		}
	}
	for _, check := range []func(context.Context) error{v.checkModels, v.checkCalendar, v.checkContents} {
		if err := check(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (v *verification) run(ctx context.Context, checks []check) error {
	for _, c := range checks {
		if err := v.runOne(ctx, c); err != nil {
			return wrap("check "+c.name, err)
		}
	}
	return nil
}

func (v *verification) runOne(ctx context.Context, c check) error {
	rows, err := v.tx.Query(ctx, c.statement, v.args)
	if err != nil {
		return err
	}
	d := Difference{Check: c.name, Organization: v.org}
	listed, more := 0, 0
	_, err = pgx.ForEachRow(rows, []any{&d.Subject, &d.Expected, &d.Actual}, func() error {
		if listed == maxDifferences {
			more++
			return nil
		}
		listed++
		v.found = append(v.found, d)
		return nil
	})
	if more > 0 {
		v.found = append(v.found, Difference{Check: c.name, Organization: v.org, Subject: "more", Expected: "0", Actual: fmt.Sprint(more)})
	}
	return err
}

// databaseChecks are those of the whole database.
func databaseChecks() []check {
	return []check{
		{"invoice_numbers", invoiceNumbersHaveNoGap},
		{"credit_note_numbers", noteNumbersHaveNoGap},
		{"final_rows", finalRowsAreGuarded},
		{"provider_orphan", nothingIsAtTheProviderAlone},
		{"database_behind", databaseIsLevel},
	}
}

// Numbers are drawn in the transaction that writes the invoice: every one that
// was drawn is there, and no other. After the database went back, what is at
// the provider alone bears numbers, too.
const invoiceNumbersHaveNoGap = `
WITH borne AS (
    SELECT DISTINCT substring(number FROM '[0-9]+$')::bigint AS n FROM provider_orphans WHERE number <> ''
), drawn AS (
    SELECT n FROM installation, generate_series(1, last_invoice_number) AS n
    EXCEPT SELECT n FROM borne
), used AS (
    SELECT id, substring(number FROM '[0-9]+$')::bigint AS n
      FROM invoices
     WHERE substring(number FROM '[0-9]+$')::bigint NOT IN (SELECT n FROM borne)
)
SELECT coalesce(used.id, 'number ' || drawn.n),
       CASE WHEN drawn.n IS NULL THEN 'a number that was drawn' ELSE 'an invoice' END,
       CASE WHEN drawn.n IS NULL THEN 'number ' || coalesce(used.n::text, 'none') ELSE 'none' END
  FROM drawn
  FULL JOIN used ON used.n = drawn.n
 WHERE drawn.n IS NULL OR used.n IS NULL
 ORDER BY coalesce(drawn.n, used.n)`

// The same for credit notes, whose numbers are drawn when they are carried out.
const noteNumbersHaveNoGap = `
WITH drawn AS (
    SELECT generate_series(1, last_credit_note_number) AS n FROM installation
), used AS (
    SELECT number, substring(number FROM '[0-9]+$')::bigint AS n FROM invoice_corrections WHERE number IS NOT NULL
)
SELECT coalesce(used.number, 'number ' || drawn.n),
       CASE WHEN drawn.n IS NULL THEN 'a number that was drawn' ELSE 'a credit note' END,
       CASE WHEN drawn.n IS NULL THEN 'one that was not' ELSE 'none' END
  FROM drawn
  FULL JOIN used ON used.n = drawn.n
 WHERE drawn.n IS NULL OR used.n IS NULL
 ORDER BY coalesce(drawn.n, used.n)`

// What was issued, the ledger and the audit trail are kept from changing by
// triggers, the ledger from losing its balance, and invoices from going back; one
// that is off or gone protects nothing.
const finalRowsAreGuarded = `
SELECT guard.trigger_name, 'on', CASE t.tgenabled WHEN 'D' THEN 'off' WHEN 'R' THEN 'off' ELSE 'gone' END
  FROM (VALUES ('invoices_are_final'), ('invoice_lines_are_final'),
               ('invoice_line_members_are_final'), ('audit_log_is_final'), ('invoices_stay'), ('invoice_lines_stay'),
               ('invoice_line_members_stay'), ('invoice_line_members_hang_under_a_line'), ('invoice_releases_are_final'),
               ('invoices_move_forward'), ('invoice_corrections_are_final'), ('ledger_transactions_are_final'), ('ledger_entries_are_final'),
               ('provider_settlements_are_final'), ('provider_parts_are_final'), ('refunds_are_final'), ('disputes_are_final'),
               ('ledger_transactions_balance'), ('ledger_entries_balance')) AS guard (trigger_name)
  LEFT JOIN pg_trigger t ON t.tgname = guard.trigger_name
 WHERE coalesce(t.tgenabled, 'D') NOT IN ('O', 'A')
 ORDER BY 1`

// What the provider had done when the database went back is known again.
const databaseIsLevel = `
SELECT 'the database', 'level with the provider',
       'its server started anew or was replaced, and what the provider has since was not read yet: a worker does so within seconds'
  FROM database_incarnation
 WHERE ` + recoveryPending

// What carries our mark at the provider is one of our invoices, as far as
// the last sweep saw.
const nothingIsAtTheProviderAlone = `
SELECT o.stripe_invoice_id, 'recorded as the provider''s invoice of ' || o.invoice_id, 'recorded nowhere, ' || o.status || ' there'
  FROM provider_orphans o
 WHERE ` + isOrphan + `
 ORDER BY 1`
