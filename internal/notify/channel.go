package notify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"
)

// Message is one notice, ready for any channel.
type Message struct {
	Key     string    // business key: delivering it again is recognisable as the same
	To      []string  // mail addresses
	Subject string    // one line
	Text    string    // plain text, in lines of at most 72 characters
	Type    string    // what kind of news it is, for machines: spend.threshold_reached, payment.declined
	At      time.Time // when that was
	Data    any       // the same facts as JSON, for machines
}

// Channel delivers messages.
type Channel interface {
	// Name is the channel's name in records: "log", "mail", "webhook".
	Name() string
	// Deliver returns nil once the message is handed over. After any other
	// error than ErrRefused it may be called again with the same message; it
	// is then delivered at least once.
	Deliver(ctx context.Context, m Message) error
}

// ErrRefused marks the failures that trying again cannot cure.
var ErrRefused = errors.New("refused")

// RefusedError tells who did not get a message, and never will. Its text holds
// no address, so it may stand in logs and histories.
type RefusedError struct {
	Recipients []string // who was refused
	Delivered  int      // how many others got it
	Reason     string   // the server's, without the addresses
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("%d of %d recipients refused: %s", len(e.Recipients), len(e.Recipients)+e.Delivered, e.Reason)
}

// Is makes every RefusedError an ErrRefused.
func (e *RefusedError) Is(target error) bool { return target == ErrRefused }

// Open returns the channel for SMTP_URL: mail if it is set, else the log.
func Open(smtpURL string, log *slog.Logger) (Channel, error) {
	if smtpURL == "" {
		return &Log{log}, nil
	}
	mail, err := OpenSMTP(smtpURL)
	if err != nil {
		return nil, err
	}
	return mail, nil
}

// Log delivers into the log. It writes the subject, which names organisations
// and members by their ids, and neither addresses nor texts.
type Log struct{ log *slog.Logger }

// Name implements Channel.
func (*Log) Name() string { return "log" }

// Deliver implements Channel.
func (l *Log) Deliver(ctx context.Context, m Message) error {
	l.log.InfoContext(ctx, "notice", "key", m.Key, "subject", oneLine(m.Subject), "recipients", len(m.To))
	return nil
}

// oneLine makes text safe for a header and a terminal: no line breaks, nothing
// that cannot be printed.
func oneLine(text string) string {
	return strings.Join(strings.Fields(printable(text)), " ")
}
