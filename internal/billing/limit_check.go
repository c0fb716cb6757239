package billing

import (
	"time"

	"github.com/shopspring/decimal"
)

// LimitChange sets a spend limit.
type LimitChange struct {
	Scope      Scope
	Subject    string              // the tier or user; "" for the organisation
	Amount     decimal.NullDecimal // null = none: unlimited; 0 = blocked
	Mode       string              // "" = as before, or the scope's usual mode
	Thresholds []int               // nil = as before, or the scope's defaults
}

// LimitCheck says whether a request may run, by the limits that it stands under.
type LimitCheck struct {
	Currency Currency
	Window   Period    // the billing month; spend starts again at its end
	AsOf     time.Time // the organisation's now
	Binding  *Standing // the limit with the least remaining; nil = unlimited
	Stop     Stop      // why nothing runs, whatever the limits leave; "" = nothing stops it
	StopAt   time.Time // since when the contract has ended
}

// Stop is why nothing of an organisation may run, whatever its limits leave:
// StopContractEnded, or SuspendedOverdue or SuspendedByHand.
type Stop string

// StopContractEnded is the end of the contract: usage after it is refused.
const StopContractEnded Stop = "contract_ended"

// Allowed reports whether nothing stops the organisation, and every limit leaves
// something to spend. What the request will cost is known only after it, so the
// one that crosses a limit still runs and the next one does not.
func (c *LimitCheck) Allowed() bool {
	switch {
	case c.Stop != "":
		return false
	case c.Binding == nil:
		return true
	}
	remaining, limited := c.Binding.Remaining()
	return !limited || remaining.IsPositive()
}
