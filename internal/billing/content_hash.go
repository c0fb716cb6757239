package billing

import (
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"strconv"
	"time"
)

// ContentHash is the SHA-256 of everything that is final about an issued invoice.
// Anyone can recompute it: it is taken over a sequence of values, each written as
// a netstring (its length in bytes, a colon, the value in UTF-8, a comma), in this
// order:
//
//   - for each line, in invoice order: "line", key, kind, description, product,
//     model, token class, quantity, unit price, per, exact amount, amount, period
//     of origin; and after it, for each member part in the byte order of the
//     users: "member", user, quantity, exact amount, amount;
//   - then "invoice", id, number, organisation, period, revision, period start and
//     end, time of issue, currency, subtotal, discount, total.
//
// Decimals are in plain notation without zeros at the end, times in RFC 3339 in
// UTC with as many decimals as they have, what is absent is empty. The head comes
// last, since the number is drawn last.
type ContentHash struct {
	sum    hash.Hash
	buffer []byte
}

// NewContentHash begins the hash of an invoice.
func NewContentHash() *ContentHash { return &ContentHash{sum: sha256.New()} }

// Line adds a line with its member parts.
func (c *ContentHash) Line(l *Line) {
	c.write("line", l.Key, string(l.Kind), l.Description, l.Product, l.Model, l.TokenClass,
		l.Quantity.String(), l.UnitPrice.Amount.String(), strconv.FormatInt(l.Per, 10),
		l.Exact.Amount.String(), l.Amount.Amount.String(), l.PeriodOfOrigin)
	for i := range l.Members {
		m := &l.Members[i]
		c.write("member", m.User, m.Quantity.String(), m.Exact.Amount.String(), m.Amount.Amount.String())
	}
}

// Sum adds the head of the invoice, whose lines were added before, and returns
// the hash in hexadecimal.
func (c *ContentHash) Sum(i *Invoice) string {
	c.write("invoice", i.ID, i.Number, i.Organization, i.PeriodID, strconv.Itoa(i.Revision),
		inHash(&i.PeriodStart), inHash(&i.PeriodEnd), inHash(i.FinalizedAt),
		string(i.Currency), i.Subtotal.Amount.String(), i.Discount.Amount.String(), i.Total.Amount.String())
	return hex.EncodeToString(c.sum.Sum(nil))
}

// HashOf returns the content hash of an invoice that is in memory with its lines
// and their member parts.
func HashOf(i *Invoice) string {
	c := NewContentHash()
	for n := range i.Lines {
		c.Line(&i.Lines[n])
	}
	return c.Sum(i)
}

func inHash(at *time.Time) string {
	if at == nil {
		return ""
	}
	return at.UTC().Format(time.RFC3339Nano)
}

func (c *ContentHash) write(values ...string) {
	c.buffer = c.buffer[:0]
	for _, value := range values {
		c.buffer = strconv.AppendInt(c.buffer, int64(len(value)), 10)
		c.buffer = append(append(append(c.buffer, ':'), value...), ',')
	}
	c.sum.Write(c.buffer)
}
