package postgres

import (
	"context"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/arrears-dev/arrears/internal/billing"
)

// PriceWithdrawal says what withdrawing a future price did.
type PriceWithdrawal struct {
	Name      string     `json:"name"`
	Revision  int64      `json:"revision"`
	Withdrawn []PriceRow `json:"withdrawn"`
}

// PriceRow is one row of a price book as the record of changes keeps it.
type PriceRow struct {
	Price             string            `json:"price"` // "model claude-haiku-4-5", "tier chat", …
	Speed             string            `json:"speed,omitempty"`
	EffectiveFrom     *time.Time        `json:"effective_from"` // null = always
	PromptTokensAbove int64             `json:"prompt_tokens_above,omitempty"`
	Terms             map[string]string `json:"terms"` // amounts and multipliers, exactly
}

// WithdrawPrices removes future prices before they start (an announced
// increase that was cancelled). What is, or may be, in force is refused. Where
// there is nothing to withdraw, nothing changes.
func (s *Store) WithdrawPrices(ctx context.Context, book string, which billing.PriceSelection, by billing.Actor) (done PriceWithdrawal, err error) {
	err = s.inTx(ctx, func(tx pgx.Tx) error {
		if err := lockExclusive(ctx, tx, bookLock(book)); err != nil {
			return err
		}
		stored, err := readPriceBook(ctx, tx, book)
		if err != nil {
			return err
		}
		settled, err := settledUntil(ctx, tx, book)
		if err != nil {
			return err
		}
		withdrawn, err := stored.Withdraw(which, settled)
		if err != nil {
			return err
		}
		done = PriceWithdrawal{Name: book, Revision: stored.Revision, Withdrawn: priceRows(withdrawn)}
		if withdrawn.Rows() == 0 {
			return nil
		}
		if err := refuseHeldSeats(ctx, tx, stored, withdrawn); err != nil {
			return err
		}
		if err := deletePrices(ctx, tx, stored, withdrawn); err != nil {
			return err
		}
		if done.Revision, err = reviseBook(ctx, tx, book); err != nil {
			return err
		}
		_, err = audit(ctx, tx, "", by, "prices.withdraw", book,
			map[string]any{"revision": stored.Revision, "rows": done.Withdrawn}, map[string]any{"revision": done.Revision})
		return err
	})
	return done, err
}

// refuseHeldSeats refuses to take away the only price of seats that were
// assigned for the time from which it holds.
func refuseHeldSeats(ctx context.Context, tx pgx.Tx, left, withdrawn *billing.PriceBook) error {
	const statement = `
SELECT a.org_id, a.user_id
  FROM seat_assignments a
  JOIN organizations o ON o.id = a.org_id
 WHERE o.price_book = @book AND a.tier = @tier AND (a.hipaa OR NOT @hipaa) AND (a.valid_to IS NULL OR a.valid_to > @from)
 ORDER BY 1, 2
 LIMIT 1`
	refuse := func(tier string, hipaa bool, from time.Time) error {
		var org, user string
		args := pgx.NamedArgs{"book": left.Name, "tier": tier, "hipaa": hipaa, "from": from}
		rows, err := tx.Query(ctx, statement, args)
		if err != nil {
			return wrap("look for seats on "+tier, err)
		}
		found := false
		if _, err := pgx.ForEachRow(rows, []any{&org, &user}, func() error { found = true; return nil }); err != nil || !found {
			return wrap("look for seats on "+tier, err)
		}
		return billing.Conflict("tier %s: user %s of organization %s holds a seat by this price and there is no earlier one; change or remove such seats first", tier, user, org)
	}
	for _, p := range withdrawn.Seats {
		if _, ok := left.Seat(p.Tier, p.EffectiveFrom); !ok {
			if err := refuse(p.Tier, false, p.EffectiveFrom); err != nil {
				return err
			}
		}
	}
	for _, p := range withdrawn.Surcharges {
		if _, ok := left.Surcharge(p.Name, p.Tier, p.EffectiveFrom); !ok {
			if err := refuse(p.Tier, true, p.EffectiveFrom); err != nil {
				return err
			}
		}
	}
	return nil
}

// deletePrices deletes price rows and the rates that they gave. No event can
// have such a rate: the price book's lock is held, and no event was ever
// accepted that far ahead. Totals would keep theirs by a foreign key.
func deletePrices(ctx context.Context, tx pgx.Tx, left, rows *billing.PriceBook) error {
	batch := &pgx.Batch{}
	for _, p := range rows.Models {
		batch.Queue(`DELETE FROM model_prices WHERE book = $1 AND superseded_revision IS NULL AND model = $2 AND speed = $3 AND effective_from = $4 AND prompt_tokens_above = $5`,
			rows.Name, p.Model, p.Speed, p.EffectiveFrom, p.PromptTokensAbove)
		batch.Queue(`DELETE FROM rates WHERE book = $1 AND model = $2 AND speed = $3 AND effective_from = $4 AND prompt_tokens_above = $5`,
			rows.Name, p.Model, p.Speed, p.EffectiveFrom, p.PromptTokensAbove)
	}
	for _, p := range rows.Seats {
		batch.Queue(`DELETE FROM seat_prices WHERE book = $1 AND superseded_revision IS NULL AND tier = $2 AND effective_from = $3`, rows.Name, p.Tier, p.EffectiveFrom)
	}
	for _, p := range rows.Surcharges {
		batch.Queue(`DELETE FROM surcharge_prices WHERE book = $1 AND superseded_revision IS NULL AND name = $2 AND tier = $3 AND effective_from = $4`,
			rows.Name, p.Name, p.Tier, p.EffectiveFrom)
	}
	for _, p := range rows.Tools {
		batch.Queue(`DELETE FROM tool_prices WHERE book = $1 AND superseded_revision IS NULL AND tool = $2 AND effective_from = $3`, rows.Name, p.Tool, p.EffectiveFrom)
		batch.Queue(`DELETE FROM rates WHERE book = $1 AND tools_from >= $2`, rows.Name, p.EffectiveFrom)
	}
	for _, p := range rows.ServiceTiers {
		batch.Queue(`DELETE FROM service_tier_prices WHERE book = $1 AND superseded_revision IS NULL AND tier = $2 AND effective_from = $3`, rows.Name, p.Tier, p.EffectiveFrom)
		batch.Queue(`DELETE FROM rates WHERE book = $1 AND service_tier = $2 AND tier_from = $3`, rows.Name, p.Tier, p.EffectiveFrom)
	}
	batch.Queue(`DELETE FROM model_aliases a WHERE book = $1 AND NOT EXISTS (SELECT FROM model_prices p WHERE p.book = a.book AND p.model = a.model)`, rows.Name)
	if len(rows.Tools) > 0 { // those beside the other tool's prices, without this one
		for _, r := range left.Rates() {
			queueRate(batch, left.Name, r)
		}
	}
	return wrap("withdraw prices of "+rows.Name, tx.SendBatch(ctx, batch).Close())
}

// reviseBook counts a change of a price book, so that no cached one rates on.
func reviseBook(ctx context.Context, tx pgx.Tx, book string) (revision int64, err error) {
	const statement = `UPDATE price_books SET revision = revision + 1, loaded_at = now() WHERE name = $1 RETURNING revision`
	err = tx.QueryRow(ctx, statement, book).Scan(&revision)
	return revision, wrap("revise price book "+book, err)
}

// priceRows lists the rows of a book for the record.
func priceRows(b *billing.PriceBook) []PriceRow {
	rows := []PriceRow{}
	for _, p := range b.Models {
		terms := map[string]string{}
		for class, amount := range p.PerMillion {
			terms[billing.Class(class).String()] = amount.String()
		}
		if p.Batch.Valid {
			terms["batch"] = p.Batch.Decimal.String()
		}
		if p.USOnly.Valid {
			terms["us_only"] = p.USOnly.Decimal.String()
		}
		rows = append(rows, PriceRow{"model " + p.Model, p.Speed, instantOrNil(p.EffectiveFrom), p.PromptTokensAbove, terms})
	}
	one := func(price string, from time.Time, terms map[string]string) {
		rows = append(rows, PriceRow{Price: price, EffectiveFrom: instantOrNil(from), Terms: terms})
	}
	for _, p := range b.Seats {
		one("tier "+p.Tier, p.EffectiveFrom, map[string]string{"amount": p.Amount.String()})
	}
	for _, p := range b.Surcharges {
		one("surcharge "+p.Name+" on tier "+p.Tier, p.EffectiveFrom, map[string]string{"amount": p.Amount.String()})
	}
	for _, p := range b.Tools {
		terms := map[string]string{"amount": p.Amount.String(), "per": strconv.FormatInt(p.Per, 10)}
		if p.Tool == billing.CodeExecution.String() {
			terms["minimum"], terms["free_per_month"] = strconv.FormatInt(p.Minimum, 10), strconv.FormatInt(p.FreePerMonth, 10)
		}
		one("tool "+p.Tool, p.EffectiveFrom, terms)
	}
	for _, p := range b.ServiceTiers {
		one("service tier "+p.Tier, p.EffectiveFrom, map[string]string{"multiplier": p.Multiplier.String()})
	}
	for _, a := range b.Aliases {
		one("alias "+a.Alias, time.Time{}, map[string]string{"model": a.Model})
	}
	if p := b.Fallback; p != nil {
		terms := map[string]string{}
		for class, amount := range p.PerMillion {
			terms[billing.Class(class).String()] = amount.String()
		}
		one("fallback", time.Time{}, terms)
	}
	return rows
}

func instantOrNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}
