package postgres

import (
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/arrears-dev/arrears/internal/billing"
)

// Repricing says what correcting prices backwards did, or would do.
type Repricing struct {
	Name          string
	Revision      int64
	DryRun        bool
	Changes       []PriceChange
	Organizations []RepricedOrganization // with usage that it moved
	Releasable    int64                  // parked events whose model is priced now; they stay parked
}

// PriceChange is one row of a price book as it was and is.
type PriceChange struct {
	Before *PriceRow `json:"before"` // null = a row that was not there
	After  PriceRow  `json:"after"`
}

// RepricedOrganization is what a correction did to one organisation.
type RepricedOrganization struct {
	Organization string
	Events       int64         // that have another rate now: each sampling counts, and a retraction takes one away
	rows         int64         // all that have
	Difference   billing.Money // of the spend in open periods, at list price
}

// repricing is a stored change of prices that organisations are taken through.
type repricing struct {
	id       int64
	book     string
	by       billing.Actor
	models   []string // whose usage is rated anew, in pairs with
	speeds   []string
	tools    bool     // and that of tools
	tiers    []string // and that of service tiers
	rehearse bool     // count, take no lock, and change no usage: all is rolled back
}

// Reprice corrects prices backwards, over open periods only: rows of the edition
// that differ from the stored ones take their place, new ones are added whatever
// their date. Usage of open periods is rated anew, with its totals, spend
// counters and drafts; closed periods stay as they were billed. The prices
// change in one transaction and each organisation follows in one of its own;
// until it has, none of its periods closes. Where that was interrupted, the same
// call goes on; an error with the book's name says that it was. A dry run changes
// nothing.
func (s *Store) Reprice(ctx context.Context, edition *billing.PriceBook, by billing.Actor, dryRun bool) (done Repricing, err error) {
	if err := edition.Validate(); err != nil {
		return done, err
	}
	if dryRun {
		done, err = s.rehearseReprice(ctx, edition, by)
		return done, wrap("reprice "+edition.Name, err)
	}
	interrupted, err := s.finishReprices(ctx, edition.Name)
	if err != nil {
		return Repricing{Name: edition.Name}, wrap("reprice "+edition.Name, err)
	}
	err = s.inTx(ctx, func(tx pgx.Tx) error {
		if err := lockExclusive(ctx, tx, bookLock(edition.Name)); err != nil {
			return err
		}
		done, _, err = correctPrices(ctx, tx, edition, by)
		return err
	})
	if err != nil {
		return Repricing{}, wrap("reprice "+edition.Name, err)
	}
	moved, err := s.finishReprices(ctx, edition.Name)
	done.Organizations = append(interrupted, moved...)
	return done, wrap("reprice "+edition.Name, err)
}

// rehearseReprice does everything but change usage, and takes it all back.
func (s *Store) rehearseReprice(ctx context.Context, edition *billing.PriceBook, by billing.Actor) (done Repricing, err error) {
	tx, err := s.pool.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
	if err != nil {
		return done, err
	}
	defer tx.Rollback(ctx)
	done, change, err := correctPrices(ctx, tx, edition, by)
	done.DryRun = true
	if err != nil || change == nil {
		return done, err
	}
	change.rehearse = true
	orgs, err := openRepricings(ctx, tx, change.id)
	if err != nil {
		return done, err
	}
	for _, org := range orgs {
		moved, err := repriceOrganization(ctx, tx, change, org)
		if err != nil {
			return done, wrap(org, err)
		}
		if moved.rows > 0 {
			done.Organizations = append(done.Organizations, moved)
		}
	}
	return done, nil
}

// correctPrices stores corrected prices and notes which organisations have usage
// that they concern. A nil change is none: the prices are stored already.
func correctPrices(ctx context.Context, tx pgx.Tx, edition *billing.PriceBook, by billing.Actor) (done Repricing, change *repricing, err error) {
	stored, err := readPriceBook(ctx, tx, edition.Name)
	if err != nil {
		return done, nil, err
	}
	settled, err := settledUntil(ctx, tx, stored.Name)
	if err != nil {
		return done, nil, err
	}
	correction, err := stored.Correct(edition, settled)
	if err != nil {
		return done, nil, err
	}
	done = Repricing{Name: stored.Name, Revision: stored.Revision, Changes: priceChanges(correction)}
	if len(done.Changes) == 0 {
		return done, nil, nil
	}
	if err := refuseTwoReprices(ctx, tx, stored.Name); err != nil {
		return done, nil, err
	}
	if done.Revision, err = reviseBook(ctx, tx, stored.Name); err != nil {
		return done, nil, err
	}
	if err := supersedePrices(ctx, tx, correction.Superseded, done.Revision); err != nil {
		return done, nil, err
	}
	if err := addPrices(ctx, tx, stored, correction.Added, done.Revision); err != nil {
		return done, nil, err
	}
	change = concerned(correction.Added, settled)
	change.by = by
	if err := recordReprice(ctx, tx, change, done); err != nil {
		return done, nil, err
	}
	if _, err := audit(ctx, tx, "", by, "prices.reprice", stored.Name,
		map[string]any{"revision": stored.Revision, "rows": priceRows(correction.Superseded)},
		map[string]any{"revision": done.Revision, "rows": priceRows(correction.Added)}); err != nil {
		return done, nil, err
	}
	done.Releasable, err = countReleasable(ctx, tx, stored.Name)
	return done, change, err
}

// refuseTwoReprices keeps a correction from starting while another goes on.
func refuseTwoReprices(ctx context.Context, tx pgx.Tx, book string) error {
	const statement = `
SELECT EXISTS (SELECT
                 FROM price_change_organizations o
                 JOIN price_changes c ON c.id = o.change_id
                WHERE c.book = $1 AND o.done_at IS NULL)`
	var open bool
	if err := tx.QueryRow(ctx, statement, book).Scan(&open); err != nil {
		return wrap("look for open corrections", err)
	}
	if open {
		return billing.Conflict("another correction of price book %s is under way or was interrupted; run this again to finish it", book)
	}
	return nil
}

// priceChanges pairs each corrected row with the one whose place it takes.
func priceChanges(c billing.Correction) []PriceChange {
	changes := []PriceChange{}
	before := priceRows(c.Superseded)
	for _, after := range priceRows(c.Added) {
		change := PriceChange{After: after}
		for i := range before {
			if before[i].samePlace(after) {
				change.Before = &before[i]
			}
		}
		changes = append(changes, change)
	}
	return changes
}

func (r PriceRow) samePlace(z PriceRow) bool {
	sameFrom := r.EffectiveFrom == z.EffectiveFrom || r.EffectiveFrom != nil && z.EffectiveFrom != nil && r.EffectiveFrom.Equal(*z.EffectiveFrom)
	return r.Price == z.Price && r.Speed == z.Speed && r.PromptTokensAbove == z.PromptTokensAbove && sameFrom
}

// concerned names the usage that added prices of the past may rate anew.
func concerned(added *billing.PriceBook, settled time.Time) *repricing {
	change := &repricing{book: added.Name, models: []string{}, speeds: []string{}, tiers: []string{}}
	type pair struct{ model, speed string }
	var seen []pair
	for _, p := range added.Models {
		if p.EffectiveFrom.After(settled) || slices.Contains(seen, pair{p.Model, p.Speed}) {
			continue
		}
		seen = append(seen, pair{p.Model, p.Speed})
		change.models, change.speeds = append(change.models, p.Model), append(change.speeds, p.Speed)
	}
	for _, p := range added.ServiceTiers {
		if !p.EffectiveFrom.After(settled) && !slices.Contains(change.tiers, p.Tier) {
			change.tiers = append(change.tiers, p.Tier)
		}
	}
	change.tools = slices.ContainsFunc(added.Tools, func(p billing.ToolPrice) bool { return !p.EffectiveFrom.After(settled) })
	return change
}

// supersedePrices makes rows history as of a revision of the book, with the
// rates that they gave.
func supersedePrices(ctx context.Context, tx pgx.Tx, rows *billing.PriceBook, revision int64) error {
	const held = ` SET superseded_revision = $1, superseded_at = now() WHERE superseded_revision IS NULL AND book = $2 AND `
	const given = `UPDATE rates SET superseded_at = now() WHERE superseded_at IS NULL AND book = $1 AND `
	batch := &pgx.Batch{}
	for _, p := range rows.Models {
		batch.Queue(`UPDATE model_prices`+held+`model = $3 AND speed = $4 AND effective_from = $5 AND prompt_tokens_above = $6`,
			revision, rows.Name, p.Model, p.Speed, p.EffectiveFrom, p.PromptTokensAbove)
		batch.Queue(given+`model = $2 AND speed = $3 AND effective_from = $4 AND prompt_tokens_above = $5`,
			rows.Name, p.Model, p.Speed, p.EffectiveFrom, p.PromptTokensAbove)
	}
	for _, p := range rows.Seats {
		batch.Queue(`UPDATE seat_prices`+held+`tier = $3 AND effective_from = $4`, revision, rows.Name, p.Tier, p.EffectiveFrom)
	}
	for _, p := range rows.Surcharges {
		batch.Queue(`UPDATE surcharge_prices`+held+`name = $3 AND tier = $4 AND effective_from = $5`,
			revision, rows.Name, p.Name, p.Tier, p.EffectiveFrom)
	}
	for _, p := range rows.Tools {
		batch.Queue(`UPDATE tool_prices`+held+`tool = $3 AND effective_from = $4`, revision, rows.Name, p.Tool, p.EffectiveFrom)
	}
	for _, p := range rows.ServiceTiers {
		batch.Queue(`UPDATE service_tier_prices`+held+`tier = $3 AND effective_from = $4`, revision, rows.Name, p.Tier, p.EffectiveFrom)
		batch.Queue(given+`service_tier = $2 AND tier_from = $3`, rows.Name, p.Tier, p.EffectiveFrom)
	}
	return wrap("supersede prices of "+rows.Name, tx.SendBatch(ctx, batch).Close())
}

// recordReprice writes down what was corrected and the organisations whose open
// periods have usage that it concerns.
func recordReprice(ctx context.Context, tx pgx.Tx, change *repricing, done Repricing) error {
	const record = `
INSERT INTO price_changes (book, revision, actor, reason, changes, models, speeds, tools, service_tiers)
VALUES (@book, @revision, @actor, @reason, @changes, @models, @speeds, @tools, @tiers)
RETURNING id`
	err := tx.QueryRow(ctx, record, pgx.NamedArgs{
		"book": change.book, "revision": done.Revision, "actor": change.by.Name, "reason": change.by.Reason,
		"changes": done.Changes, "models": change.models, "speeds": change.speeds, "tools": change.tools, "tiers": change.tiers,
	}).Scan(&change.id)
	if err != nil {
		return wrap("record the correction", err)
	}
	const organizations = `
INSERT INTO price_change_organizations (change_id, org_id)
SELECT DISTINCT @change::bigint, t.org_id
  FROM usage_totals t
  JOIN organizations o ON o.id = t.org_id AND o.price_book = @book
  JOIN periods p ON p.org_id = t.org_id AND p.id = t.period_id AND p.closed_at IS NULL
  JOIN rates r ON r.id = t.rate_id
 WHERE (r.model, r.speed) IN (SELECT * FROM unnest(@models::text[], @speeds::text[]))
    OR (@tools AND (t.web_search <> 0 OR t.code_execution <> 0))
    OR r.service_tier = ANY(@tiers)`
	_, err = tx.Exec(ctx, organizations, pgx.NamedArgs{
		"change": change.id, "book": change.book, "models": change.models, "speeds": change.speeds, "tools": change.tools, "tiers": change.tiers,
	})
	return wrap("record the correction", err)
}

// finishReprices takes every organisation through the corrections of a book
// that it has not been through, each in one transaction.
func (s *Store) finishReprices(ctx context.Context, book string) (moved []RepricedOrganization, err error) {
	const statement = `
SELECT DISTINCT c.id, c.actor, c.reason, c.models, c.speeds, c.tools, c.service_tiers
  FROM price_changes c
  JOIN price_change_organizations o ON o.change_id = c.id AND o.done_at IS NULL
 WHERE c.book = $1
 ORDER BY c.id`
	rows, err := s.pool.Query(ctx, statement, book)
	if err != nil {
		return nil, err
	}
	changes, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (c repricing, err error) {
		c.book = book
		return c, row.Scan(&c.id, &c.by.Name, &c.by.Reason, &c.models, &c.speeds, &c.tools, &c.tiers)
	})
	if err != nil {
		return nil, err
	}
	for _, change := range changes {
		orgs, err := openRepricings(ctx, s.pool, change.id)
		if err != nil {
			return moved, err
		}
		for _, org := range orgs {
			var one RepricedOrganization
			if err := s.inTx(ctx, func(tx pgx.Tx) error {
				one, err = repriceOrganization(ctx, tx, &change, org)
				return err
			}); err != nil {
				return moved, wrap(org, err)
			}
			if one.rows > 0 {
				moved = append(moved, one)
			}
		}
	}
	return moved, nil
}

// openRepricings lists the organisations that a correction has yet to reach.
func openRepricings(ctx context.Context, q querier, change int64) ([]string, error) {
	rows, err := q.Query(ctx, `SELECT org_id FROM price_change_organizations WHERE change_id = $1 AND done_at IS NULL ORDER BY org_id`, change)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// repricingOpen reports whether a correction of prices has yet to reach an
// organisation: its periods do not close before.
func repricingOpen(ctx context.Context, q querier, org string) (open bool, err error) {
	const statement = `SELECT EXISTS (SELECT FROM price_change_organizations WHERE org_id = $1 AND done_at IS NULL)`
	err = q.QueryRow(ctx, statement, org).Scan(&open)
	return open, wrap("look for open corrections", err)
}
