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

// moment is a point in time: an instant with its zone, or a date, which means its
// first instant where the organisation is; so it is resolved by its calendar.
type moment struct{ billing.Moment }

// Type implements pflag.Value.
func (m *moment) Type() string { return "time" }

// Set implements pflag.Value.
func (m *moment) Set(s string) (err error) {
	m.Moment, err = billing.ParseMoment(s)
	return err
}

// inUTC is the instant that the moment means where no organisation is concerned.
func (m *moment) inUTC() time.Time {
	return billing.Calendar{Location: time.UTC, AnchorDay: 1}.Instant(m.Moment)
}

// in is the instant that the moment means to an organisation; of none it is the
// zero time.
func (m *moment) in(org *billing.Organization) (time.Time, error) {
	calendar, err := org.Calendar()
	if err != nil {
		return time.Time{}, err
	}
	return calendar.Instant(m.Moment), nil
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
