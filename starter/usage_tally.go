package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/usage"
)

// shownReasons is how many refusals an import explains.
const shownReasons = 10

// tally counts the answers to the lines of a usage file. It is safe for
// concurrent use.
type tally struct {
	mu       sync.Mutex
	total    importTotals
	byReason map[reasonKey]int64
	rejects  *rejects // where refused lines are written; nil = nowhere
}

// maxReasons bounds how many reasons are told apart: some repeat what a sender wrote.
const maxReasons = 1000

// reasonKey is why lines were refused or parked.
type reasonKey struct {
	status        billing.UsageStatus
	field, reason string
}

// otherReasons stands for the reasons beyond the first thousand.
const otherReasons = "for other reasons"

// importTotals is what became of the lines of a usage file.
type importTotals struct {
	Lines      int64    `json:"lines"` // answered; blank ones not counted
	Accepted   int64    `json:"accepted"`
	Duplicates int64    `json:"duplicates"`
	Conflicts  int64    `json:"conflicts"`
	Rejected   int64    `json:"rejected"`
	Parked     int64    `json:"parked"`
	Reasons    []reason `json:"reasons"` // of the first lines rejected or in conflict

	ByReason []reasonCount `json:"by_reason"` // all lines rejected, in conflict or parked
}

// reasonCount is how many lines were refused or parked for one reason.
type reasonCount struct {
	Status billing.UsageStatus `json:"status"`
	Field  string              `json:"field"`
	Reason string              `json:"reason"`
	Events int64               `json:"events"`
}

// reason says why a line was refused.
type reason struct {
	Line   int64               `json:"line"`
	ID     string              `json:"id"`
	Status billing.UsageStatus `json:"status"`
	Field  string              `json:"field"`
	Reason string              `json:"reason"`
}

// reject counts a line that never reached the database.
func (t *tally) reject(item *usage.Item, rejection *usage.Rejection) {
	t.mu.Lock()
	defer t.mu.Unlock()
	answer := billing.UsageAnswer{Status: billing.UsageRejected, Field: rejection.Field, Reason: rejection.Reason}
	t.count(item.Line, item.Event.ID, item.Raw, answer)
}

// stored counts the answers to a batch; or, where its organisation does not
// exist, refuses each event of it. Any other error is returned.
func (t *tally) stored(lines []int64, items []billing.UsageItem, answers []billing.UsageAnswer, err error) error {
	unknown := errors.Is(err, billing.ErrNotFound)
	if err != nil && !unknown {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, line := range lines {
		answer := billing.UsageAnswer{Status: billing.UsageRejected, Field: "organization"}
		if unknown {
			answer.Reason = fmt.Sprintf("%q does not exist", items[i].Event.Organization)
		} else {
			answer = answers[i]
		}
		t.count(line, items[i].Event.ID, items[i].Raw, answer)
	}
	return nil
}

func (t *tally) count(line int64, id string, raw []byte, answer billing.UsageAnswer) {
	t.total.Lines++
	t.countReason(answer)
	switch answer.Status {
	case billing.UsageAccepted:
		t.total.Accepted++
		return
	case billing.UsageDuplicate:
		t.total.Duplicates++
		return
	case billing.UsageParked:
		t.total.Parked++
		return
	case billing.UsageConflict:
		t.total.Conflicts++
	default:
		t.total.Rejected++
	}
	why := reason{line, id, answer.Status, answer.Field, answer.Reason}
	t.explain(why)
	t.rejects.write(why, raw)
}

func (t *tally) countReason(answer billing.UsageAnswer) {
	if answer.Status == billing.UsageAccepted || answer.Status == billing.UsageDuplicate {
		return
	}
	if t.byReason == nil {
		t.byReason = map[reasonKey]int64{}
	}
	key := reasonKey{answer.Status, answer.Field, answer.Reason}
	if _, known := t.byReason[key]; !known && len(t.byReason) >= maxReasons {
		key = reasonKey{answer.Status, "", otherReasons}
	}
	t.byReason[key]++
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
	total.ByReason = []reasonCount{}
	for key, events := range t.byReason {
		total.ByReason = append(total.ByReason, reasonCount{key.status, key.field, key.reason, events})
	}
	slices.SortFunc(total.ByReason, func(a, z reasonCount) int {
		return cmp.Or(cmp.Compare(z.Events, a.Events), cmp.Compare(a.Status, z.Status), cmp.Compare(a.Field, z.Field), cmp.Compare(a.Reason, z.Reason))
	})
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
	if len(t.ByReason) > 0 {
		fmt.Fprintln(w, "\nWhy:")
		for i, r := range t.ByReason {
			if i == shownReasons {
				fmt.Fprintf(w, "  and %s, all of which -o json lists\n", plural(len(t.ByReason)-i, "other reason"))
				break
			}
			fmt.Fprintf(w, "  %s %s: %s\n", showCount(r.Events), r.Status, joinField(r.Field, r.Reason))
		}
	}
	if t.Parked > 0 {
		fmt.Fprintln(w, "\nParked usage holds its month's invoice until it has a price: starter usage parked ORG says what it waits for.")
	}
	if len(t.Reasons) == 0 {
		return
	}
	fmt.Fprintln(w, "\nThe first lines that were refused:")
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
