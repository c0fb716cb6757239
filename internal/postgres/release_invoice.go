package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/shopspring/decimal"

	"github.com/arrears-dev/arrears/internal/billing"
)

// SetBounds sets the bounds that hold for organisations which have none of their
// own. It is called before the store is used.
func (s *Store) SetBounds(bounds billing.Bounds) { s.bounds = bounds }

// addBounds adds what a person must release: bounds that the invoice exceeds, and
// the organisation's wish to approve what is collected from it.
func (s *Store) addBounds(ctx context.Context, tx pgx.Tx, org billing.Organization, invoice *billing.Invoice, holds *billing.Holds) error {
	before, err := lastCharged(ctx, tx, org.ID, invoice)
	if err != nil {
		return err
	}
	bounds := s.boundsOf(org)
	holds.Reasons = bounds.Exceeded(invoice, before)
	collected := invoice.Total.Amount.GreaterThanOrEqual(invoice.Currency.SmallestCharge().Amount)
	if org.Approval && collected {
		holds.Reasons = append(holds.Reasons, "it awaits approval")
	}
	return nil
}

func (s *Store) boundsOf(org billing.Organization) billing.Bounds {
	return org.Bounds.Or(s.bounds).Or(billing.DefaultBounds(org.Currency))
}

// lastCharged returns what the last invoiced period before an invoice's charged;
// nil = there is none.
func lastCharged(ctx context.Context, tx pgx.Tx, org string, invoice *billing.Invoice) (*billing.Charged, error) {
	const statement = `
SELECT period_start, period_end, subtotal
  FROM invoices
 WHERE org_id = $1 AND period_start < $2 AND status <> 'void'
 ORDER BY period_start DESC
 LIMIT 1`
	before := &billing.Charged{}
	err := tx.QueryRow(ctx, statement, org, invoice.PeriodStart).Scan(&before.Period.Start, &before.Period.End, &before.Amount)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	return before, wrap("read what the period before charged", err)
}

// release decides whether people have released an invoice that is held.
func (s *Store) release(ctx context.Context, tx pgx.Tx, invoice *billing.Invoice, holds billing.Holds) (billing.Released, error) {
	releases, err := readReleases(ctx, tx, invoice.ID)
	if err != nil {
		return billing.Released{}, err
	}
	return holds.Release(invoice, releases, s.bounds.FourEyes), nil
}

func readReleases(ctx context.Context, tx pgx.Tx, invoiceID string) ([]billing.Release, error) {
	const statement = `
SELECT actor, total, bank_transfer, split
  FROM invoice_releases
 WHERE invoice_id = $1
 ORDER BY audit_entry`
	rows, err := tx.Query(ctx, statement, invoiceID)
	if err != nil {
		return nil, wrap("read the releases", err)
	}
	releases, err := pgx.CollectRows(rows, pgx.RowToStructByPos[billing.Release])
	return releases, wrap("read the releases", err)
}

// releaseRequest is what the audit entry of a release says beside who and why:
// the total that the person saw, and how it is to be paid if it is too large.
type releaseRequest struct {
	Total        decimal.Decimal `json:"total"`
	BankTransfer bool            `json:"bank_transfer"`
	Split        bool            `json:"split,omitempty"`
}

const releaseAction = "invoices.release"

// RequestRelease checks that a parked invoice can be released as it stands now,
// and writes the request to the audit trail. The invoice's workflow is told the
// entry's number only, and has it carried out by ReleaseInvoice. Where the same
// person released the same already, nothing is written and the entry is 0.
func (s *Store) RequestRelease(ctx context.Context, invoiceID string, way billing.ReleaseWay, by billing.Actor) (entry int64, err error) {
	orgID, periodID, revision, err := billing.ParseInvoiceID(invoiceID)
	if err != nil {
		return 0, err
	}
	err = s.inTx(ctx, func(tx pgx.Tx) error {
		org, err := readOrganization(ctx, tx, orgID)
		if err != nil {
			return err
		}
		p, err := readParkedPeriod(ctx, tx, orgID, periodID, revision)
		if err != nil {
			return err
		}
		invoice, _, holds, err := computeInvoice(ctx, tx, org, p, false)
		if err != nil {
			return err
		}
		switch {
		case len(holds.Faults) > 0:
			return billing.Conflict("invoice %q cannot be released: %s", invoiceID, holds.Faults[0])
		case holds.Oversize != "" && way == billing.ReleaseAsIs:
			return billing.Conflict("invoice %q cannot be charged: %s; accepted: --bank-transfer, to send it and have it paid by transfer, "+
				"or --split, to charge it in %d parts", invoiceID, holds.Oversize, len(billing.Split(invoice.Total)))
		case way == billing.ReleaseSplit && holds.Oversize == "":
			return billing.Conflict("invoice %q over %s can be charged at once: release it without --split", invoiceID, invoice.Total)
		case way == billing.ReleaseSplit && org.Collection == billing.SendInvoice:
			return billing.Conflict("invoice %q is sent, and nothing charged: organization %q pays by transfer; release it with --bank-transfer", invoiceID, orgID)
		case way == billing.ReleaseByBankTransfer && org.Email == "":
			return billing.Conflict("invoice %q cannot be sent: organization %q has no email", invoiceID, orgID)
		}
		asked := releaseRequest{
			Total: invoice.Total.Amount, BankTransfer: way == billing.ReleaseByBankTransfer, Split: way == billing.ReleaseSplit,
		}
		given, err := readReleases(ctx, tx, invoiceID)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(given, func(r billing.Release) bool {
			return r.Actor == by.Name && r.Total.Equal(asked.Total) && r.BankTransfer == asked.BankTransfer && r.Split == asked.Split
		}) {
			return nil
		}
		entry, err = audit(ctx, tx, orgID, by, releaseAction, invoiceID, nil, asked)
		return err
	})
	return entry, wrap("release invoice "+invoiceID, err)
}

// readParkedPeriod reads the period of a parked invoice, or says what it is instead.
func readParkedPeriod(ctx context.Context, tx pgx.Tx, orgID, periodID string, revision int) (period, error) {
	id := billing.InvoiceID(orgID, periodID, revision)
	p, err := readPeriod(ctx, tx, orgID, periodID)
	switch {
	case err != nil:
		return p, err
	case p.Revision != revision:
		return p, billing.NotFound("invoice %q does not exist", id)
	case !p.ClosedAt.IsZero():
		return p, billing.Conflict("invoice %q is issued: there is nothing to release", id)
	case p.ParkedReason == "":
		return p, billing.Conflict("invoice %q is not parked: there is nothing to release", id)
	}
	return p, nil
}

// ReleaseInvoice records a release that was requested, once, however often the
// request is carried out.
func (s *Store) ReleaseInvoice(ctx context.Context, orgID, periodID string, revision int, auditEntry int64) error {
	id := billing.InvoiceID(orgID, periodID, revision)
	const requested = `SELECT actor, after FROM audit_log WHERE id = $1 AND org_id = $2 AND action = $3 AND subject = $4`
	const insert = `
INSERT INTO invoice_releases (audit_entry, org_id, invoice_id, actor, total, bank_transfer, split, released_at)
VALUES (@entry, @org, @invoice, @actor, @total, @bank_transfer, @split, @now)
    ON CONFLICT (audit_entry) DO NOTHING`
	err := s.inTx(ctx, func(tx pgx.Tx) error {
		org, err := readOrganization(ctx, tx, orgID)
		if err != nil {
			return err
		}
		if _, err := readParkedPeriod(ctx, tx, orgID, periodID, revision); err != nil {
			return err
		}
		var actor string
		var after json.RawMessage
		err = tx.QueryRow(ctx, requested, auditEntry, orgID, releaseAction, id).Scan(&actor, &after)
		if errors.Is(err, pgx.ErrNoRows) {
			return billing.NotFound("audit entry %d asks for no release of invoice %q", auditEntry, id)
		}
		if err != nil {
			return err
		}
		var request releaseRequest
		if err := json.Unmarshal(after, &request); err != nil {
			return err
		}
		tag, err := tx.Exec(ctx, insert, pgx.NamedArgs{
			"entry": auditEntry, "org": orgID, "invoice": id, "actor": actor, "total": request.Total,
			"bank_transfer": request.BankTransfer, "split": request.Split, "now": org.Now,
		})
		if err != nil || tag.RowsAffected() == 0 {
			return err
		}
		return nudge(ctx, tx, orgID, "invoice/"+id) // so that a test clock knows that there is something to do
	})
	return wrap("release invoice "+id, err)
}
