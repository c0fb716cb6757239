package postgres

import (
	"bytes"
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/arrears-dev/arrears/internal/billing"
)

// maxCopyTries bounds how often a batch meets ids that another writer stores at
// the same moment.
const maxCopyTries = 5

// sortByID orders events by their ids, those of one id as they were sent.
func sortByID(placed []placedEvent) {
	slices.SortFunc(placed, func(a, z placedEvent) int {
		return cmp.Or(strings.Compare(a.event.ID, z.event.ID), cmp.Compare(a.index, z.index))
	})
}

// insertEvents stores the placed events whose ids are new, answers all of them, and
// returns the rows stored and what they used. It copies straight into the table, since
// most ids are new, and looks for known ids first only where the last batch of the
// organisation had some or the copy met one. placed is in order of id, and so go the
// rows, so that writers of the same ids wait for each other instead of deadlocking.
func (s *Store) insertEvents(ctx context.Context, tx pgx.Tx, in *intake, placed []placedEvent, items []billing.UsageItem, answers []billing.UsageAnswer) ([]placedEvent, usedUp, error) {
	fresh, again := splitRepeated(placed, answers)
	_, look := s.repeats.Load(in.org.ID)
	repeated := len(fresh) < len(placed)
	var sums usedUp
	var rows []placedEvent
	for try := 1; ; try++ {
		if look || try > 1 {
			before := len(fresh)
			var err error
			if fresh, err = answerKnown(ctx, tx, in.org.ID, fresh, again, answers); err != nil {
				return nil, nil, err
			}
			repeated = repeated || len(fresh) < before
		}
		var err error
		rows = expand(fresh)
		sums, err = in.copyEvents(ctx, tx, rows, items)
		if err == nil {
			break
		}
		if !isUniqueViolation(err) || try == maxCopyTries {
			return nil, nil, err
		}
	}
	if repeated {
		s.repeats.Store(in.org.ID, true)
	} else {
		s.repeats.Delete(in.org.ID)
	}
	for i := range rows {
		p := &rows[i]
		switch {
		case p.rate == nil && !p.free:
			answers[p.index] = billing.UsageAnswer{Status: billing.UsageParked, Field: "", Reason: p.parked}
		case p.event.Remark != "":
			answers[p.index] = billing.UsageAnswer{Status: billing.UsageAccepted, Field: "labels", Reason: p.event.Remark}
		default:
			answers[p.index] = billing.UsageAnswer{Status: billing.UsageAccepted}
		}
	}
	return rows, sums, nil
}

// expand lists the rows of events: one for each sampling.
func expand(events []placedEvent) []placedEvent {
	if !slices.ContainsFunc(events, func(p placedEvent) bool { return len(p.event.Samplings) > 0 }) {
		return events
	}
	rows := make([]placedEvent, 0, len(events)+len(events)/4)
	for i := range events {
		p := events[i]
		if len(p.event.Samplings) == 0 {
			rows = append(rows, p)
			continue
		}
		p.print() // of the whole
		parts := p.event.Parts()
		for n := range parts {
			row := p
			row.event, row.part, row.parts = &parts[n], int16(n), 0
			if n == 0 {
				row.parts = int16(len(parts))
			}
			rows = append(rows, row)
		}
	}
	return rows
}

// splitRepeated answers events whose id occurs earlier in the same batch, and returns
// them apart from the others. placed is in order of id.
func splitRepeated(placed []placedEvent, answers []billing.UsageAnswer) (fresh, again []placedEvent) {
	fresh = placed[:0]
	for i := range placed {
		p := &placed[i]
		if n := len(fresh); n > 0 && fresh[n-1].event.ID == p.event.ID {
			answers[p.index] = repeatAnswer(fresh[n-1].print(), p)
			again = append(again, *p)
			continue
		}
		fresh = append(fresh, *p)
	}
	return fresh, again
}

// answerKnown answers events whose id is stored already, and returns the others. So it
// does those that come again in the batch: what is stored decides, not what the batch
// says first.
func answerKnown(ctx context.Context, tx pgx.Tx, orgID string, placed, again []placedEvent, answers []billing.UsageAnswer) ([]placedEvent, error) {
	// One look-up by the primary key for each id, whatever the planner thinks of
	// how many there are: it would rather read the whole table.
	const statement = `
SELECT e.event_id, e.fingerprint
  FROM unnest($2::text[]) AS u(id)
 CROSS JOIN LATERAL (SELECT event_id, fingerprint FROM usage_events WHERE org_id = $1 AND event_id = u.id ORDER BY part LIMIT 1) AS e`
	ids := make([]string, len(placed))
	for i := range placed {
		ids[i] = placed[i].event.ID
	}
	rows, err := tx.Query(ctx, statement, orgID, ids)
	if err != nil {
		return nil, err
	}
	known := map[string][]byte{}
	var id string
	var fingerprint []byte
	if _, err := pgx.ForEachRow(rows, []any{&id, &fingerprint}, func() error {
		known[id] = slices.Clone(fingerprint)
		return nil
	}); err != nil {
		return nil, err
	}
	fresh := placed[:0]
	for i := range placed {
		p := &placed[i]
		if stored, ok := known[p.event.ID]; ok {
			answers[p.index] = repeatAnswer(stored, p)
			continue
		}
		fresh = append(fresh, *p)
	}
	for i := range again {
		if stored, ok := known[again[i].event.ID]; ok {
			answers[again[i].index] = repeatAnswer(stored, &again[i])
		}
	}
	return fresh, nil
}

func repeatAnswer(stored []byte, p *placedEvent) billing.UsageAnswer {
	if bytes.Equal(stored, p.print()) {
		return billing.UsageAnswer{Status: billing.UsageDuplicate}
	}
	return billing.UsageAnswer{Status: billing.UsageConflict, Field: "id", Reason: "another event with this id and other content is stored; the first one stays"}
}
