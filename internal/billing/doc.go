// Package billing holds the rules of the bill and nothing else: money, prices,
// rating, periods, seats, limits, thresholds, charge lines and dunning.
//
// Everything here is a pure function of its arguments: no clock, no database,
// no network. Amounts are exact decimals with a currency and are rounded once,
// on the charge line. Times are UTC instants, periods are half-open, and "now"
// is always an argument.
package billing
