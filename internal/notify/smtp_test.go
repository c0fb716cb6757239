package notify

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"mime"
	"mime/quotedprintable"
	"net"
	netmail "net/mail"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	gosmtp "github.com/emersion/go-smtp"
	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
)

// mailServer is a real SMTP server on loopback that keeps what it gets and
// answers as it is told.
type mailServer struct {
	address string
	certs   *x509.CertPool

	onMail func(from string) error
	onRcpt func(to string) error
	onData func() error

	mu       sync.Mutex
	received []received
	sessions int
}

type received struct {
	from string
	to   []string
	text string
	user string
	tls  bool
}

type serverOptions struct{ startTLS, implicitTLS, auth bool }

func serve(t *testing.T, o serverOptions) *mailServer {
	t.Helper()
	m := &mailServer{}
	server := gosmtp.NewServer(gosmtp.BackendFunc(func(c *gosmtp.Conn) (gosmtp.Session, error) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.sessions++
		s := &session{server: m, conn: c}
		if o.auth {
			return &authSession{s}, nil
		}
		return s, nil
	}))
	server.Domain, server.AllowInsecureAuth, server.ErrorLog = "localhost", true, quiet{}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	m.address = listener.Addr().String()
	if o.startTLS || o.implicitTLS {
		certificate := selfSigned(t)
		m.certs = x509.NewCertPool()
		m.certs.AddCert(certificate.Leaf)
		config := &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
		if o.implicitTLS {
			listener = tls.NewListener(listener, config)
		} else {
			server.TLSConfig = config
		}
	}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	return m
}

type quiet struct{}

func (quiet) Printf(string, ...any) {}
func (quiet) Println(...any)        {}

func selfSigned(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	leaf, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

type session struct {
	server  *mailServer
	conn    *gosmtp.Conn
	current received
	user    string
}

func (s *session) Reset()        { s.current = received{} }
func (s *session) Logout() error { return nil }

func (s *session) Mail(from string, _ *gosmtp.MailOptions) error {
	s.current.from = from
	if s.server.onMail != nil {
		return s.server.onMail(from)
	}
	return nil
}

func (s *session) Rcpt(to string, _ *gosmtp.RcptOptions) error {
	if s.server.onRcpt != nil {
		if err := s.server.onRcpt(to); err != nil {
			return err
		}
	}
	s.current.to = append(s.current.to, to)
	return nil
}

func (s *session) Data(r io.Reader) error {
	text, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if s.server.onData != nil {
		if err := s.server.onData(); err != nil {
			return err
		}
	}
	s.current.text, s.current.user = string(text), s.user
	_, s.current.tls = s.conn.TLSConnectionState()
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	s.server.received = append(s.server.received, s.current)
	return nil
}

type authSession struct{ *session }

func (s *authSession) AuthMechanisms() []string { return []string{sasl.Plain} }

func (s *authSession) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		if user != "arrears" || password != "s3cr&t" {
			return gosmtp.ErrAuthFailed
		}
		s.user = user
		return nil
	}), nil
}

func (s *authSession) Mail(from string, o *gosmtp.MailOptions) error {
	if s.user == "" {
		return gosmtp.ErrAuthRequired
	}
	return s.session.Mail(from, o)
}

// only returns the one message that arrived, with its header and decoded text.
func (m *mailServer) only(t *testing.T) (received, netmail.Header, string) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	require.Len(t, m.received, 1)
	parsed, err := netmail.ReadMessage(strings.NewReader(m.received[0].text))
	require.NoError(t, err)
	require.Equal(t, "quoted-printable", parsed.Header.Get("Content-Transfer-Encoding"))
	text, err := io.ReadAll(quotedprintable.NewReader(parsed.Body))
	require.NoError(t, err)
	return m.received[0], parsed.Header, strings.ReplaceAll(string(text), "\r\n", "\n")
}

func (m *mailServer) open(t *testing.T, format string) *SMTP {
	t.Helper()
	channel, err := OpenSMTP(fmt.Sprintf(format, m.address))
	require.NoError(t, err)
	channel.roots = m.certs
	return channel
}

func answer(code int, text string) *gosmtp.SMTPError {
	return &gosmtp.SMTPError{Code: code, EnhancedCode: gosmtp.NoEnhancedCode, Message: text}
}

func TestMailIsDeliveredOnce(t *testing.T) {
	t.Parallel()
	server := serve(t, serverOptions{})
	m := Spend(spendNotice(func(n *SpendNotice) {
		n.Scope, n.Subject, n.To = billing.ScopeUser, "größe_13", []string{"billing@acme.example", "Zoë <zoe@acme.example>"}
	}))
	require.NoError(t, server.open(t, "smtp://%s?from=Acme+Billing+<no-reply@arrears.example>").Deliver(t.Context(), m))

	got, header, text := server.only(t)
	require.Equal(t, "no-reply@arrears.example", got.from)
	require.Equal(t, []string{"billing@acme.example", "zoe@acme.example"}, got.to)
	require.False(t, got.tls)
	subject, err := new(mime.WordDecoder).DecodeHeader(header.Get("Subject"))
	require.NoError(t, err)
	require.Equal(t, m.Subject, subject)
	require.Equal(t, m.Text, text)
	require.Equal(t, "<notice/17@arrears.example>", header.Get("Message-Id"))
	require.Equal(t, `"Acme Billing" <no-reply@arrears.example>`, header.Get("From"))
	require.Equal(t, "auto-generated", header.Get("Auto-Submitted"))
	require.Contains(t, header.Get("Content-Type"), "text/plain")
	require.Empty(t, header.Get("X-Mailer"))
	require.Empty(t, header.Get("User-Agent"))
	date, err := header.Date()
	require.NoError(t, err)
	require.WithinDuration(t, time.Now(), date, time.Minute)
}

func TestMailsOfOneKeyAreRecognisable(t *testing.T) {
	t.Parallel()
	s, err := OpenSMTP("smtp://localhost")
	require.NoError(t, err)
	require.Equal(t, "payment/acme/2026-10-01/declined/2@localhost", s.messageID("payment/acme/2026-10-01/declined/2"))
	for _, key := range []string{"a b", "x@y", "a..b", ".a", "a\r\nb", "ä", strings.Repeat("k", 65), ""} {
		id := s.messageID(key)
		require.Regexp(t, `^[0-9a-f]{32}@localhost$`, id)
		require.Equal(t, id, s.messageID(key))
		require.NotEqual(t, id, s.messageID(key+"!"))
	}
}

func TestMailHeadersCannotBeInjected(t *testing.T) {
	t.Parallel()
	server := serve(t, serverOptions{})
	m := Message{
		Key: "k\r\nX-Key: 1", Subject: "hi\r\nBcc: thief@example.com\r\n\r\nbody", Text: "text\n.\nQUIT\n",
		To: []string{"ok@acme.example", "a@acme.example\r\nRCPT TO:<thief@example.com>", "thief@example.com>,<x@y.example"},
	}
	err := server.open(t, "smtp://%s").Deliver(t.Context(), m)
	var refused *RefusedError
	require.ErrorAs(t, err, &refused)
	require.Equal(t, m.To[1:], refused.Recipients)
	got, header, text := server.only(t)
	require.Equal(t, []string{"ok@acme.example"}, got.to)
	require.Equal(t, "hi Bcc: thief@example.com body", header.Get("Subject"))
	require.Empty(t, header.Get("Bcc"))
	require.Empty(t, header.Get("X-Key"))
	require.Equal(t, m.Text, text)
}

func TestRefusalsAreToldFromDelays(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		answer *gosmtp.SMTPError
		final  bool
	}{
		"busy":             {answer(451, "try again later"), false},
		"mailbox full":     {answer(452, "mailbox full"), false},
		"no such mailbox":  {answer(550, "no such user"), true},
		"too big":          {answer(552, "too big"), true},
		"login wanted":     {answer(530, "authentication required"), false},
		"password expired": {answer(535, "bad credentials"), false},
	} {
		for step, set := range map[string]func(*mailServer){
			"sender":    func(m *mailServer) { m.onMail = func(string) error { return test.answer } },
			"recipient": func(m *mailServer) { m.onRcpt = func(string) error { return test.answer } },
			"content":   func(m *mailServer) { m.onData = func() error { return test.answer } },
		} {
			t.Run(name+" at "+step, func(t *testing.T) {
				t.Parallel()
				server := serve(t, serverOptions{})
				set(server)
				err := server.open(t, "smtp://%s").Deliver(t.Context(), Spend(spendNotice(func(*SpendNotice) {})))
				require.Error(t, err)
				require.Equal(t, test.final, errors.Is(err, ErrRefused), err.Error())
				require.ErrorContains(t, err, "mail notice/17: ")
				require.ErrorContains(t, err, test.answer.Message)
				require.NotContains(t, err.Error(), "@")
				require.Empty(t, server.received)
			})
		}
	}
}

func TestRefusedRecipientDoesNotKeepTheMessageFromTheOthers(t *testing.T) {
	t.Parallel()
	server := serve(t, serverOptions{})
	server.onRcpt = func(to string) error {
		if strings.HasPrefix(to, "gone") {
			return answer(550, "5.1.1 <GONE@acme.example>: gone@acme.example is unknown here")
		}
		return nil
	}
	m := Message{Key: "k", Subject: "s", Text: "t", To: []string{"gone@acme.example", "here@acme.example", "nonsense"}}
	err := server.open(t, "smtp://%s").Deliver(t.Context(), m)
	require.ErrorIs(t, err, ErrRefused)
	var refused *RefusedError
	require.ErrorAs(t, err, &refused)
	require.ElementsMatch(t, []string{"gone@acme.example", "nonsense"}, refused.Recipients)
	require.Equal(t, 1, refused.Delivered)
	require.EqualError(t, err, "mail k: 2 of 3 recipients refused: 550 5.1.1 <recipient>: recipient is unknown here")
	got, _, _ := server.only(t)
	require.Equal(t, []string{"here@acme.example"}, got.to)

	err = server.open(t, "smtp://%s").Deliver(t.Context(), Message{Key: "k", To: nil})
	require.ErrorIs(t, err, ErrRefused)
	require.ErrorContains(t, err, "no recipient")
}

func TestDelayedRecipientPostponesTheMessageForAll(t *testing.T) {
	t.Parallel()
	server := serve(t, serverOptions{})
	var greylisted sync.Once
	server.onRcpt = func(to string) (err error) {
		if strings.HasPrefix(to, "new") {
			greylisted.Do(func() { err = answer(450, "come back for "+to) })
		}
		return err
	}
	m := Message{Key: "k", Subject: "s", Text: "t", To: []string{"old@acme.example", "new@acme.example"}}
	channel := server.open(t, "smtp://%s")
	err := channel.Deliver(t.Context(), m)
	require.Error(t, err)
	require.NotErrorIs(t, err, ErrRefused)
	require.NotContains(t, err.Error(), "@")
	require.NoError(t, channel.Deliver(t.Context(), m))
	got, _, _ := server.only(t)
	require.Equal(t, m.To, got.to)
}

func TestServerThatIsDownIsADelay(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := listener.Addr().String()
	require.NoError(t, listener.Close())
	channel, err := OpenSMTP("smtp://" + address)
	require.NoError(t, err)
	err = channel.Deliver(t.Context(), Message{Key: "k", To: []string{"a@b.example"}})
	require.ErrorContains(t, err, "mail k: connect to 127.0.0.1")
	require.NotErrorIs(t, err, ErrRefused)
}

func TestMailStopsWithItsContext(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0") // accepts and says nothing
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	silent := serve(t, serverOptions{})
	release := make(chan struct{})
	defer close(release)
	silent.onData = func() error { <-release; return nil }
	for name, address := range map[string]string{"before the greeting": listener.Addr().String(), "after the content": silent.address} {
		channel, err := OpenSMTP("smtp://" + address)
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		begin := time.Now()
		err = channel.Deliver(ctx, Message{Key: "k", To: []string{"a@b.example"}})
		cancel()
		require.ErrorIs(t, err, context.DeadlineExceeded, name)
		require.NotErrorIs(t, err, ErrRefused)
		require.Less(t, time.Since(begin), 10*time.Second)
	}
}

func TestMailServersOfEachKind(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		options serverOptions
		url     string
		user    string
		tls     bool
		fails   string
	}{
		"plain":                         {url: "smtp://%s"},
		"STARTTLS offered":              {options: serverOptions{startTLS: true}, url: "smtp://%s", tls: true},
		"STARTTLS and login":            {options: serverOptions{startTLS: true, auth: true}, url: "smtp://arrears:s3cr%%26t@%s?from=a@b.example", user: "arrears", tls: true},
		"TLS throughout":                {options: serverOptions{implicitTLS: true}, url: "smtps://%s", tls: true},
		"TLS throughout and login":      {options: serverOptions{implicitTLS: true, auth: true}, url: "smtps://arrears:s3cr%%26t@%s", user: "arrears", tls: true},
		"login in the clear, loopback":  {options: serverOptions{auth: true}, url: "smtp://arrears:s3cr%%26t@%s", user: "arrears"},
		"wrong password":                {options: serverOptions{startTLS: true, auth: true}, url: "smtp://arrears:wr0ng@%s", fails: "Authentication failed"},
		"login wanted, none given":      {options: serverOptions{auth: true}, url: "smtp://%s", fails: "authenticate"},
		"login given, none offered":     {url: "smtp://arrears:s3cr%%26t@%s", fails: "does not support SMTP AUTH"},
		"smtps to a server without TLS": {url: "smtps://%s", fails: "tls"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := serve(t, test.options)
			err := server.open(t, test.url).Deliver(t.Context(), Message{Key: "k", Subject: "s", Text: "t", To: []string{"a@b.example"}})
			if test.fails != "" {
				require.ErrorContains(t, err, test.fails)
				require.NotContains(t, err.Error(), "s3cr")
				require.NotContains(t, err.Error(), "wr0ng")
				require.Empty(t, server.received)
				return
			}
			require.NoError(t, err)
			got, _, _ := server.only(t)
			require.Equal(t, test.user, got.user)
			require.Equal(t, test.tls, got.tls)
		})
	}
}

func TestMailTrustsNoUnknownCertificate(t *testing.T) {
	t.Parallel()
	for _, o := range []serverOptions{{startTLS: true}, {implicitTLS: true}} {
		server := serve(t, o)
		channel := server.open(t, map[bool]string{true: "smtps://%s", false: "smtp://%s"}[o.implicitTLS])
		channel.roots = nil
		err := channel.Deliver(t.Context(), Message{Key: "k", To: []string{"a@b.example"}})
		var unknown x509.UnknownAuthorityError
		require.ErrorAs(t, err, &unknown)
		require.NotErrorIs(t, err, ErrRefused)
		require.Empty(t, server.received)
	}
}

func TestMailsGoOutSideBySide(t *testing.T) {
	t.Parallel()
	server := serve(t, serverOptions{})
	channel := server.open(t, "smtp://%s")
	var group sync.WaitGroup
	for i := range 20 {
		group.Go(func() {
			if err := channel.Deliver(t.Context(), Message{Key: fmt.Sprint(i), Subject: "s", Text: "t", To: []string{"a@b.example"}}); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	require.Len(t, server.received, 20)
}

func TestMailsThatFollowEachOtherShareAConnection(t *testing.T) {
	t.Parallel()
	server := serve(t, serverOptions{})
	channel := server.open(t, "smtp://%s")
	for i := range 2*mailsPerConnection + 1 {
		require.NoError(t, channel.Deliver(t.Context(), Message{Key: fmt.Sprint(i), Subject: "s", Text: "t", To: []string{"a@b.example"}}))
	}
	require.Len(t, server.received, 2*mailsPerConnection+1)
	require.Equal(t, 3, server.sessions)

	server.onRcpt = func(string) error { return answer(450, "later") }
	require.Error(t, channel.Deliver(t.Context(), Message{Key: "postponed", Subject: "s", Text: "t", To: []string{"a@b.example"}}))
	server.onRcpt = nil
	require.NoError(t, channel.Deliver(t.Context(), Message{Key: "after", Subject: "s", Text: "t", To: []string{"a@b.example"}}))
	require.Len(t, server.received, 2*mailsPerConnection+2, "nothing of the message before is left in the connection")
}

func TestAMailServerThatHungUpMeanwhileIsCalledAgain(t *testing.T) {
	t.Parallel()
	server := serve(t, serverOptions{})
	channel := server.open(t, "smtp://%s")
	message := Message{Key: "k", Subject: "s", Text: "t", To: []string{"a@b.example"}}
	require.NoError(t, channel.Deliver(t.Context(), message))
	require.Len(t, channel.lines.idle, 1)
	channel.lines.idle[0].close() // as if it had timed out
	require.NoError(t, channel.Deliver(t.Context(), message))
	server.onMail = func(string) error {
		server.onMail = nil
		return answer(421, "too many messages on this connection")
	}
	require.NoError(t, channel.Deliver(t.Context(), message))
	require.Len(t, server.received, 3)
	require.Equal(t, 3, server.sessions)
}

func TestOpenReadsTheURL(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]SMTP{
		"smtp://localhost":                             {host: "localhost", port: 587, from: netmail.Address{Name: "Arrears", Address: "arrears@localhost"}},
		"smtp://[::1]:25/":                             {host: "::1", port: 25, from: netmail.Address{Name: "Arrears", Address: "arrears@localhost"}},
		"smtps://me%40x.example:p%40ss@mx.example":     {host: "mx.example", port: 465, implicit: true, user: "me@x.example", password: "p@ss", from: netmail.Address{Name: "Arrears", Address: "me@x.example"}},
		"smtp://u:p@mx.example:2525?from=a@b.example":  {host: "mx.example", port: 2525, user: "u", password: "p", from: netmail.Address{Name: "Arrears", Address: "a@b.example"}},
		"smtp://mx.example?from=B%20%3Ca@b.example%3E": {host: "mx.example", port: 587, from: netmail.Address{Name: "B", Address: "a@b.example"}},
	} {
		got, err := OpenSMTP(text)
		require.NoError(t, err, text)
		want.lines = got.lines
		require.Equal(t, want, *got)
	}
	for text, says := range map[string]string{
		"mx.example:25":                                           "accepted: smtp://",
		"http://mx.example":                                       "accepted: smtp://",
		"smtp://":                                                 "accepted: smtp://",
		"smtp://mx.example/path":                                  "accepted: smtp://",
		"smtp://u:secret%zz@mx.example":                           "accepted: smtp://",
		"smtp://mx.example":                                       "add ?from=ADDRESS",
		"smtp://u:secret@mx.example":                              "add ?from=ADDRESS",
		"smtp://u@mx.example?from=a@b.example":                    "user and password, or neither",
		"smtp://mx.example:0?from=a@b.example":                    "1 to 65535",
		"smtp://mx.example:99999?from=a@b.example":                "1 to 65535",
		"smtp://mx.example?from=nonsense":                         "not a mail address",
		"smtp://mx.example?from=a@b.example%0d%0aBcc:x@y.example": "not a mail address",
		"smtp://mx.example?form=a@b.example":                      `unknown setting "form"`,
	} {
		channel, err := Open(text, slog.Default())
		require.ErrorIs(t, err, billing.ErrInvalid, text)
		require.ErrorContains(t, err, "SMTP_URL: ")
		require.ErrorContains(t, err, says)
		require.NotContains(t, err.Error(), "secret")
		require.Nil(t, channel)
	}
}

func TestLogNamesTheNoticeAndNobody(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	channel, err := Open("", slog.New(slog.NewJSONHandler(&b, nil)))
	require.NoError(t, err)
	require.Equal(t, "log", channel.Name())
	require.NoError(t, channel.Deliver(t.Context(), Spend(spendNotice(func(*SpendNotice) {}))))
	require.Contains(t, b.String(), `"key":"notice/17","subject":"acme has reached 90% of its monthly spend limit","recipients":1`)
	require.NotContains(t, b.String(), "@")

	channel, err = Open("smtp://localhost", slog.Default())
	require.NoError(t, err)
	require.Equal(t, "mail", channel.Name())
}
