// Package workflows is the order in which an organisation is billed, and when.
//
//	BillingCycle    one run is one billing period, and continues as new into the next
//	InvoicePeriod   from the end of a period to its published invoice
//	CollectPayment  from a published invoice to the money, or to a person
//	SweepProvider   every hour: what nobody told of
//
// A workflow here computes no money and keeps no truth: each step asks the
// database, through an activity, how things stand, and acts on the answer. So
// every run may be ended and started again at any time. How they wait is in
// run.go, what they tell about themselves in details.go, whom they call and
// how patiently in activities.go and options.go, and what others may send them
// in messages.go and start.go.
package workflows
