package postgres

import (
	"slices"

	"github.com/arrears-dev/arrears/internal/billing"
)

// refuseSource says why an event is not taken by the path by which it came, or "".
// One that was stored already came by a path that held then.
func (in *intake) refuseSource(item *billing.UsageItem) string {
	if in.stored {
		return ""
	}
	return in.org.RefuseSource(item.Event.Product, item.Source)
}

// keepSourceRefusals has refused events looked up that may be stored already, and
// keeps the answer to those refused by their source that are another content under
// a known id: two paths report one request differently, and the reason why the
// second is not taken is that there are two.
func keepSourceRefusals(answers []billing.UsageAnswer, lookUp func() error) error {
	before := slices.Clone(answers)
	if err := lookUp(); err != nil {
		return err
	}
	for i := range answers {
		if before[i].Field == "product" && answers[i].Status == billing.UsageConflict {
			answers[i] = before[i]
		}
	}
	return nil
}

// splitWrites returns the event with its cache writes divided by the cost that its
// source states, where it does not say itself how they divide. Stated costs are in
// USD, so they say nothing beside prices in another currency.
func (in *intake) splitWrites(e *billing.Event, rate *billing.Rate) *billing.Event {
	if !e.CacheSplitAssumed || !e.StatedCost.Valid || in.org.Currency != "USD" {
		return e
	}
	split := *e
	split.Quantities = rate.SplitWrites(e)
	return &split
}
