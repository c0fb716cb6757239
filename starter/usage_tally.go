package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/postgres"
	"github.com/arrears-dev/arrears/internal/usage"
)

// shownReasons is how many refusals an import explains.
const shownReasons = 10

// tally counts the answers to the lines of a usage file. It is safe for
// concurrent use.
type tally struct {
	mu    sync.Mutex
	total importTotals
}

// importTotals is what became of the lines of a usage file.
type importTotals struct {
	Lines      int64    `json:"lines"` // answered; blank ones not counted
	Accepted   int64    `json:"accepted"`
	Duplicates int64    `json:"duplicates"`
	Conflicts  int64    `json:"conflicts"`
	Rejected   int64    `json:"rejected"`
	Parked     int64    `json:"parked"`
	Reasons    []reason `json:"reasons"` // of the first lines rejected or in conflict
}

// reason says why a line was refused.
type reason struct {
	Line   int64                `json:"line"`
	ID     string               `json:"id"`
	Status postgres.UsageStatus `json:"status"`
	Field  string               `json:"field"`
	Reason string               `json:"reason"`
}

// reject counts a line that never reached the database.
func (t *tally) reject(line int64, id string, rejection *usage.Rejection) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.count(line, id, postgres.UsageAnswer{Status: postgres.UsageRejected, Field: rejection.Field, Reason: rejection.Reason})
}

// stored counts the answers to a batch; or, where its organisation does not
// exist, refuses each event of it. Any other error is returned.
func (t *tally) stored(lines []int64, items []postgres.UsageItem, answers []postgres.UsageAnswer, err error) error {
	unknown := errors.Is(err, billing.ErrNotFound)
	if err != nil && !unknown {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, line := range lines {
		answer := postgres.UsageAnswer{Status: postgres.UsageRejected, Field: "organization"}
		if unknown {
			answer.Reason = fmt.Sprintf("%q does not exist", items[i].Event.Organization)
		} else {
			answer = answers[i]
		}
		t.count(line, items[i].Event.ID, answer)
	}
	return nil
}

func (t *tally) count(line int64, id string, answer postgres.UsageAnswer) {
	t.total.Lines++
	switch answer.Status {
	case postgres.UsageAccepted:
		t.total.Accepted++
		return
	case postgres.UsageDuplicate:
		t.total.Duplicates++
		return
	case postgres.UsageParked:
		t.total.Parked++
		return
	case postgres.UsageConflict:
		t.total.Conflicts++
	default:
		t.total.Rejected++
	}
	t.explain(reason{line, id, answer.Status, answer.Field, answer.Reason})
}

// explain keeps the reasons of the lines that come first, whatever the order in
// which batches are answered.
func (t *tally) explain(r reason) {
	kept := t.total.Reasons
	if len(kept) == shownReasons && kept[len(kept)-1].Line <= r.Line {
		return
	}
	at, _ := slices.BinarySearchFunc(kept, r, func(a, z reason) int { return cmp.Compare(a.Line, z.Line) })
	kept = slices.Insert(kept, at, r)
	t.total.Reasons = kept[:min(len(kept), shownReasons)]
}

// totals returns what was counted so far.
func (t *tally) totals() importTotals {
	t.mu.Lock()
	defer t.mu.Unlock()
	total := t.total
	total.Reasons = append([]reason{}, total.Reasons...)
	return total
}

func (t importTotals) write(w io.Writer) {
	writeAligned(w, [][]string{
		{"accepted", showCount(t.Accepted)},
		{"duplicates", showCount(t.Duplicates)},
		{"conflicts", showCount(t.Conflicts)},
		{"rejected", showCount(t.Rejected)},
		{"parked", showCount(t.Parked)},
	}, []bool{false, true})
	if len(t.Reasons) == 0 {
		return
	}
	fmt.Fprintln(w, "\nThe first reasons:")
	for _, r := range t.Reasons {
		fmt.Fprintf(w, "  line %d: %s: %s\n", r.Line, r.Status, joinField(r.Field, r.Reason))
	}
}

func joinField(field, reason string) string {
	if field == "" {
		return reason
	}
	return field + ": " + reason
}
