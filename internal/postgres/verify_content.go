package postgres

import (
	"cmp"
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/arrears-dev/arrears/internal/billing"
)

// checkContents recomputes the content hash of every issued invoice from its rows:
// one that was changed behind the triggers' backs is found, even where all its sums
// still agree. It holds one line with its parts at a time.
func (v *verification) checkContents(ctx context.Context) error {
	const statement = `
SELECT` + invoiceColumns + `
  FROM invoices
 WHERE org_id = @org AND (@period = '' OR period_id = @period)
 ORDER BY id`
	rows, err := v.tx.Query(ctx, statement, v.args)
	if err != nil {
		return wrap("check content_hash", err)
	}
	invoices, err := pgx.CollectRows(rows, scanInvoice)
	if err != nil {
		return wrap("check content_hash", err)
	}
	for i := range invoices {
		hash := billing.NewContentHash()
		for line, err := range readLines(ctx, v.tx, invoices[i].ID, true) {
			if err != nil {
				return wrap("check content_hash", err)
			}
			hash.Line(&line)
		}
		if sum := hash.Sum(&invoices[i]); sum != invoices[i].ContentHash {
			v.differ("content_hash", invoices[i].ID, cmp.Or(invoices[i].ContentHash, "a hash"), sum)
		}
	}
	return nil
}
