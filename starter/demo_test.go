package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestDemoShowsOneMember holds what the demo keeps of an invoice against the awk
// that it shows.
func TestDemoShowsOneMember(t *testing.T) {
	const invoice = `status  paid

CHARGE        QUANTITY      AMOUNT
Seats chat          62   40.00 USD
    alice           31   20.00 USD
    bob             31   20.00 USD
Discount 10 %            -4.00 USD
chat input          20   10.00 USD
    bob             20   10.00 USD
Total                    46.00 USD
Paid                     46.00 USD
`
	require.Equal(t, `CHARGE        QUANTITY      AMOUNT
Seats chat          62   40.00 USD
    alice           31   20.00 USD
Total                    46.00 USD
`, chargesOf(invoice, "alice"))
	require.Equal(t, `CHARGE        QUANTITY      AMOUNT
Total                    46.00 USD
`, chargesOf(invoice, "ali"), "a part of a name is nobody")
}

func TestDemoShowsFirstLines(t *testing.T) {
	require.Equal(t, "a\nb\n", firstLines("a\nb\nc\n", 2))
	require.Equal(t, "a\nb\n", firstLines("a\nb\n", 2))
	require.Equal(t, "a\n", firstLines("a\n", 2))
}
