package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/shopspring/decimal"

	"github.com/arrears-dev/arrears/internal/billing"
)

// What flags take. Each implements pflag.Value, so that a value that cannot be
// read is refused with its flag's name and what is accepted.

// instant is a point in time.
type instant struct{ time.Time }

const acceptedInstant = "accepted: a time like 2026-10-01T00:00:00Z, or a date like 2026-10-01 for its first instant in UTC"

// String implements pflag.Value.
func (i *instant) String() string {
	if i.IsZero() {
		return ""
	}
	return i.UTC().Format(time.RFC3339Nano)
}

// Type implements pflag.Value.
func (i *instant) Type() string { return "time" }

// Set implements pflag.Value.
func (i *instant) Set(s string) (err error) {
	i.Time, err = parseInstant(s)
	return err
}

func parseInstant(s string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339Nano, time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC().Truncate(time.Microsecond), nil
		}
	}
	return time.Time{}, fmt.Errorf("%s", acceptedInstant)
}

// limitAmount is a limit's amount, or none.
type limitAmount struct {
	decimal.NullDecimal
	given bool
}

// largestAmount keeps typing errors with exponents out: a billion of anything.
var largestAmount = decimal.New(1, 12)

// String implements pflag.Value.
func (l *limitAmount) String() string {
	switch {
	case !l.given:
		return ""
	case !l.Valid:
		return "none"
	}
	return l.Decimal.String()
}

// Type implements pflag.Value.
func (l *limitAmount) Type() string { return "amount|none" }

// Set implements pflag.Value.
func (l *limitAmount) Set(s string) error {
	*l = limitAmount{given: true}
	if s == "none" {
		return nil
	}
	amount, err := decimal.NewFromString(s)
	if err != nil || strings.ContainsAny(s, "eE") || amount.IsNegative() || amount.GreaterThan(largestAmount) || amount.Exponent() < -6 {
		return fmt.Errorf("accepted: an amount like 500.00 that is not negative, 0 to block, or none for unlimited")
	}
	l.NullDecimal = decimal.NewNullDecimal(amount)
	return nil
}

// percentage is a negotiated discount.
type percentage struct{ decimal.Decimal }

// Type implements pflag.Value.
func (p *percentage) Type() string { return "percent" }

// Set implements pflag.Value.
func (p *percentage) Set(s string) error {
	percent, err := decimal.NewFromString(s)
	if err != nil || strings.ContainsAny(s, "eE") || billing.CheckDiscount(percent) != nil {
		return fmt.Errorf("accepted: a percentage like 12.5, from 0 to below 100 with at most 4 decimal places")
	}
	p.Decimal = percent
	return nil
}

// duration reads and writes a span of time as text in JSON, like 24h.
type duration time.Duration

// MarshalText writes the duration.
func (d duration) MarshalText() ([]byte, error) { return []byte(showDuration(time.Duration(d))), nil }

// UnmarshalText reads a duration.
func (d *duration) UnmarshalText(text []byte) error {
	read, err := time.ParseDuration(string(text))
	*d = duration(read)
	return err
}
