package notify

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/textproto"
	"time"

	"github.com/wneessen/go-mail"
	"github.com/wneessen/go-mail/smtp"
)

const (
	// mailsPerConnection is how many messages a connection carries; servers let
	// some hundred pass before they ask for a new one.
	mailsPerConnection = 100
	// idleMail is how long a connection waits for another message: long enough
	// within a round of notices, and no burden to the server after it.
	idleMail = 5 * time.Second
	// idleConnections is how many wait at most.
	idleConnections = 4
)

// connection is one to the mail server, used by one delivery at a time.
type connection struct {
	client *smtp.Client
	socket net.Conn
	sent   int // messages
	idle   *time.Timer
}

// connect returns a connection that waits, or else a new one.
func (s *SMTP) connect(ctx context.Context) (*connection, error) {
	s.lines.mu.Lock()
	for n := len(s.lines.idle); n > 0; n = len(s.lines.idle) {
		c := s.lines.idle[n-1]
		s.lines.idle = s.lines.idle[:n-1]
		if !c.idle.Stop() {
			continue // it is being hung up
		}
		s.lines.mu.Unlock()
		if c.client.UpdateDeadline(mailTimeout) != nil {
			c.close()
			return s.dial(ctx)
		}
		return c, nil
	}
	s.lines.mu.Unlock()
	return s.dial(ctx)
}

// keep lets a connection, on which a message has just been delivered, wait for
// the next one.
func (s *SMTP) keep(c *connection) {
	s.lines.mu.Lock()
	defer s.lines.mu.Unlock()
	if c.sent >= mailsPerConnection || len(s.lines.idle) >= idleConnections {
		go c.hangUp()
		return
	}
	c.idle = time.AfterFunc(idleMail, c.hangUp)
	s.lines.idle = append(s.lines.idle, c)
}

// hangUp takes leave of the server.
func (c *connection) hangUp() {
	_ = c.client.UpdateDeadline(idleMail)
	_ = c.client.Quit()
	c.close()
}

func (c *connection) close() { _ = c.socket.Close() }

// errHungUp is a connection that had ended while it waited.
var errHungUp = errors.New("the mail server has hung up")

// hungUp reports whether the server has ended a connection that waited: a message
// that it did not even begin to take may be sent on another one.
func (c *connection) hungUp(err error) bool {
	var answer *textproto.Error
	return c.sent > 0 && (!errors.As(err, &answer) || answer.Code == 421)
}

// dial connects, encrypts and authenticates.
func (s *SMTP) dial(ctx context.Context) (*connection, error) {
	config := &tls.Config{ServerName: s.host, MinVersion: tls.VersionTLS12, RootCAs: s.roots}
	made := &connection{}
	stop := func() bool { return true }
	options := []mail.Option{
		mail.WithPort(s.port), mail.WithTimeout(mailTimeout), mail.WithTLSConfig(config),
		mail.WithTLSPolicy(mail.TLSOpportunistic),
		mail.WithDialContextFunc(func(dialing context.Context, network, address string) (net.Conn, error) {
			socket, err := (&net.Dialer{}).DialContext(dialing, network, address)
			if err != nil {
				return nil, err
			}
			if s.implicit {
				socket = tls.Client(socket, config)
			}
			made.socket = socket
			stop = context.AfterFunc(ctx, made.close)
			return socket, nil
		}),
	}
	if s.implicit {
		options = append(options, mail.WithTLSPolicy(mail.NoTLS)) // no second layer inside ours
	}
	if s.user != "" {
		options = append(options, mail.WithUsername(s.user), mail.WithPassword(s.password),
			mail.WithOpportunisticSMTPAuth(mail.SMTPAuthSCRAMSHA256, mail.SMTPAuthPlain, mail.SMTPAuthLogin, mail.SMTPAuthCramMD5))
	}
	dialer, err := mail.NewClient(s.host, options...)
	if err != nil {
		return nil, err
	}
	made.client, err = dialer.DialToSMTPClientWithContext(ctx)
	stop()
	if err != nil {
		if made.socket != nil {
			made.close() // the library leaves it open
		}
		return nil, err
	}
	return made, nil
}
