package conformance

import (
	"fmt"
	"strings"
)

const head = `# The contract with Stripe

What the product relies on at Stripe (API version ` + apiVersion + `), as one script of %d calls, and what
the local Stripe of the development stack answers. A test plays the script and compares this page:
` + "`go test ./internal/devstack/conformance -v`" + ` prints the table, ` + "`-update`" + ` writes the page anew.

- **The local Stripe** keeps state and is what every test of the product runs against.
- **stripe-mock** is Stripe's own, made from the API's schema: it checks parameters, keeps no state and
  answers examples. Where it answers with another status or object, the last column says why.
- **Stripe's test mode** is played the same script when ` + "`" + testKeyEnv + "`" + ` (sk_test_… or rk_test_…;
  anything else is refused) is set, and must then say what the local Stripe says. It has not been played so
  far: until it has, what the local Stripe does is read from Stripe's documentation and library.

Not asked of Stripe itself:
`

const tail = `
## Where the local Stripe decides what the documentation leaves open

- Voiding an uncollectible invoice is allowed, as the documentation of transitions says; later API
  versions have been seen to refuse it.
- A dispute follows its charge at once, where Stripe takes moments; one of a bank debit is lost when it is
  opened, since nothing can be said against it.
- Bank debits end, well or not, four days after the charge by the customer's clock; refunds that pend or fail
  do so after an hour.
- A bank transfer in part shows on its invoice as ` + "`amount_paid`" + ` at once, and becomes one charge when the rest has
  come. Until then the invoice can be neither charged nor voided.
- Search is exactly a minute behind; Stripe says "within a minute", and more in an outage.
- An invoice above the largest charge can be finalised, and only its payment is refused.
- Rate limits (100 a second, 25 on each endpoint, 20 on search) are off unless asked for.
`

// document is the page of what both say.
func document(local, mock []*seen) string {
	var page strings.Builder
	calls := script()
	fmt.Fprintf(&page, head, len(calls))
	for i, c := range calls {
		if c.only != "" {
			fmt.Fprintf(&page, "- %d, %s: %s.\n", i+1, c.does, c.only)
		}
	}
	page.WriteString("\n## The script\n\n| # | call | the local Stripe | stripe-mock |\n|---|---|---|---|\n")
	for i, c := range calls {
		other := "agrees"
		if c.mock != "" {
			other = mock[i].short() + ": " + c.mock
		}
		fmt.Fprintf(&page, "| %d | %s | %s | %s |\n", i+1, c.does, local[i].whole(), other)
	}
	page.WriteString(tail)
	return page.String()
}
