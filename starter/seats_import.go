package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/postgres"
)

func newSeatsImportCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "import ORG FILE|-",
		Short: "Give many users seats: all, or none",
		Long: `Give many users seats: all of them, or none and an error that names each line
and field at fault. Users that the file does not name keep what they have.

The file is CSV. Its first line names the columns: user and tier, and if wanted
hipaa (true or false) and from (a time, or a date for its first instant in the
organisation's zone; empty = the organisation's now). A user may come again with a
later from. An id that a spreadsheet has rewritten, such as 9.9E+15, is refused:
format its column as text.`,
		Example: `  printf 'user,tier,hipaa\nuser_00100,chat,true\nuser_00101,chat_claude_code,\n' | starter seats import acme -`,
		Args:    arguments("ORG", "FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runSeatsImport(cmd.Context(), a, args[0], args[1])
		},
	}
}

func runSeatsImport(ctx context.Context, a *app, org, path string) error {
	data, err := a.readAll(path)
	if err != nil {
		return err
	}
	store, err := a.Store(ctx)
	if err != nil {
		return err
	}
	contract, err := store.Organization(ctx, org)
	if err != nil {
		return err
	}
	book, err := store.PriceBook(ctx, contract.PriceBook)
	if err != nil {
		return err
	}
	changes, err := readMembers(data, contract, book)
	if err != nil {
		return fmt.Errorf("%s: nothing was imported\n%w", path, err)
	}
	result, err := store.AssignSeats(ctx, org, changes, a.by())
	if err != nil {
		return fmt.Errorf("%s: nothing was imported\n%w", path, err)
	}
	return a.print(result, func(w io.Writer) {
		fmt.Fprintf(w, "%s: %s assigned, %s changed, %s unchanged.\n", org,
			plural(result.Assigned, "seat"), showCount(result.Changed), showCount(result.Unchanged))
	})
}

const memberColumns = "user,tier and, if wanted, hipaa and from"

// readMembers reads the CSV, or says what is wrong with each line of it.
func readMembers(data []byte, org billing.Organization, book *billing.PriceBook) ([]postgres.SeatChange, error) {
	reader := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))))
	reader.TrimLeadingSpace = true
	columns, err := readHeader(reader)
	if err != nil {
		return nil, err
	}
	var changes []postgres.SeatChange
	var wrong problems
	seen := map[string]int{}
	for {
		record, err := reader.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, errors.Join(wrong.err(), csvProblem(err, len(columns)))
		}
		line, _ := reader.FieldPos(0)
		change, err := readMember(record, columns, org, book)
		key := change.User + "\x00" + change.From.String()
		switch first, twice := seen[key]; {
		case err != nil:
			wrong.add(line, err)
		case twice:
			wrong.add(line, fmt.Errorf("user: %q stands on line %d already, with the same from", change.User, first))
		}
		seen[key] = line
		changes = append(changes, change)
	}
	if len(changes) == 0 {
		wrong.add(1, errors.New("there are no members behind the column names"))
	}
	// A user's seats are assigned in order of time, whatever the file's.
	slices.SortStableFunc(changes, func(a, z postgres.SeatChange) int { return a.From.Compare(z.From) })
	return changes, wrong.err()
}

func readHeader(reader *csv.Reader) (columns []string, err error) {
	columns, err = reader.Read()
	if errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("line 1: the file is empty; accepted: a first line with %s", memberColumns)
	}
	if err != nil {
		return nil, csvProblem(err, 0)
	}
	for i, name := range columns {
		columns[i] = strings.TrimSpace(name)
		if !slices.Contains([]string{"user", "tier", "hipaa", "from"}, columns[i]) {
			return nil, fmt.Errorf("line 1: %q is no column; accepted: %s", name, memberColumns)
		}
		if slices.Contains(columns[:i], columns[i]) {
			return nil, fmt.Errorf("line 1: column %q is there twice", name)
		}
	}
	for _, name := range []string{"user", "tier"} {
		if !slices.Contains(columns, name) {
			return nil, fmt.Errorf("line 1: there is no column %q; accepted: %s", name, memberColumns)
		}
	}
	return columns, nil
}

func csvProblem(err error, columns int) error {
	var syntax *csv.ParseError
	if !errors.As(err, &syntax) {
		return err
	}
	if errors.Is(syntax.Err, csv.ErrFieldCount) {
		return fmt.Errorf("line %d: has another number of fields than the first line; accepted: %d", syntax.Line, columns)
	}
	return fmt.Errorf("line %d: column %d: %w", syntax.Line, syntax.Column, syntax.Err)
}

func readMember(record, columns []string, org billing.Organization, book *billing.PriceBook) (change postgres.SeatChange, err error) {
	change.From = org.Now
	for i, name := range columns {
		value := strings.Trim(record[i], " \t") // another space is no blank, but refused
		switch {
		case name == "user":
			if change.User, err = cellID(record[i]); err != nil {
				return change, fmt.Errorf("user: %w", err)
			}
		case name == "tier" && value != "":
			if change.Tier, err = cellID(value); err != nil {
				return change, fmt.Errorf("tier: %w", err)
			}
		case value == "":
		case name == "hipaa":
			if change.HIPAA, err = strconv.ParseBool(strings.ToLower(value)); err != nil {
				return change, fmt.Errorf("hipaa: %q; accepted: true or false", value)
			}
		default:
			var from moment
			if err = from.Set(value); err != nil {
				return change, fmt.Errorf("from: %q; %w", value, err)
			}
			if change.From, err = from.in(&org); err != nil {
				return change, err
			}
		}
	}
	return change, checkMember(change, org, book)
}

// checkMember says early, line by line, what the store would say of the whole.
func checkMember(change postgres.SeatChange, org billing.Organization, book *billing.PriceBook) error {
	if change.From.Before(org.StartsAt) {
		return fmt.Errorf("from: %s is before the organization's start; accepted: %s or later", showTime(change.From), showTime(org.StartsAt))
	}
	if _, ok := book.Seat(change.Tier, change.From); !ok {
		return fmt.Errorf("tier: %q has no price in price book %s; accepted: %s", change.Tier, book.Name, strings.Join(book.Tiers(), ", "))
	}
	if _, ok := book.Surcharge(billing.HIPAA, change.Tier, change.From); change.HIPAA && !ok {
		return fmt.Errorf("hipaa: price book %s has no hipaa surcharge for tier %s; accepted there: false", book.Name, change.Tier)
	}
	return nil
}
