// Package document makes of an invoice what people read and send on: a page to
// print, and tables for spreadsheets. It computes no amount: it shows those that
// the rules decided, and adds them up where a sum is shown.
package document
