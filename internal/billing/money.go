package billing

import (
	"encoding/json"
	"fmt"

	"github.com/shopspring/decimal"
)

// Money is an exact amount in one currency, in major units ("184.66" USD).
// The zero value is no money in no currency. Amounts of different currencies
// are never added.
type Money struct {
	Amount   decimal.Decimal
	Currency Currency
}

// MarshalJSON writes {"amount":"184.66","currency":"USD"}: at least the
// currency's own number of places, more where the amount is finer.
func (m Money) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Amount   string   `json:"amount"`
		Currency Currency `json:"currency"`
	}{m.plain(), m.Currency})
}

// UnmarshalJSON reads what MarshalJSON writes.
func (m *Money) UnmarshalJSON(data []byte) error {
	var wire struct {
		Amount   decimal.Decimal `json:"amount"`
		Currency Currency        `json:"currency"`
	}
	if err := json.Unmarshal(data, &wire); err != nil {
		return fmt.Errorf("money: %w", err)
	}
	m.Amount, m.Currency = wire.Amount, wire.Currency
	return nil
}

// String is for people: "184.66 USD".
func (m Money) String() string { return m.plain() + " " + string(m.Currency) }

func (m Money) plain() string {
	digits := m.Currency.Digits()
	if m.Amount.Exponent() < -digits && !m.Amount.Equal(m.Amount.Truncate(digits)) {
		return m.Amount.String()
	}
	return m.Amount.StringFixed(digits)
}

// Minor returns m in the smallest unit of its currency, and an error when m
// does not fall on that unit, so that nothing is ever rounded in passing.
func (m Money) Minor() (int64, error) {
	shifted := m.Amount.Shift(m.Currency.Digits())
	if !shifted.IsInteger() {
		return 0, fmt.Errorf("%s has more than %d decimal places", m, m.Currency.Digits())
	}
	if !shifted.BigInt().IsInt64() {
		return 0, fmt.Errorf("%s is out of range", m)
	}
	return shifted.IntPart(), nil
}

// FromMinor returns units of the currency's smallest unit as money.
func FromMinor(units int64, c Currency) Money {
	return Money{decimal.New(units, -c.Digits()), c}
}

// Round rounds an exact amount to the currency's smallest unit, half away from
// zero. It is the only rounding in the product and happens once per charge line,
// but for the total of an invoice in a currency that is finer than what can be
// collected, see RoundToCharge.
func Round(exact decimal.Decimal, c Currency) decimal.Decimal {
	return exact.Round(c.Digits())
}
