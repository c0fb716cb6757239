package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/shopspring/decimal"

	"github.com/arrears-dev/arrears/internal/billing"
)

// format is how a command prints its result.
type format string

const (
	formatTable format = "table"
	formatJSON  format = "json"
)

// String implements pflag.Value.
func (f *format) String() string { return string(*f) }

// Type implements pflag.Value.
func (f *format) Type() string { return "table|json" }

// Set implements pflag.Value.
func (f *format) Set(s string) error {
	switch format(s) {
	case formatTable, formatJSON:
		*f = format(s)
		return nil
	}
	return fmt.Errorf("accepted: table or json")
}

// print writes a command's result: value as JSON, or what people writes. Times
// in value must be UTC; a nil slice prints as an empty list.
func (a *app) print(value any, people func(w io.Writer)) error {
	if a.format == formatJSON {
		var text bytes.Buffer
		encoder := json.NewEncoder(&text)
		encoder.SetIndent("", "  ")
		encoder.SetEscapeHTML(false)
		if err := encoder.Encode(value); err != nil {
			return err
		}
		_, err := a.stdout.Write(escapeForPeople(text.Bytes()))
		return err
	}
	people(forPeople{a.stdout})
	return nil
}

// printList prints rows as an array, or as a table with one line per row; where
// there are none, people read nothing.
func printList[T any](a *app, rows []T, nothing string, columns ...column[T]) error {
	if rows == nil {
		rows = []T{}
	}
	return a.print(rows, func(w io.Writer) {
		if len(rows) == 0 {
			fmt.Fprintln(w, nothing)
			return
		}
		writeTable(w, rows, columns...)
	})
}

// column is one column of a table.
type column[T any] struct {
	title string
	right bool // numbers stand at the right
	cell  func(T) string
}

func left[T any](title string, cell func(T) string) column[T] { return column[T]{title, false, cell} }

func right[T any](title string, cell func(T) string) column[T] { return column[T]{title, true, cell} }

// writeTable writes rows under their titles. It leaves out what no row has.
func writeTable[T any](w io.Writer, rows []T, columns ...column[T]) {
	var lines [][]string
	var titles []string
	var rights []bool
	for range len(rows) + 1 {
		lines = append(lines, nil)
	}
	for _, c := range columns {
		cells := make([]string, len(rows))
		empty := true
		for i, row := range rows {
			cells[i] = c.cell(row)
			empty = empty && cells[i] == ""
		}
		if empty && len(rows) > 0 {
			continue
		}
		titles, rights = append(titles, c.title), append(rights, c.right)
		for i, cell := range cells {
			lines[i+1] = append(lines[i+1], cell)
		}
	}
	lines[0] = titles
	writeAligned(w, lines, rights)
}

// writeAligned writes lines of cells in columns as wide as their widest cell.
func writeAligned(w io.Writer, lines [][]string, rights []bool) {
	widths := make([]int, len(rights))
	for _, line := range lines {
		for i, cell := range line {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, line := range lines {
		var text strings.Builder
		for i, cell := range line {
			gap := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if rights[i] {
				cell, gap = gap+cell, ""
			}
			text.WriteString(cell + gap + "  ")
		}
		fmt.Fprintln(w, strings.TrimRight(text.String(), " "))
	}
}

// fact is one line of what is told about a single thing.
type fact struct{ name, value string }

// writeFacts writes name and value of each fact that has one, in two columns.
func writeFacts(w io.Writer, facts ...fact) {
	facts = slices.DeleteFunc(facts, func(f fact) bool { return f.value == "" })
	lines := make([][]string, len(facts))
	for i, f := range facts {
		lines[i] = []string{f.name, f.value}
	}
	writeAligned(w, lines, []bool{false, false})
}

// showTime is a time for people, in UTC to the second; "" for none.
func showTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05")
}

// optional is a time in JSON: null where there is none.
func optional(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

func showOptional(t *time.Time) string {
	if t == nil {
		return ""
	}
	return showTime(*t)
}

// showMoney is an amount for people, rounded to cents; "" for none.
func showMoney(m *billing.Money) string {
	if m == nil {
		return ""
	}
	return billing.Money{Amount: billing.Round(m.Amount, m.Currency), Currency: m.Currency}.String()
}

func showCents(m billing.Money) string { return showMoney(&m) }

// showCount writes a number with its thousands apart.
func showCount[N int | int64](n N) string { return groupThousands(fmt.Sprint(n)) }

func showQuantity(d decimal.Decimal) string { return groupThousands(d.String()) }

func groupThousands(number string) string { return billing.Thousands(number) }

// showDuration writes 24h0m0s as 24h.
func showDuration(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// joinStrings lists words for people, or says what none means.
func joinStrings(words []string, none string) string {
	if len(words) == 0 {
		return none
	}
	return strings.Join(words, ", ")
}

func joinInts(numbers []int) string {
	words := make([]string, len(numbers))
	for i, n := range numbers {
		words[i] = fmt.Sprint(n)
	}
	return strings.Join(words, " ")
}
