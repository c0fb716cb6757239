package billing

// UsageItem is an event on its way into the database, and its bytes as they were
// received, which are kept while the event is parked.
type UsageItem struct {
	Event  Event
	Raw    []byte
	Source UsageSource // the path by which it came; "" = one that no product is bound to
}

// UsageStatus is the answer to one event.
type UsageStatus string

// The answers to an event.
const (
	UsageAccepted  UsageStatus = "accepted"
	UsageDuplicate UsageStatus = "duplicate" // same id, same content: counted before
	UsageConflict  UsageStatus = "conflict"  // same id, other content: the first stays
	UsageRejected  UsageStatus = "rejected"
	UsageParked    UsageStatus = "parked" // stored, and counts nothing until it has a price
)

// UsageAnswer says what became of one event, and why.
type UsageAnswer struct {
	Status UsageStatus
	Field  string // at fault, where one is
	Reason string
}
