// Package notify writes notices about spend and payments and delivers them
// through a channel: mail over SMTP, a signed webhook, or the log. It does not know when a notice
// is due, nor to whom it goes.
package notify
