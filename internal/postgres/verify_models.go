package postgres

import (
	"cmp"
	"context"

	"github.com/jackc/pgx/v5"
)

// Under which other names usage of a model arrived is written down once for each
// period that bills it.
const spellingsAreTheirEvents = `
WITH arrived AS (
    SELECT DISTINCT period_id, model, sent_model
      FROM usage_events
     WHERE org_id = @org AND rate_id IS NOT NULL AND retracts IS NULL AND sent_model IS NOT NULL AND (@period = '' OR period_id = @period)
), kept AS (
    SELECT period_id, model, sent_model
      FROM model_spellings
     WHERE org_id = @org AND (@period = '' OR period_id = @period)
)
SELECT concat_ws(' ', 'model', coalesce(a.model, k.model), 'sent as', coalesce(a.sent_model, k.sent_model), 'in', coalesce(a.period_id, k.period_id)),
       CASE WHEN a.model IS NULL THEN 'not sent' ELSE 'written down' END,
       CASE WHEN k.model IS NULL THEN 'not written down' ELSE 'written down' END
  FROM arrived a
  FULL JOIN kept k USING (period_id, model, sent_model)
 WHERE a.model IS NULL OR k.model IS NULL
 ORDER BY 1`

// checkModels holds the model by which each event was priced against what its
// sender's name means by the price book, which never changes. A model whose prices
// were all withdrawn since is not judged.
func (v *verification) checkModels(ctx context.Context) error {
	const statement = `
SELECT DISTINCT model, coalesce(sent_model, model)
  FROM usage_events
 WHERE org_id = @org AND rate_id IS NOT NULL AND retracts IS NULL AND (@period = '' OR period_id = @period)
 ORDER BY 1, 2`
	rater, err := newRater(ctx, v.tx, v.book)
	if err != nil {
		return err
	}
	rows, err := v.tx.Query(ctx, statement, v.args)
	if err != nil {
		return wrap("check model_name", err)
	}
	var model, sent string
	_, err = pgx.ForEachRow(rows, []any{&model, &sent}, func() error {
		meant := rater.Model(sent)
		if meant == model || meant == "" && rater.Model(model) == "" {
			return nil
		}
		v.found = append(v.found, Difference{
			Check: "model_name", Organization: v.org, Subject: "usage sent as " + sent, Expected: cmp.Or(meant, "no model"), Actual: model,
		})
		return nil
	})
	return wrap("check model_name", err)
}
