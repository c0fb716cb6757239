package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/arrears-dev/arrears/internal/billing"
)

// The demo shows parts of some answers only. It then shows the pipeline that
// prints the same.

// runHead runs a command and shows the first lines of what it prints.
func (d *demo) runHead(ctx context.Context, lines int, args ...string) error {
	d.app.say("$ %s | head -%d", commandLine(args), lines)
	var out bytes.Buffer
	if err := d.execute(ctx, &out, args); err != nil {
		return err
	}
	d.app.say("%s", firstLines(out.String(), lines))
	return nil
}

// firstLines returns the first lines of a text, as head does.
func firstLines(text string, count int) string {
	lines := strings.SplitAfterN(text, "\n", count+1)
	return strings.Join(lines[:min(count, len(lines))], "")
}

// memberPart shows a member's part of each line of an invoice, and their sum.
func (d *demo) memberPart(ctx context.Context, id, member string) error {
	args := []string{"invoices", "show", id, "--members"}
	d.app.say("$ %s |\n    awk '/^(CHARGE|Total)/; /^[^ ]/ {charge = $0} / %s / {print charge; print}'", commandLine(args), member)
	var out bytes.Buffer
	if err := d.execute(ctx, &out, args); err != nil {
		return err
	}
	d.app.say("%s", chargesOf(out.String(), member))
	sum, err := d.partOf(ctx, id, member)
	if err != nil {
		return err
	}
	d.app.say("%s's part of %s: %s.\n", member, id, sum)
	return nil
}

// chargesOf keeps the charge lines in which a member has a part, each with that
// part, and the heading and the total.
func chargesOf(invoice, member string) string {
	var kept strings.Builder
	charge := ""
	for line := range strings.Lines(invoice) {
		switch {
		case strings.HasPrefix(line, "CHARGE") || strings.HasPrefix(line, "Total"):
			kept.WriteString(line)
		case !strings.HasPrefix(line, " "):
			charge = line
		case strings.Contains(line, " "+member+" "):
			kept.WriteString(charge + line)
		}
	}
	return kept.String()
}

// partOf adds up a member's part of an invoice.
func (d *demo) partOf(ctx context.Context, id, member string) (billing.Money, error) {
	store, err := d.app.Store(ctx)
	if err != nil {
		return billing.Money{}, err
	}
	invoice, err := store.Invoice(ctx, id, true)
	if err != nil {
		return billing.Money{}, err
	}
	sum := billing.Money{Currency: invoice.Total.Currency}
	for _, line := range invoice.Lines {
		for _, part := range line.Members {
			if part.User == member {
				sum.Amount = sum.Amount.Add(part.Amount.Amount)
			}
		}
	}
	return sum, nil
}

// limitAnswer is what the demo shows of the answer to a limit check.
type limitAnswer struct {
	Decision string  `json:"decision"`
	Reason   *string `json:"reason"`
	Message  *string `json:"message"`
}

// check asks the gateway whether a member's next request may run, and fails
// unless it decides as expected.
func (d *demo) check(ctx context.Context, member, expected string) error {
	question := fmt.Sprintf(`{"organization":"acme","user":"%s","product":"claude_code"}`, member)
	d.app.say(`$ curl -s "$ARREARS_GATEWAY_URL/v1/limits/check" -H "Authorization: Bearer $ARREARS_API_KEY" \
    -H 'Content-Type: application/json' -d '%s' |
    jq '{decision, reason, message}'`, question)
	answer, err := d.ask(ctx, question)
	if err != nil {
		return err
	}
	text, err := json.MarshalIndent(answer, "", "  ")
	if err != nil {
		return err
	}
	d.app.say("%s\n", text)
	if answer.Decision != expected {
		return fmt.Errorf("the next request of %s is %s and not %s", member, answer.Decision, expected)
	}
	return nil
}

func (d *demo) ask(ctx context.Context, question string) (limitAnswer, error) {
	address := d.env["ARREARS_GATEWAY_URL"] + "/v1/limits/check"
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader(question))
	if err != nil {
		return limitAnswer{}, err
	}
	req.Header.Set("Authorization", "Bearer "+d.env["ARREARS_API_KEY"])
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return limitAnswer{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return limitAnswer{}, err
	}
	if resp.StatusCode != http.StatusOK {
		return limitAnswer{}, fmt.Errorf("the gateway answered %s: %s", resp.Status, body)
	}
	var answer limitAnswer
	return answer, json.Unmarshal(body, &answer)
}
