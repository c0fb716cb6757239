package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/shopspring/decimal"

	"github.com/arrears-dev/arrears/internal/billing"
)

// CorrectionRequest is a correction of an issued invoice that a person asks for.
type CorrectionRequest struct {
	Kind      billing.CorrectionKind
	Amount    decimal.NullDecimal // of a settlement, null = what remains; of a credit note
	Line      string              // the key of the charge line that a credit note is about; "" = the invoice
	Reference string              // of a settlement, such as the bank's
}

// InvoiceCorrection is a correction of an issued invoice, as it is shown.
type InvoiceCorrection struct {
	ID          int64                  `json:"id"`
	Invoice     string                 `json:"invoice"`
	Kind        billing.CorrectionKind `json:"kind"`
	Status      string                 `json:"status"` // requested, done, refused
	Amount      *billing.Money         `json:"amount"`
	ToCredit    bool                   `json:"to_credit"`
	Line        string                 `json:"line"`
	Reference   string                 `json:"reference"`
	Number      string                 `json:"number"` // of a credit note
	Failure     string                 `json:"failure"`
	RequestedAt time.Time              `json:"requested_at"`
	DoneAt      *time.Time             `json:"done_at"`
}

// How far a correction has come.
const (
	correctionRequested = "requested"
	correctionDone      = "done"
	correctionRefused   = "refused"
)

// correction is a correction as it is worked on.
type correction struct {
	ID        int64
	Kind      billing.CorrectionKind
	Status    string
	Amount    decimal.NullDecimal
	Line      string
	Reference string
	Actor     string
	Reason    string
	Tried     bool
}

const correctionColumns = `
SELECT id, kind, status, amount, line_key, reference, actor, reason, tried_at IS NOT NULL
  FROM invoice_corrections
 WHERE invoice_id = $1`

// corrections lists those of the invoice that were not refused, oldest first.
func (c *collecting) corrections(ctx context.Context) ([]correction, error) {
	rows, err := c.tx.Query(ctx, correctionColumns+` AND status <> 'refused' ORDER BY id`, c.ID)
	if err != nil {
		return nil, wrap("read the corrections of "+c.ID, err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[correction])
	return list, wrap("read the corrections of "+c.ID, err)
}

// readCorrection reads the one that is to be carried out, if there is any.
func (c *collecting) readCorrection(ctx context.Context) error {
	rows, err := c.tx.Query(ctx, correctionColumns+` AND status = 'requested'`, c.ID)
	if err != nil {
		return wrap("read the correction of "+c.ID, err)
	}
	asked, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[correction])
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	c.correction = &asked
	return wrap("read the correction of "+c.ID, err)
}

// CorrectInvoice records that a person wants an issued invoice corrected, and has
// its collection carry that out; what the provider need not know of is done at
// once. Asking for the same again returns what was recorded and changes nothing.
func (s *Store) CorrectInvoice(ctx context.Context, invoice string, want CorrectionRequest, by billing.Actor) (stands InvoiceCorrection, err error) {
	err = s.inTx(ctx, func(tx pgx.Tx) error {
		c, err := openCorrectable(ctx, tx, invoice, want.Kind)
		if err != nil {
			return err
		}
		known, err := c.corrections(ctx)
		if err != nil {
			return err
		}
		asked := findSame(known, want, by, !c.unsettled())
		if asked == nil {
			if asked, err = c.ask(ctx, want, by); err != nil {
				return err
			}
		}
		stands, err = readInvoiceCorrection(ctx, tx, asked.ID, c.Currency)
		return err
	})
	return stands, wrap("correct "+invoice, err)
}

// openCorrectable takes an invoice's lock. To withdraw one opens its period again,
// so nothing is issued, and no usage stored in it, meanwhile.
func openCorrectable(ctx context.Context, tx pgx.Tx, invoice string, kind billing.CorrectionKind) (*collecting, error) {
	if kind == billing.CorrectionVoid {
		if err := lockForReopening(ctx, tx, invoice); err != nil {
			return nil, err
		}
	}
	return openCollection(ctx, tx, invoice)
}

// findSame returns the correction that a request repeats. There is one void and
// one write-off; a settlement is told from another by its amount and reference,
// a credit note by its amount, line and reason. What remains is no other payment
// while one is under way, and none once the invoice is settled.
func findSame(known []correction, want CorrectionRequest, by billing.Actor, settled bool) *correction {
	for i := range known {
		k := &known[i]
		same := k.Kind == want.Kind
		switch want.Kind {
		case billing.CorrectionVoid, billing.CorrectionWriteOff:
		case billing.CorrectionSettlement:
			rest := !want.Amount.Valid && (settled || k.Status == correctionRequested)
			same = same && k.Reference == want.Reference && (rest || equal(k.Amount, want.Amount))
		case billing.CorrectionCreditNote:
			same = same && k.Line == want.Line && k.Reason == by.Reason && equal(k.Amount, want.Amount)
		}
		if same {
			return k
		}
	}
	return nil
}

func equal(a, b decimal.NullDecimal) bool {
	return a.Valid == b.Valid && a.Decimal.Equal(b.Decimal)
}

// ask checks a request against the invoice as it stands, and records it.
func (c *collecting) ask(ctx context.Context, want CorrectionRequest, by billing.Actor) (*correction, error) {
	if c.correction != nil {
		return nil, billing.Conflict("invoice %q: a %s was asked for and is not carried out yet; see starter audit %s", c.ID, words(c.correction.Kind), c.Org)
	}
	asked := &correction{
		Kind: want.Kind, Status: correctionRequested, Amount: want.Amount, Line: want.Line, Reference: want.Reference,
		Actor: by.Name, Reason: by.Reason,
	}
	if err := c.check(ctx, asked); err != nil {
		return nil, err
	}
	if err := c.insertCorrection(ctx, asked); err != nil {
		return nil, err
	}
	if _, err := audit(ctx, c.tx, c.Org, by, asked.action(), c.ID, statusForAudit(c.Status), asked.forAudit(correctionRequested)); err != nil {
		return nil, err
	}
	here, err := c.concernsNobodyElse(ctx, asked)
	if err != nil {
		return nil, err
	}
	if !here {
		return asked, nudge(ctx, c.tx, c.Org, "collect/"+c.ID)
	}
	c.correction = asked
	if err := c.carryOut(ctx, ""); err != nil {
		return nil, err
	}
	return asked, c.save(ctx)
}

// concernsNobodyElse reports whether a correction can be carried out without the
// provider: what is owed back on a paid invoice is our own promise, and of an
// invoice that was never made known, or is void already, it knows nothing or all.
func (c *collecting) concernsNobodyElse(ctx context.Context, asked *correction) (bool, error) {
	if !c.unsettled() {
		return true, nil
	}
	if asked.Kind != billing.CorrectionVoid {
		return c.unknownPart(ctx)
	}
	var tried bool
	err := c.tx.QueryRow(ctx, `SELECT stripe_tried_at IS NOT NULL FROM invoices WHERE id = $1`, c.ID).Scan(&tried)
	return !tried, wrap("read "+c.ID, err)
}

func (c *collecting) insertCorrection(ctx context.Context, asked *correction) error {
	const statement = `
INSERT INTO invoice_corrections (org_id, invoice_id, kind, status, amount, line_key, reference, actor, reason, requested_at)
VALUES (@org, @invoice, @kind, 'requested', @amount, @line, @reference, @actor, @reason, @now)
RETURNING id`
	err := c.tx.QueryRow(ctx, statement, pgx.NamedArgs{
		"org": c.Org, "invoice": c.ID, "kind": asked.Kind, "amount": asked.Amount, "line": asked.Line,
		"reference": asked.Reference, "actor": asked.Actor, "reason": asked.Reason, "now": c.Now,
	}).Scan(&asked.ID)
	return wrap("record the correction of "+c.ID, err)
}

func (a *correction) by() billing.Actor { return billing.Actor{Name: a.Actor, Reason: a.Reason} }

func (a *correction) action() string {
	return map[billing.CorrectionKind]string{
		billing.CorrectionVoid: "invoices.void", billing.CorrectionWriteOff: "invoices.write_off",
		billing.CorrectionSettlement: "invoices.mark_paid", billing.CorrectionCreditNote: "invoices.credit",
	}[a.Kind]
}

func (a *correction) forAudit(status string) map[string]any {
	entry := map[string]any{"correction": a.ID, "correction_status": status}
	if a.Amount.Valid {
		entry["amount"] = a.Amount.Decimal
	}
	if a.Line != "" {
		entry["line"] = a.Line
	}
	if a.Reference != "" {
		entry["reference"] = a.Reference
	}
	return entry
}

func words(kind billing.CorrectionKind) string {
	return map[billing.CorrectionKind]string{
		billing.CorrectionVoid: "void", billing.CorrectionWriteOff: "write-off",
		billing.CorrectionSettlement: "payment made elsewhere", billing.CorrectionCreditNote: "credit note",
	}[kind]
}

const shownCorrection = `
SELECT id, invoice_id, kind, status, amount, to_credit, line_key, reference, coalesce(number, ''), failure, requested_at, done_at
  FROM invoice_corrections`

func readInvoiceCorrection(ctx context.Context, q querier, id int64, currency billing.Currency) (InvoiceCorrection, error) {
	list, err := readInvoiceCorrections(ctx, q, currency, shownCorrection+` WHERE id = $1`, id)
	if err != nil || len(list) == 0 {
		return InvoiceCorrection{}, err
	}
	return list[0], nil
}

func readInvoiceCorrections(ctx context.Context, q querier, currency billing.Currency, statement string, args ...any) ([]InvoiceCorrection, error) {
	rows, err := q.Query(ctx, statement, args...)
	if err != nil {
		return nil, wrap("read corrections", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (i InvoiceCorrection, err error) {
		var amount decimal.NullDecimal
		err = row.Scan(&i.ID, &i.Invoice, &i.Kind, &i.Status, &amount, &i.ToCredit, &i.Line, &i.Reference, &i.Number, &i.Failure,
			&i.RequestedAt, &i.DoneAt)
		if amount.Valid {
			i.Amount = &billing.Money{Amount: amount.Decimal, Currency: currency}
		}
		i.RequestedAt = i.RequestedAt.UTC()
		if i.DoneAt != nil {
			*i.DoneAt = i.DoneAt.UTC()
		}
		return i, err
	})
	return list, wrap("read corrections", err)
}

// InvoiceCorrection returns a correction as it stands.
func (s *Store) InvoiceCorrection(ctx context.Context, invoice string, id int64) (InvoiceCorrection, error) {
	issued, err := s.Invoice(ctx, invoice, false)
	if err != nil {
		return InvoiceCorrection{}, err
	}
	return readInvoiceCorrection(ctx, s.pool, id, issued.Currency)
}
