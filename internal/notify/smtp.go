package notify

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	netmail "net/mail"
	"net/textproto"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/wneessen/go-mail"

	"github.com/arrears-dev/arrears/internal/billing"
)

// mailTimeout bounds one delivery where the context does not: a server may
// think about a message's content, but not for ever.
const mailTimeout = time.Minute

// SMTP delivers by mail. It is safe for concurrent use; deliveries that follow
// each other share a connection, those side by side have one each.
type SMTP struct {
	host     string
	port     int
	implicit bool // TLS from the first byte
	user     string
	password string
	from     netmail.Address
	roots    *x509.CertPool // nil = the system's; set by tests

	lines *lines // that wait for another message
}

// lines are open connections that nobody uses just now.
type lines struct {
	mu   sync.Mutex
	idle []*connection
}

// OpenSMTP reads an SMTP_URL, without connecting:
//
//	smtp://USER:PASSWORD@HOST:PORT?from=ADDRESS     port 587 unless given; STARTTLS where offered
//	smtps://USER:PASSWORD@HOST:PORT?from=ADDRESS    port 465 unless given; TLS throughout
//
// User and password may be left out together. A password is never sent in the
// clear but to this machine. from may be left out if the user is an address, or
// the server on this machine.
func OpenSMTP(smtpURL string) (*SMTP, error) {
	u, err := url.Parse(smtpURL)
	if err != nil || u.Hostname() == "" || u.Scheme != "smtp" && u.Scheme != "smtps" || u.Path != "" && u.Path != "/" || u.Fragment != "" {
		// The URL is not repeated: it holds a password.
		return nil, billing.Invalid("SMTP_URL: accepted: smtp://USER:PASSWORD@HOST:PORT?from=ADDRESS or smtps://…")
	}
	s := &SMTP{host: u.Hostname(), port: 587, implicit: u.Scheme == "smtps", user: u.User.Username(), lines: &lines{}}
	if s.implicit {
		s.port = 465
	}
	s.password, _ = u.User.Password()
	if (s.user == "") != (s.password == "") {
		return nil, billing.Invalid("SMTP_URL: accepted: user and password, or neither")
	}
	if port := u.Port(); port != "" {
		if s.port, err = strconv.Atoi(port); err != nil || s.port < 1 || s.port > 65535 {
			return nil, billing.Invalid("SMTP_URL: port %q; accepted: 1 to 65535", port)
		}
	}
	for name := range u.Query() {
		if name != "from" {
			return nil, billing.Invalid("SMTP_URL: unknown setting %q; accepted: from", name)
		}
	}
	if err := s.setFrom(u.Query().Get("from")); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *SMTP) setFrom(from string) error {
	switch {
	case from != "":
	case strings.Contains(s.user, "@"):
		from = s.user
	case isLoopback(s.host):
		from = "arrears@localhost"
	default:
		return billing.Invalid("SMTP_URL: add ?from=ADDRESS, the address that notices come from")
	}
	address, err := netmail.ParseAddress(from)
	if err != nil {
		return billing.Invalid("SMTP_URL: from=%q is not a mail address", from)
	}
	s.from = *address
	if s.from.Name == "" {
		s.from.Name = "Arrears"
	}
	return nil
}

func isLoopback(host string) bool {
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}

// Name implements Channel.
func (*SMTP) Name() string { return "mail" }

// Deliver implements Channel. A recipient whom the server refuses for good does
// not keep the others from getting the message: they are named in a
// RefusedError. One whom it refuses for now postpones the message for all, so
// that nobody gets it twice.
func (s *SMTP) Deliver(ctx context.Context, m Message) error {
	ctx, cancel := context.WithTimeout(ctx, mailTimeout)
	defer cancel()
	if err := s.deliver(ctx, m); err != nil {
		if cause := context.Cause(ctx); cause != nil && !errors.Is(err, ErrRefused) {
			err = cause // closing the connection is how ctx stops us
		}
		return fmt.Errorf("mail %s: %w", m.Key, err)
	}
	return nil
}

func (s *SMTP) deliver(ctx context.Context, m Message) error {
	recipients, refused := parseRecipients(m.To)
	if len(recipients) == 0 {
		return refused.orReason("no recipient")
	}
	message, err := s.compose(m, recipients)
	if err != nil {
		return err
	}
	for {
		c, err := s.connect(ctx)
		if err != nil {
			return fmt.Errorf("connect to %s: %w", s.host, err)
		}
		if err := s.send(ctx, c, message, recipients, refused); !errors.Is(err, errHungUp) || ctx.Err() != nil {
			return err
		}
	}
}

// send sends a message, and keeps the connection for the next one only where it
// went through.
func (s *SMTP) send(ctx context.Context, c *connection, message *mail.Msg, recipients []string, refused *RefusedError) error {
	stop, through := context.AfterFunc(ctx, c.close), false
	defer func() {
		if stop() && through {
			s.keep(c)
			return
		}
		c.close()
	}()
	if err := c.client.Mail("<" + s.from.Address + ">"); err != nil {
		if c.hungUp(err) {
			return errHungUp
		}
		return refusal(err, "sender", recipients)
	}
	for _, to := range recipients {
		err := c.client.Rcpt("<" + to + ">")
		switch {
		case err == nil:
			refused.Delivered++
		case isFinal(err):
			refused.add(to, err)
		default:
			return fmt.Errorf("recipient: %w", withoutAddresses(err, recipients))
		}
	}
	if refused.Delivered == 0 {
		return refused
	}
	w, err := c.client.Data()
	if err != nil {
		return refusal(err, "content", recipients)
	}
	if _, err := message.WriteTo(w); err != nil {
		return fmt.Errorf("send content: %w", err) // without its end, so it does not count
	}
	if err := w.Close(); err != nil {
		return refusal(err, "content", recipients)
	}
	c.sent++
	through = true // the server has the message, whatever it says now
	return refused.orNil()
}

func parseRecipients(to []string) (addresses []string, refused *RefusedError) {
	refused = &RefusedError{}
	for _, text := range to {
		address, err := netmail.ParseAddress(text)
		if err != nil {
			refused.add(text, errors.New("not a mail address"))
			continue
		}
		addresses = append(addresses, address.Address)
	}
	return addresses, refused
}

func (e *RefusedError) add(recipient string, err error) {
	e.Recipients = append(e.Recipients, recipient)
	e.Reason = withoutAddresses(err, e.Recipients).Error()
}

func (e *RefusedError) orNil() error {
	if len(e.Recipients) == 0 {
		return nil
	}
	return e
}

func (e *RefusedError) orReason(reason string) error {
	if e.Reason == "" {
		e.Reason = reason
	}
	return e
}

// refusal is a failure for all recipients: a final one is a RefusedError.
func refusal(err error, what string, recipients []string) error {
	reason := withoutAddresses(err, recipients)
	if isFinal(err) {
		return &RefusedError{Recipients: recipients, Reason: what + ": " + reason.Error()}
	}
	return fmt.Errorf("%s: %w", what, reason)
}

// isFinal reports whether a server's answer will stay the same. A server that
// asks for other credentials may get them one day.
func isFinal(err error) bool {
	var answer *textproto.Error
	if !errors.As(err, &answer) {
		return false
	}
	switch answer.Code {
	case 530, 534, 535, 538:
		return false
	default:
		return answer.Code >= 500
	}
}

// withoutAddresses makes a server's answer one line without the addresses.
func withoutAddresses(err error, addresses []string) error {
	var answer *textproto.Error
	if !errors.As(err, &answer) {
		return err
	}
	text := answer.Msg
	for _, address := range addresses {
		text = regexp.MustCompile("(?i)"+regexp.QuoteMeta(address)).ReplaceAllString(text, "recipient")
	}
	return fmt.Errorf("%d %s", answer.Code, oneLine(text))
}

func (s *SMTP) compose(m Message, to []string) (*mail.Msg, error) {
	message := mail.NewMsg(mail.WithNoDefaultUserAgent())
	if err := message.FromFormat(s.from.Name, s.from.Address); err != nil {
		return nil, fmt.Errorf("from: %w", err)
	}
	if err := message.To(to...); err != nil {
		return nil, &RefusedError{Recipients: to, Reason: "not a mail address"}
	}
	message.Subject(oneLine(m.Subject))
	message.SetMessageIDWithValue(s.messageID(m.Key))
	message.SetGenHeader("Auto-Submitted", "auto-generated") // RFC 3834: no out-of-office answers
	message.SetGenHeader("X-Auto-Response-Suppress", "All")
	message.SetBodyString(mail.TypeTextPlain, m.Text)
	return message, nil
}

var plainKey = regexp.MustCompile(`^[A-Za-z0-9/_=+-]+(\.[A-Za-z0-9/_=+-]+)*$`)

// messageID is the same for the same key, so that mail servers and readers
// recognise a message that was delivered twice.
func (s *SMTP) messageID(key string) string {
	local := key
	if len(key) > 64 || !plainKey.MatchString(key) {
		sum := sha256.Sum256([]byte(key))
		local = hex.EncodeToString(sum[:16])
	}
	_, domain, _ := strings.Cut(s.from.Address, "@")
	return local + "@" + domain
}
