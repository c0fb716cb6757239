package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/postgres"
	"github.com/arrears-dev/arrears/internal/pricebook"
)

func TestMembersFiles(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 10, 5, 0, 0, 0, 0, time.UTC)
	org := billing.Organization{ID: "acme", Timezone: "UTC", AnchorDay: 1, StartsAt: now.AddDate(0, 0, -4), Now: now}
	for name, c := range map[string]struct {
		file string
		want []postgres.SeatChange
		says []string // what is wrong, each with its line
	}{
		"two columns": {
			file: "user,tier\nalice,chat\nbob,chat_claude_code\n",
			want: []postgres.SeatChange{{User: "alice", Tier: "chat", From: now}, {User: "bob", Tier: "chat_claude_code", From: now}},
		},
		"all columns, in another order, in order of time": {
			file: "\xef\xbb\xbffrom,hipaa,tier,user\r\n2026-10-20,,chat,alice\r\n2026-10-02T00:00:00Z,TRUE,chat,alice\r\n",
			want: []postgres.SeatChange{
				{User: "alice", Tier: "chat", HIPAA: true, From: now.AddDate(0, 0, -3)},
				{User: "alice", Tier: "chat", From: now.AddDate(0, 0, 15)},
			},
		},
		"nothing":            {file: "", says: []string{"line 1: the file is empty; accepted: a first line with user,tier"}},
		"no column names":    {file: "alice,chat\n", says: []string{`line 1: "alice" is no column; accepted: user,tier`}},
		"no tier":            {file: "user,hipaa\nalice,true\n", says: []string{`line 1: there is no column "tier"`}},
		"a column twice":     {file: "user,tier,tier\n", says: []string{`column "tier" is there twice`}},
		"no members":         {file: "user,tier\n", says: []string{"there are no members"}},
		"a field too few":    {file: "user,tier\nalice\n", says: []string{"line 2: has another number of fields than the first line; accepted: 2"}},
		"an unclosed quote":  {file: "user,tier\n\"alice,chat\n", says: []string{"line"}},
		"a tier of no price": {file: "user,tier\nalice,pro\n", says: []string{`line 2: tier: "pro" has no price in price book anthropic-2026-01; accepted: chat, chat_claude_code`}},
		"hipaa, perhaps":     {file: "user,tier,hipaa\nalice,chat,perhaps\n", says: []string{`line 2: hipaa: "perhaps"; accepted: true or false`}},
		"hipaa on a tier without it": {
			file: "user,tier,hipaa\nalice,chat_claude_code,true\n",
			says: []string{"line 2: hipaa: price book anthropic-2026-01 has no hipaa surcharge for tier chat_claude_code"},
		},
		"before the contract": {file: "user,tier,from\nalice,chat,2026-09-30\n", says: []string{"line 2: from: 2026-09-30 00:00:00 is before the organization's start; accepted: 2026-10-01"}},
		"no time":             {file: "user,tier,from\nalice,chat,soon\n", says: []string{`line 2: from: "soon"; accepted: a time like`}},
		"no user":             {file: "user,tier\n,chat\n", says: []string{"line 2: user: is empty; accepted: 1 to 200 bytes"}},
		"a user twice":        {file: "user,tier\nalice,chat\nalice,chat_claude_code\n", says: []string{`line 3: user: "alice" stands on line 2 already`}},
		"every line is named": {
			file: "user,tier,hipaa\nalice,pro,\nbob,chat,x\n\ncarol,chat,\n" + strings.Repeat("x,pro,\n", 12),
			says: []string{"line 2: tier", "line 3: hipaa", "line 6: tier", "and 4 more problems"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			changes, err := readMembers([]byte(c.file), org, pricebook.Default())
			if len(c.says) == 0 {
				require.NoError(t, err)
				require.Equal(t, c.want, changes)
				return
			}
			for _, says := range c.says {
				require.ErrorContains(t, err, says)
			}
		})
	}
}

func TestContractFiles(t *testing.T) {
	t.Parallel()
	books := []postgres.PriceBookSummary{{Name: "anthropic-2026-01"}}
	for line, says := range map[string]string{
		`{"id":"acme"}`: "",
		`{"id":"acme","timezone":"Europe/Berlin","anchor_day":15,"test_clock":"2026-10-01T00:00:00Z","draft_window":"1h","dunning":[0,3]}`: "",
		`{"id":"acme","anchor_day":32}`:                                             "line 1: anchor_day: 32 is not a day of the month from 1 to 31",
		`{"id":"acme","anchor_day":0}`:                                              "line 1: anchor_day: 0 is not a day",
		`{"id":"acme","anchor_day":"1"}`:                                            "line 1: anchor_day: is a string; accepted: a whole number",
		`{"id":"acme","anchorday":1}`:                                               `line 1: "anchorday" is not a field`,
		`{"id":"acme","plan":"team"}`:                                               "line 1: plan",
		`{"id":"acme","start":"yesterday"}`:                                         `line 1: start: "yesterday"; accepted: a time like 2026-10-01T00:00:00Z, or a date like 2026-10-01`,
		`{"id":"acme","start":1790812800}`:                                          "line 1: start: is a number; accepted: text",
		`{"id":"acme","timezone":"Mars/Olympus","test_clock":"2026-10-01"}`:         "line 1: timezone: ",
		`{"id":"acme","draft_window":"a day"}`:                                      `line 1: draft_window: "a day"; accepted: a duration like 24h`,
		`{"id":"acme","draft_window":86400}`:                                        "line 1: draft_window: is a number; accepted: text",
		`{"id":"acme","prices":"another"}`:                                          `line 1: prices: there is no price book "another"`,
		`{"id":"acme","dunning":[1]}`:                                               "line 1: dunning",
		`{"id":"acme","reminders":[-3,7],"suspend_after":14,"card_ceiling":"none"}`: "",
		`{"id":"acme","reminders":[0]}`:                                             "line 1: reminders: accepted: up to 10",
		`{"id":"acme","suspend_after":-1}`:                                          "line 1: suspend_after: -1; accepted: 0 to 365",
		`{"id":"acme","card_ceiling":"0"}`:                                          `line 1: card_ceiling: "0"; accepted: an amount above 0`,
		`{"id":"ACME"}`:                                                             "line 1: id",
		`{}`:                                                                        "line 1: id",
		`[]`:                                                                        "line 1: is a JSON array; accepted: one JSON object",
		`{"id":"acme"`:                                                              "line 1: ends inside the JSON object",
		`acme`:                                                                      "line 1: is not a JSON object",
		`{"id":"a"} {"id":"b"}`:                                                     "line 1: has more behind the JSON object",
		"{\"id\":\"a\"}\n\n{\"id\":\"a\"}":                                          `line 3: id: "a" is that of line 1 already`,
		"{\"id\":\"a\"}\n{\"id\":\"b\",\"x\":1}":                                    `line 2: "x" is not a field`,
		"":                                                                          "line 1: there is no organization",
	} {
		orgs, err := readContracts([]byte(line), books)
		if says == "" {
			require.NoError(t, err, line)
			require.Len(t, orgs, 1)
			continue
		}
		require.ErrorContains(t, err, says, line)
	}
}

func TestContractLinesAreAsTheFlags(t *testing.T) {
	t.Parallel()
	orgs, err := readContracts([]byte(`{"id":"acme","currency":"eur","collection":"send_invoice","net_days":14,"late_window":"48h","limit_rule":"override","email":"b@a.example"}`), nil)
	require.NoError(t, err)
	require.Equal(t, billing.Organization{
		ID: "acme", Currency: "eur", Collection: billing.SendInvoice, NetDays: 14, AnchorDay: 1, Email: "b@a.example",
		DraftWindow: billing.DefaultDraftWindow, LateWindow: 48 * time.Hour, LimitRule: billing.RuleOverride,
	}, orgs[0], "what is left open has the command's defaults")
}

func TestProblemsAreBounded(t *testing.T) {
	t.Parallel()
	var p problems
	for i := range 25 {
		p.add(i+1, fmt.Errorf("wrong"))
	}
	require.ErrorContains(t, p.err(), "line 10: wrong\nand 15 more problems")
}
