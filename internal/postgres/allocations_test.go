package postgres_test

import (
	"encoding/json"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
)

// TestPartsThatAreDealtOutLineByLineAreThoseComputedAtOnce compares what is
// written with what the rules make of everything in memory, byte for byte: with
// more parts than are fetched at once, services, late usage, prices that several
// rates share, and a line whose usage was taken back by a later retraction.
func TestPartsThatAreDealtOutLineByLineAreThoseComputedAtOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.store(use("early", "zoe", october, 3_000_000), use("lone", "zoe", october.AddDate(0, 0, 1), 7))
	f.endOctober()
	f.issueOctober()
	november := october.AddDate(0, 1, 1)
	f.seat("user-0001", "chat", true)
	f.seat("user-0002", "chat", false)
	var items []billing.UsageItem
	for n := range 3200 {
		item := use(fmt.Sprintf("n%d", n), fmt.Sprintf("user-%04d", n*7919%3200), november, int64(n*31%997+1))
		item.Event.Quantities[billing.Input] = int64(n*17%4001 + 1)
		if n%10 == 0 {
			item.Event.User = ""
		}
		if n%3 == 0 { // another rate, at other prices
			item.Event.ServiceTier = billing.Batch
		}
		items = append(items, item)
	}
	for n, tier := range []string{billing.Standard, billing.Batch} { // web searches cost the same by either
		item := use(fmt.Sprintf("w%d", n), "user-0001", november, 1)
		item.Event.ServiceTier, item.Event.Quantities[billing.WebSearch] = tier, 3
		items = append(items, item)
	}
	late := use("late", "zoe", october.AddDate(0, 0, 2), 5)
	taken := billing.UsageItem{Event: billing.Event{ID: "r1", Organization: "acme", OccurredAt: november, Retracts: "early"}}
	f.store(append(items, late, taken)...)

	preview, err := f.PreviewInvoice(f.ctx, "acme", true)
	require.NoError(t, err)
	heads, err := f.PreviewInvoice(f.ctx, "acme", false)
	require.NoError(t, err)
	f.endPeriod("2026-11-01", october.AddDate(0, 2, 0))
	f.clock(october.AddDate(0, 2, 1))
	f.tryNovember()
	written, err := f.Invoice(f.ctx, novemberInvoice, true)
	require.NoError(t, err)
	require.JSONEq(t, asText(t, preview.Lines), asText(t, written.Lines))
	require.Equal(t, preview.Total.String(), written.Total.String())
	parts := 0
	for i := range preview.Lines {
		parts += len(preview.Lines[i].Members)
		preview.Lines[i].Members = nil
	}
	require.Greater(t, parts, 5000)
	require.JSONEq(t, asText(t, preview), asText(t, heads), "without members, all else is the same")
	f.clean()
}

func asText(t *testing.T, value any) string {
	t.Helper()
	data, err := json.Marshal(value)
	require.NoError(t, err)
	return string(data)
}

func TestALineWhoseUsageWasTakenBackByOthersIsWritten(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.store(use("a", "u1", october, 1_000_000), use("b", "u2", october, 1_000_000))
	f.exec(`UPDATE usage_totals SET output = -output WHERE user_id = 'u2'`) // as only a late retraction could make it
	f.endOctober()
	require.Equal(t, billing.StatusSettled, f.issueOctober().Status)
	written, err := f.Invoice(f.ctx, octoberInvoice, true)
	require.NoError(t, err)
	require.Len(t, written.Lines, 1)
	require.Equal(t, "0.00 USD", written.Lines[0].Amount.String())
	require.Equal(t, []string{"u1 5.00 USD", "u2 -5.00 USD"}, []string{
		written.Lines[0].Members[0].User + " " + written.Lines[0].Members[0].Amount.String(),
		written.Lines[0].Members[1].User + " " + written.Lines[0].Members[1].Amount.String(),
	})
}

func TestAPartWithoutALineIsRefused(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.seat("u1", "chat", false)
	f.endOctober()
	f.issueOctober()
	_, err := f.pool.Exec(f.ctx, `INSERT INTO invoice_line_members VALUES ('acme/2026-10-01', 9, 'u1', 1, 1, 1)`)
	require.ErrorContains(t, err, "hangs under no line")
}

// TestNumbersHaveNoGapsAndNoTwins issues fifty invoices at once, while every
// fifth transaction dies after its number was drawn and is begun again.
func TestNumbersHaveNoGapsAndNoTwins(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const orgs = 50
	var list []billing.Organization
	for n := range orgs {
		list = append(list, billing.Organization{
			ID: fmt.Sprintf("org-%02d", n), StartsAt: october, TestClock: true, Now: october.AddDate(0, 1, 0),
		})
	}
	_, err := f.CreateOrganizations(f.ctx, list, tester)
	require.NoError(t, err)
	f.exec(`CREATE TABLE deaths (org text PRIMARY KEY); GRANT ALL ON deaths TO PUBLIC`)
	f.exec(`INSERT INTO deaths SELECT 'org-' || lpad((n * 5)::text, 2, '0') FROM generate_series(0, 9) n`)
	f.exec(`CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM deaths WHERE org = NEW.org_id) THEN RAISE EXCEPTION 'the database died'; END IF;
    RETURN NULL;
END $$`)
	f.exec(`CREATE CONSTRAINT TRIGGER die AFTER INSERT ON invoices DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION die()`)
	var wait sync.WaitGroup
	for _, org := range list {
		wait.Go(func() {
			_, err := f.Accrue(f.ctx, org.ID, "")
			require.NoError(t, err)
			_, err = f.IssueInvoice(f.ctx, org.ID, "2026-10-01", 1)
			if err != nil {
				require.ErrorContains(t, err, "the database died")
				_, err = f.pool.Exec(f.ctx, `DELETE FROM deaths WHERE org = $1`, org.ID)
				require.NoError(t, err)
				_, err = f.IssueInvoice(f.ctx, org.ID, "2026-10-01", 1)
			}
			require.NoError(t, err)
		})
	}
	wait.Wait()
	var first, last string
	var numbers int
	require.NoError(t, f.pool.QueryRow(f.ctx, `SELECT min(number), max(number), count(DISTINCT number) FROM invoices`).Scan(&first, &last, &numbers))
	require.Equal(t, "INV-000001 INV-000050 50", fmt.Sprint(first, " ", last, " ", numbers))
	f.clean()
}

func TestWhatWasIssuedIsNeitherDeletedNorEmptied(t *testing.T) {
	t.Parallel()
	f := newIssued(t)
	for _, statement := range []string{
		`DELETE FROM invoices`, `TRUNCATE invoices CASCADE`, `TRUNCATE invoice_lines CASCADE`, `TRUNCATE invoice_line_members`,
		`DELETE FROM invoice_lines`, `UPDATE invoices SET number = 'INV-9'`, `UPDATE invoice_line_members SET amount = 1`,
	} {
		_, err := f.pool.Exec(f.ctx, statement)
		require.ErrorContains(t, err, "cannot change", statement)
	}
}
