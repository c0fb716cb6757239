package document

import (
	"strings"

	"github.com/shopspring/decimal"

	"github.com/arrears-dev/arrears/internal/billing"
)

// Harmless keeps a spreadsheet from running as a formula what somebody chose as
// their id: a quote in front makes it text.
func Harmless(text string) string {
	if text != "" && strings.ContainsRune("=+-@\t\r\n|", rune(text[0])) {
		return "'" + text
	}
	return text
}

// number is a number on a page, with a true minus.
func number(n decimal.Decimal) string { return minus(billing.Thousands(n.String())) }

// plain is an amount without its currency: at least the currency's places, more
// where it is finer.
func plain(m billing.Money) string {
	amount, _, _ := strings.Cut(m.String(), " ")
	return amount
}

// amount is an amount on a page, whose column or sentence names the currency.
func amount(m billing.Money) string { return minus(billing.Thousands(plain(m))) }

func minus(number string) string {
	if rest, negative := strings.CutPrefix(number, "-"); negative {
		return "\u2212" + rest
	}
	return number
}
