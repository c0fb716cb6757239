package billing

// Actor says who changes something and why. It goes to the audit trail in the same
// transaction as the change.
type Actor struct {
	Name   string // a person, a program, or a key's id
	Reason string // "" = none was given
}
