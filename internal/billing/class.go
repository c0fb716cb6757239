package billing

import (
	"fmt"

	"github.com/shopspring/decimal"
)

// Class is what is counted and priced: the token classes of a model, the
// requests of a server tool, and the seconds that code ran. Each prompt token is
// counted in exactly one class.
type Class int

// The classes, in the order in which invoices show them.
const (
	Input Class = iota
	Output
	CacheWrite5m
	CacheWrite1h
	CacheRead
	WebSearch
	CodeExecution // seconds

	NumClasses      = int(CodeExecution) + 1
	numTokenClasses = int(CacheRead) + 1
)

var classNames = [NumClasses]string{
	"input", "output", "cache_write_5m", "cache_write_1h", "cache_read", "web_search", "code_execution",
}

// Classes lists every class in invoice order.
func Classes() []Class {
	return []Class{Input, Output, CacheWrite5m, CacheWrite1h, CacheRead, WebSearch, CodeExecution}
}

// String is the class's name in files, columns and JSON.
func (c Class) String() string { return classNames[c] }

// IsToken tells token classes, priced per million, from the use of tools.
func (c Class) IsToken() bool { return int(c) < numTokenClasses }

// MarshalText writes the class's name.
func (c Class) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText reads a class's name.
func (c *Class) UnmarshalText(text []byte) error {
	for i, name := range classNames {
		if name == string(text) {
			*c = Class(i)
			return nil
		}
	}
	return fmt.Errorf("unknown token class %q", text)
}

// Quantities counts one event's use by class. An event's count is at most
// MaxCount, so sums over a batch stay far from overflow; longer sums are Totals.
type Quantities [NumClasses]int64

// MaxCount is the largest count that one event may carry.
const MaxCount = 1_000_000_000_000

// PromptTokens is the size of the request's prompt, by which a price band is
// chosen: uncached input, cache writes and cache reads.
func (q *Quantities) PromptTokens() int64 {
	return q[Input] + q[CacheWrite5m] + q[CacheWrite1h] + q[CacheRead]
}

// Add adds other to q.
func (q *Quantities) Add(other *Quantities) {
	for c := range q {
		q[c] += other[c]
	}
}

// Totals returns q as exact decimals.
func (q *Quantities) Totals() Totals {
	var t Totals
	for c := range q {
		t[c] = decimal.NewFromInt(q[c])
	}
	return t
}

// Totals counts use over any span of time; it cannot overflow.
type Totals [NumClasses]decimal.Decimal
