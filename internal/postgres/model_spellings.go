package postgres

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// spelling is another name under which usage of a model arrived in a period.
type spelling struct {
	period, model, sent string
}

func (s spelling) compare(z spelling) int {
	return cmp.Or(strings.Compare(s.period, z.period), strings.Compare(s.model, z.model), strings.Compare(s.sent, z.sent))
}

// writeSpellings writes down the names under which models arrived, where the price
// book has others. They are for people who look for a name: nothing is decided by
// them.
func writeSpellings(ctx context.Context, tx pgx.Tx, org string, rows []placedEvent) error {
	seen := map[spelling]bool{}
	var last spelling // most rows have that of the row before
	for i := range rows {
		p := &rows[i]
		if p.rate == nil || p.sentModel() == "" {
			continue
		}
		if s := (spelling{p.period, p.model, p.event.Model}); s != last {
			seen[s], last = true, s
		}
	}
	if len(seen) == 0 {
		return nil
	}
	spellings := slices.SortedFunc(maps.Keys(seen), spelling.compare)
	const statement = `
INSERT INTO model_spellings (org_id, period_id, model, sent_model)
SELECT @org, * FROM unnest(@periods::text[], @models::text[], @sent::text[])
    ON CONFLICT DO NOTHING`
	_, err := tx.Exec(ctx, statement, pgx.NamedArgs{
		"org":     org,
		"periods": column(spellings, func(s spelling) string { return s.period }),
		"models":  column(spellings, func(s spelling) string { return s.model }),
		"sent":    column(spellings, func(s spelling) string { return s.sent }),
	})
	return wrap("write down the names of models", err)
}

// readSpellings lists the other names under which each model arrived in a period;
// "" = in any.
func readSpellings(ctx context.Context, q querier, org, period string) (map[string][]string, error) {
	const statement = `
SELECT DISTINCT model, sent_model
  FROM model_spellings
 WHERE org_id = $1 AND ($2 = '' OR period_id = $2)
 ORDER BY model, sent_model`
	rows, err := q.Query(ctx, statement, org, period)
	if err != nil {
		return nil, wrap("read the names of models", err)
	}
	names := map[string][]string{}
	var model, sent string
	_, err = pgx.ForEachRow(rows, []any{&model, &sent}, func() error {
		names[model] = append(names[model], sent)
		return nil
	})
	return names, wrap("read the names of models", err)
}
