package postgres

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/arrears-dev/arrears/internal/billing"
)

// PriceBookLoad says what loading a price book did.
type PriceBookLoad struct {
	Name     string `json:"name"`
	Revision int64  `json:"revision"`
	Added    int    `json:"added"` // price rows that are new
	Changed  bool   `json:"changed"`
	// Releasable counts parked events of the book's organisations whose model is
	// now priced.
	Releasable int64 `json:"releasable"`
}

// PriceBookSummary is one row of a list of price books.
type PriceBookSummary struct {
	Name     string    `json:"name"`
	Currency string    `json:"currency"`
	Revision int64     `json:"revision"`
	Models   int64     `json:"models"`
	Seats    int64     `json:"seats"`
	Aliases  int64     `json:"aliases"` // other names of its models
	LoadedAt time.Time `json:"loaded_at"`
}

// LoadPriceBook stores a price book: the same rows again change nothing, new
// effective dates are added, and a row that would change what was already priced
// is refused, with nothing half done.
func (s *Store) LoadPriceBook(ctx context.Context, book *billing.PriceBook, by billing.Actor) (load PriceBookLoad, err error) {
	if err := book.Validate(); err != nil {
		return load, err
	}
	err = s.inTx(ctx, func(tx pgx.Tx) error {
		load, err = loadPriceBook(ctx, tx, book, by)
		return err
	})
	return load, err
}

func loadPriceBook(ctx context.Context, tx pgx.Tx, book *billing.PriceBook, by billing.Actor) (load PriceBookLoad, err error) {
	if err := lockExclusive(ctx, tx, bookLock(book.Name)); err != nil {
		return load, err
	}
	const insert = `
INSERT INTO price_books (name, currency, revision)
VALUES ($1, $2, 0)
    ON CONFLICT (name) DO NOTHING`
	if _, err := tx.Exec(ctx, insert, book.Name, book.Currency); err != nil {
		return load, wrap("store price book "+book.Name, err)
	}
	stored, err := readPriceBook(ctx, tx, book.Name)
	if err != nil {
		return load, err
	}
	settled, err := settledUntil(ctx, tx, book.Name)
	if err != nil {
		return load, err
	}
	added, err := stored.Extend(book, settled)
	if err != nil {
		return load, err
	}
	load = PriceBookLoad{Name: book.Name, Revision: stored.Revision, Added: added.Rows(), Changed: added.Rows() > 0}
	if load.Changed {
		if err := addPrices(ctx, tx, stored, added, 0); err != nil {
			return load, err
		}
		if load.Revision, err = reviseBook(ctx, tx, book.Name); err != nil {
			return load, err
		}
		if _, err := audit(ctx, tx, "", by, "prices.load", book.Name, nil,
			map[string]any{"revision": load.Revision, "added": load.Added}); err != nil {
			return load, err
		}
	}
	if load.Changed {
		if err := nudgeParked(ctx, tx, book.Name); err != nil {
			return load, err
		}
	}
	load.Releasable, err = countReleasable(ctx, tx, book.Name)
	return load, err
}

// nudgeParked has the parked invoices of the book's organisations look again: the
// price that they waited for may be there now.
func nudgeParked(ctx context.Context, tx pgx.Tx, book string) error {
	const statement = `
SELECT DISTINCT p.org_id
  FROM periods p
  JOIN organizations o ON o.id = p.org_id
 WHERE o.price_book = $1 AND p.parked_reason <> '' AND p.closed_at IS NULL`
	rows, err := tx.Query(ctx, statement, book)
	if err != nil {
		return wrap("list parked invoices", err)
	}
	orgs, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return wrap("list parked invoices", err)
	}
	for _, org := range orgs {
		if err := nudgeDrafts(ctx, tx, org); err != nil {
			return err
		}
	}
	return nil
}

// settledUntil is the instant up to which usage may already have been priced by
// the book: the latest time of any of its organisations, and the tolerance for
// events that run ahead.
func settledUntil(ctx context.Context, tx pgx.Tx, book string) (until time.Time, err error) {
	const statement = `
SELECT greatest(now(), (SELECT max(clock_at) FROM organizations WHERE price_book = $1))`
	err = tx.QueryRow(ctx, statement, book).Scan(&until)
	return until.Add(billing.FutureTolerance).UTC(), wrap("read the time", err)
}

// addPrices stores the rows of added, as held since a revision of the book (0 =
// nothing was priced otherwise before), and every rate of the whole book that is
// not stored yet.
func addPrices(ctx context.Context, tx pgx.Tx, whole, added *billing.PriceBook, since int64) error {
	batch := &pgx.Batch{}
	for _, p := range added.Models {
		batch.Queue(`
INSERT INTO model_prices (book, model, speed, effective_from, prompt_tokens_above,
                          input, output, cache_write_5m, cache_write_1h, cache_read, batch, us_only, added_revision)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)`,
			added.Name, p.Model, p.Speed, p.EffectiveFrom, p.PromptTokensAbove,
			p.PerMillion[billing.Input], p.PerMillion[billing.Output], p.PerMillion[billing.CacheWrite5m],
			p.PerMillion[billing.CacheWrite1h], p.PerMillion[billing.CacheRead], p.Batch, p.USOnly, since)
	}
	for _, p := range added.Seats {
		products := p.Products
		if products == nil {
			products = []string{}
		}
		batch.Queue(`INSERT INTO seat_prices (book, tier, effective_from, amount, products, added_revision) VALUES ($1, $2, $3, $4, $5, $6)`,
			added.Name, p.Tier, p.EffectiveFrom, p.Amount, products, since)
	}
	for _, p := range added.Surcharges {
		batch.Queue(`INSERT INTO surcharge_prices (book, name, tier, effective_from, amount, added_revision) VALUES ($1, $2, $3, $4, $5, $6)`,
			added.Name, p.Name, p.Tier, p.EffectiveFrom, p.Amount, since)
	}
	for _, p := range added.Tools {
		batch.Queue(`INSERT INTO tool_prices (book, tool, effective_from, per, amount, minimum, free_per_month, added_revision) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
			added.Name, p.Tool, p.EffectiveFrom, p.Per, p.Amount, p.Minimum, p.FreePerMonth, since)
	}
	queueNamesAndTiers(batch, added, since)
	for _, p := range added.Tools {
		queueToolChange(batch, whole, p)
	}
	for _, r := range whole.Rates() {
		queueRate(batch, whole.Name, r)
	}
	return wrap("store the prices of "+added.Name, tx.SendBatch(ctx, batch).Close())
}

// queueNamesAndTiers stores what a book has beside its prices: other names of its
// models, multipliers of service tiers, and the fallback price.
func queueNamesAndTiers(batch *pgx.Batch, added *billing.PriceBook, since int64) {
	for _, a := range added.Aliases {
		batch.Queue(`INSERT INTO model_aliases (book, alias, model) VALUES ($1, $2, $3)`, added.Name, a.Alias, a.Model)
	}
	for _, p := range added.ServiceTiers {
		batch.Queue(`INSERT INTO service_tier_prices (book, tier, effective_from, multiplier, added_revision) VALUES ($1, $2, $3, $4, $5)`,
			added.Name, p.Tier, p.EffectiveFrom, p.Multiplier, since)
	}
	if p := added.Fallback; p != nil {
		batch.Queue(`
INSERT INTO fallback_prices (book, input, output, cache_write_5m, cache_write_1h, cache_read)
VALUES ($1, $2, $3, $4, $5, $6)
    ON CONFLICT (book) DO UPDATE
   SET input = excluded.input, output = excluded.output, cache_write_5m = excluded.cache_write_5m,
       cache_write_1h = excluded.cache_write_1h, cache_read = excluded.cache_read`,
			added.Name, p.PerMillion[billing.Input], p.PerMillion[billing.Output], p.PerMillion[billing.CacheWrite5m],
			p.PerMillion[billing.CacheWrite1h], p.PerMillion[billing.CacheRead])
	}
}

// queueToolChange makes the rates history that have another price of the tool
// for a time in which the added one holds: they stand beside another tool's prices.
func queueToolChange(batch *pgx.Batch, whole *billing.PriceBook, added billing.ToolPrice) {
	var until *time.Time
	for _, p := range whole.Tools {
		if p.Tool == added.Tool && p.EffectiveFrom.After(added.EffectiveFrom) && (until == nil || p.EffectiveFrom.Before(*until)) {
			until = &p.EffectiveFrom
		}
	}
	batch.Queue(`
UPDATE rates
   SET superseded_at = now()
 WHERE superseded_at IS NULL AND book = $1 AND tools_from >= $2 AND ($3::timestamptz IS NULL OR tools_from < $3)
   AND CASE $4::text WHEN 'web_search' THEN web_search_per ELSE code_execution_per END > 0`,
		whole.Name, added.EffectiveFrom, until, added.Tool)
}

// queueRate stores a rate. One that is stored keeps its prices, but a tool that
// had none is priced from then on: no event that used the tool has the rate.
func queueRate(batch *pgx.Batch, book string, r billing.Rate) {
	k := r.Key
	batch.Queue(`
INSERT INTO rates (book, model, speed, effective_from, prompt_tokens_above, service_tier, tier_from, us_only, tools_from,
                   input, output, cache_write_5m, cache_write_1h, cache_read, web_search, web_search_per,
                   code_execution, code_execution_per, code_execution_minimum)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)
    ON CONFLICT (book, model, speed, effective_from, prompt_tokens_above, service_tier, tier_from, us_only, tools_from) WHERE superseded_at IS NULL
    DO UPDATE
   SET web_search             = CASE WHEN rates.web_search_per = 0 THEN excluded.web_search ELSE rates.web_search END,
       web_search_per         = CASE WHEN rates.web_search_per = 0 THEN excluded.web_search_per ELSE rates.web_search_per END,
       code_execution         = CASE WHEN rates.code_execution_per = 0 THEN excluded.code_execution ELSE rates.code_execution END,
       code_execution_per     = CASE WHEN rates.code_execution_per = 0 THEN excluded.code_execution_per ELSE rates.code_execution_per END,
       code_execution_minimum = CASE WHEN rates.code_execution_per = 0 THEN excluded.code_execution_minimum ELSE rates.code_execution_minimum END
 WHERE rates.web_search_per = 0 AND excluded.web_search_per > 0
    OR rates.code_execution_per = 0 AND excluded.code_execution_per > 0`,
		book, k.Model, k.Speed, k.EffectiveFrom, k.PromptTokensAbove, k.ServiceTier, k.TierFrom, k.USOnly, k.ToolsFrom,
		r.Unit[billing.Input].Amount, r.Unit[billing.Output].Amount, r.Unit[billing.CacheWrite5m].Amount,
		r.Unit[billing.CacheWrite1h].Amount, r.Unit[billing.CacheRead].Amount,
		r.Unit[billing.WebSearch].Amount, r.Unit[billing.WebSearch].Per,
		r.Unit[billing.CodeExecution].Amount, r.Unit[billing.CodeExecution].Per, r.MinimumSeconds)
}

// PriceBooks lists the price books by name.
func (s *Store) PriceBooks(ctx context.Context) ([]PriceBookSummary, error) {
	const statement = `
SELECT name, currency, revision,
       (SELECT count(DISTINCT model) FROM model_prices WHERE book = name AND superseded_revision IS NULL),
       (SELECT count(DISTINCT tier) FROM seat_prices WHERE book = name AND superseded_revision IS NULL),
       (SELECT count(*) FROM model_aliases WHERE book = name),
       loaded_at
  FROM price_books
 ORDER BY name`
	rows, err := s.pool.Query(ctx, statement)
	if err != nil {
		return nil, wrap("list price books", err)
	}
	books, err := pgx.CollectRows(rows, pgx.RowToStructByPos[PriceBookSummary])
	return books, wrap("list price books", err)
}

// PriceBook returns a price book as it is stored.
func (s *Store) PriceBook(ctx context.Context, name string) (*billing.PriceBook, error) {
	return readPriceBook(ctx, s.pool, name)
}

func readPriceBook(ctx context.Context, q querier, name string) (*billing.PriceBook, error) {
	return readPriceBookAt(ctx, q, name, math.MaxInt64)
}

// heldAt selects the price rows that a book ($1) had at a revision ($2): those
// added by then and not yet superseded.
const heldAt = ` book = $1 AND added_revision <= $2 AND (superseded_revision IS NULL OR superseded_revision > $2)`

// readPriceBookAt reads a price book as it stood at a revision.
func readPriceBookAt(ctx context.Context, q querier, name string, revision int64) (*billing.PriceBook, error) {
	book := &billing.PriceBook{Name: name}
	err := q.QueryRow(ctx, `SELECT currency, revision FROM price_books WHERE name = $1`, name).Scan(&book.Currency, &book.Revision)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, billing.NotFound("price book %q does not exist", name)
	}
	if err != nil {
		return nil, wrap("read price book "+name, err)
	}
	for _, read := range []func(context.Context, querier, *billing.PriceBook, int64) error{
		readModelPrices, readSeatPrices, readOtherPrices, readServiceTiers, readNamesAndFallback,
	} {
		if err := read(ctx, q, book, revision); err != nil {
			return nil, wrap("read price book "+name, err)
		}
	}
	return book, nil
}

func readModelPrices(ctx context.Context, q querier, book *billing.PriceBook, revision int64) error {
	const statement = `
SELECT model, speed, effective_from, prompt_tokens_above,
       input, output, cache_write_5m, cache_write_1h, cache_read, batch, us_only
  FROM model_prices
 WHERE` + heldAt + `
 ORDER BY model, speed, effective_from, prompt_tokens_above`
	rows, err := q.Query(ctx, statement, book.Name, revision)
	if err != nil {
		return err
	}
	book.Models, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (p billing.ModelPrice, err error) {
		err = row.Scan(&p.Model, &p.Speed, &p.EffectiveFrom, &p.PromptTokensAbove,
			&p.PerMillion[billing.Input], &p.PerMillion[billing.Output], &p.PerMillion[billing.CacheWrite5m],
			&p.PerMillion[billing.CacheWrite1h], &p.PerMillion[billing.CacheRead], &p.Batch, &p.USOnly)
		p.EffectiveFrom = p.EffectiveFrom.UTC()
		return p, err
	})
	return err
}

func readSeatPrices(ctx context.Context, q querier, book *billing.PriceBook, revision int64) error {
	const seats = `SELECT tier, effective_from, amount, products FROM seat_prices WHERE` + heldAt + ` ORDER BY tier, effective_from`
	rows, err := q.Query(ctx, seats, book.Name, revision)
	if err != nil {
		return err
	}
	book.Seats, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (p billing.SeatPrice, err error) {
		err = row.Scan(&p.Tier, &p.EffectiveFrom, &p.Amount, &p.Products)
		p.EffectiveFrom = p.EffectiveFrom.UTC()
		return p, err
	})
	return err
}

func readOtherPrices(ctx context.Context, q querier, book *billing.PriceBook, revision int64) error {
	const surcharges = `SELECT name, tier, effective_from, amount FROM surcharge_prices WHERE` + heldAt + ` ORDER BY name, tier, effective_from`
	rows, err := q.Query(ctx, surcharges, book.Name, revision)
	if err != nil {
		return err
	}
	book.Surcharges, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (p billing.SurchargePrice, err error) {
		err = row.Scan(&p.Name, &p.Tier, &p.EffectiveFrom, &p.Amount)
		p.EffectiveFrom = p.EffectiveFrom.UTC()
		return p, err
	})
	if err != nil {
		return err
	}
	const tools = `SELECT tool, effective_from, per, amount, minimum, free_per_month FROM tool_prices WHERE` + heldAt + ` ORDER BY tool, effective_from`
	rows, err = q.Query(ctx, tools, book.Name, revision)
	if err != nil {
		return err
	}
	book.Tools, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (p billing.ToolPrice, err error) {
		err = row.Scan(&p.Tool, &p.EffectiveFrom, &p.Per, &p.Amount, &p.Minimum, &p.FreePerMonth)
		p.EffectiveFrom = p.EffectiveFrom.UTC()
		return p, err
	})
	return err
}

func readServiceTiers(ctx context.Context, q querier, book *billing.PriceBook, revision int64) error {
	const statement = `SELECT tier, effective_from, multiplier FROM service_tier_prices WHERE` + heldAt + ` ORDER BY tier, effective_from`
	rows, err := q.Query(ctx, statement, book.Name, revision)
	if err != nil {
		return err
	}
	book.ServiceTiers, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (p billing.ServiceTierPrice, err error) {
		err = row.Scan(&p.Tier, &p.EffectiveFrom, &p.Multiplier)
		p.EffectiveFrom = p.EffectiveFrom.UTC()
		return p, err
	})
	return err
}

// readNamesAndFallback reads what has no history: a name never changes its model, and
// nothing is billed by a fallback price.
func readNamesAndFallback(ctx context.Context, q querier, book *billing.PriceBook, _ int64) error {
	const aliases = `SELECT alias, model FROM model_aliases WHERE book = $1 ORDER BY model, alias`
	rows, err := q.Query(ctx, aliases, book.Name)
	if err != nil {
		return err
	}
	if book.Aliases, err = pgx.CollectRows(rows, pgx.RowToStructByPos[billing.ModelAlias]); err != nil {
		return err
	}
	const fallback = `SELECT input, output, cache_write_5m, cache_write_1h, cache_read FROM fallback_prices WHERE book = $1`
	var p billing.FallbackPrice
	err = q.QueryRow(ctx, fallback, book.Name).Scan(&p.PerMillion[billing.Input], &p.PerMillion[billing.Output],
		&p.PerMillion[billing.CacheWrite5m], &p.PerMillion[billing.CacheWrite1h], &p.PerMillion[billing.CacheRead])
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil
	case err == nil:
		book.Fallback = &p
	}
	return err
}

// rater returns the rater of a book at its present revision. Inside a
// transaction that holds the book's lock the answer stays true until it ends, so
// that a cached book can never rate by yesterday's prices.
func (s *Store) rater(ctx context.Context, q querier, book string) (*billing.Rater, error) {
	var revision int64
	if err := q.QueryRow(ctx, `SELECT revision FROM price_books WHERE name = $1`, book).Scan(&revision); err != nil {
		return nil, wrap("read the revision of price book "+book, err)
	}
	s.mu.RLock()
	cached := s.books[book]
	s.mu.RUnlock()
	if cached != nil && cached.Book.Revision == revision {
		return cached, nil
	}
	fresh, err := newRater(ctx, q, book)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.books[book] == nil || s.books[book].Book.Revision < revision {
		s.books[book] = fresh
	}
	return fresh, nil
}

// newRater reads a book and its rates as they are stored.
func newRater(ctx context.Context, q querier, book string) (*billing.Rater, error) {
	stored, err := readPriceBook(ctx, q, book)
	if err != nil {
		return nil, err
	}
	rates, err := readRates(ctx, q, book)
	if err != nil {
		return nil, err
	}
	return billing.NewRater(stored, rates), nil
}

func readRates(ctx context.Context, q querier, book string) ([]billing.Rate, error) {
	const statement = `
SELECT id, model, speed, effective_from, prompt_tokens_above, service_tier, tier_from, us_only, tools_from,
       input, output, cache_write_5m, cache_write_1h, cache_read, web_search, web_search_per,
       code_execution, code_execution_per, code_execution_minimum, superseded_at IS NOT NULL
  FROM rates
 WHERE book = $1`
	rows, err := q.Query(ctx, statement, book)
	if err != nil {
		return nil, wrap("read the rates of "+book, err)
	}
	rates, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (r billing.Rate, err error) {
		k, u := &r.Key, &r.Unit
		err = row.Scan(&r.ID, &k.Model, &k.Speed, &k.EffectiveFrom, &k.PromptTokensAbove, &k.ServiceTier, &k.TierFrom, &k.USOnly, &k.ToolsFrom,
			&u[billing.Input].Amount, &u[billing.Output].Amount, &u[billing.CacheWrite5m].Amount,
			&u[billing.CacheWrite1h].Amount, &u[billing.CacheRead].Amount, &u[billing.WebSearch].Amount, &u[billing.WebSearch].Per,
			&u[billing.CodeExecution].Amount, &u[billing.CodeExecution].Per, &r.MinimumSeconds, &r.Superseded)
		for _, class := range billing.Classes() {
			if class.IsToken() {
				u[class].Per = billing.TokensPer
			}
		}
		return r, err
	})
	return rates, wrap("read the rates of "+book, err)
}
