// Package config reads the environment, once, at start. A value that is missing
// or cannot be read is refused with its name and what is accepted; nothing that
// is secret is ever printed.
package config

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"reflect"
	"slices"
	"strings"

	"github.com/caarlos0/env/v11"
	"github.com/shopspring/decimal"
)

// Config is everything that is configured. The tags hold each variable's name
// and default, what is accepted, and which part of the product cannot do
// without it.
type Config struct {
	DatabaseURL Secret `env:"DATABASE_URL" need:"database" accepted:"a URL like postgres://user:password@host:5432/arrears"`

	TemporalAddress   string `env:"TEMPORAL_ADDRESS" need:"temporal" accepted:"host:port, like localhost:7233"`
	TemporalNamespace string `env:"TEMPORAL_NAMESPACE" envDefault:"default"`
	TemporalAPIKey    Secret `env:"TEMPORAL_API_KEY"`
	TemporalTLSCert   string `env:"TEMPORAL_TLS_CERT" accepted:"the path of a client certificate in PEM, together with TEMPORAL_TLS_KEY"`
	TemporalTLSKey    string `env:"TEMPORAL_TLS_KEY" accepted:"the path of the certificate's key in PEM, together with TEMPORAL_TLS_CERT"`
	TemporalTLSCA     string `env:"TEMPORAL_TLS_CA" accepted:"the path of the server's root certificates in PEM"`

	StripeSecretKey      Secret   `env:"STRIPE_SECRET_KEY" need:"stripe" accepted:"sk_test_…, sk_live_…, rk_test_… or rk_live_…"`
	StripeAPIBase        string   `env:"STRIPE_API_BASE" envDefault:"https://api.stripe.com" accepted:"an http or https URL without a path"`
	StripeCallsPerSecond float64  `env:"STRIPE_CALLS_PER_SECOND" envDefault:"20" accepted:"the calls per second that each of Stripe's endpoints gets, from 1 to 100000"`
	StripeWebhookSecrets []Secret `env:"STRIPE_WEBHOOK_SECRET" need:"webhook" accepted:"whsec_…, or several with commas between while one is being replaced"`

	SMTPURL  Secret `env:"SMTP_URL" accepted:"a URL like smtp://user:password@mail.example.com:587?from=billing@example.com, or smtps://…"`
	MailFrom string `env:"ARREARS_MAIL_FROM" accepted:"the mail address that notices come from, where SMTP_URL names none"`

	NotifyURL     string   `env:"ARREARS_NOTIFY_URL" accepted:"the https URL that notices are posted to (http on this machine), together with ARREARS_NOTIFY_SECRET"`
	NotifySecrets []Secret `env:"ARREARS_NOTIFY_SECRET" accepted:"whsec_ and 24 to 64 bytes in base64, or several with commas between while one is being replaced, together with ARREARS_NOTIFY_URL"`

	SellerName    string `env:"ARREARS_SELLER_NAME"`
	SellerAddress string `env:"ARREARS_SELLER_ADDRESS"`
	SellerTaxID   string `env:"ARREARS_SELLER_TAX_ID"`
	SellerEmail   string `env:"ARREARS_SELLER_EMAIL" accepted:"the mail address for questions about invoices"`

	GatewayURL string         `env:"ARREARS_GATEWAY_URL" envDefault:"http://localhost:8080" accepted:"an http or https URL without a path"`
	APIKey     Secret         `env:"ARREARS_API_KEY" accepted:"at least 16 characters"`
	Listen     string         `env:"ARREARS_LISTEN" envDefault:"127.0.0.1:8080" accepted:"host:port, or :port for every interface"`
	MaxBody    int64          `env:"ARREARS_MAX_BODY" envDefault:"1048576" accepted:"a number of bytes from 1024 to 1073741824"`
	RateLimit  int            `env:"ARREARS_RATE_LIMIT" envDefault:"1000" accepted:"the requests per second that each key may send, from 0 (any number) to 1000000"`
	Proxies    []netip.Prefix `env:"ARREARS_TRUSTED_PROXIES" accepted:"the networks of the proxies whose X-Forwarded-For is believed, like 10.0.0.0/8, with commas between"`
	LimitFail  string         `env:"ARREARS_LIMIT_FAIL" envDefault:"open" accepted:"open (requests run while their limits cannot be read) or closed (they are blocked)"`
	ActionURL  string         `env:"ARREARS_ACTION_URL" accepted:"an http or https URL where people have a limit raised; {organization} in it stands for the organisation's id"`

	BoundGrowth   decimal.NullDecimal `env:"ARREARS_BOUND_GROWTH" accepted:"how many times the charges of the period before an invoice's may be before a person must release it (10 if unset), or 0 for any"`
	BoundFloor    decimal.NullDecimal `env:"ARREARS_BOUND_FLOOR" accepted:"the charges up to which their growth does not matter, in the organisation's currency"`
	BoundTotal    decimal.NullDecimal `env:"ARREARS_BOUND_TOTAL" accepted:"the total above which a person must release an invoice, or 0 for none"`
	BoundCredit   decimal.NullDecimal `env:"ARREARS_BOUND_CREDIT" accepted:"how far below zero a period's charges may lie before a person must release its invoice, or 0 for any"`
	FourEyesAbove decimal.NullDecimal `env:"ARREARS_FOUR_EYES_ABOVE" accepted:"the total above which two people must release an invoice that is held back, or 0 for none"`

	LogLevel  slog.Level `env:"LOG_LEVEL" envDefault:"info" accepted:"debug, info, warn or error"`
	LogFormat string     `env:"LOG_FORMAT" envDefault:"text" accepted:"text or json"`
}

// Need is a part of the product that cannot do without some of the values.
type Need string

// The parts: each asks only for what it uses.
const (
	Database Need = "database"
	Temporal Need = "temporal"
	Stripe   Need = "stripe"
	Webhook  Need = "webhook" // Stripe's webhooks
)

// Load reads the environment, written as os.Environ does, for a program that
// needs the given parts. All that is wrong is said at once.
func Load(environ []string, needs ...Need) (Config, error) {
	values := env.ToMap(environ)
	for name, value := range values {
		if strings.TrimSpace(value) == "" {
			delete(values, name) // as compose files leave what is not set
		}
	}
	var c Config
	problems := readErrors(env.ParseWithOptions(&c, env.Options{Environment: values}), values)
	refused := map[string]bool{}
	for _, p := range problems {
		refused[p.name] = true
	}
	checks := c.checks()
	for _, f := range fields() {
		check, checked := checks[f.name]
		_, given := values[f.name]
		switch {
		case refused[f.name]:
		case !given && f.need != "" && slices.Contains(needs, f.need):
			problems = append(problems, problem{f.name, fmt.Sprintf("%s is missing; accepted: %s", f.name, f.accepted)})
		case given && checked && !check:
			problems = append(problems, bad(f, values[f.name]))
		}
	}
	if len(problems) == 0 {
		return c, nil
	}
	lines := make([]error, len(problems))
	for i, p := range problems {
		lines[i] = errors.New(p.text)
	}
	return Config{}, errors.Join(lines...)
}

// checks tells, for each value that its type does not check, whether it will do.
func (c *Config) checks() map[string]bool {
	return map[string]bool{
		"DATABASE_URL":            hasScheme(string(c.DatabaseURL), "postgres", "postgresql"),
		"TEMPORAL_ADDRESS":        isAddress(c.TemporalAddress),
		"TEMPORAL_TLS_CERT":       c.TemporalTLSKey != "",
		"TEMPORAL_TLS_KEY":        c.TemporalTLSCert != "",
		"STRIPE_SECRET_KEY":       isStripeKey(string(c.StripeSecretKey)),
		"STRIPE_API_BASE":         isBaseURL(c.StripeAPIBase),
		"STRIPE_CALLS_PER_SECOND": c.StripeCallsPerSecond >= 1 && c.StripeCallsPerSecond <= 100_000,
		"STRIPE_WEBHOOK_SECRET":   areWebhookSecrets(c.StripeWebhookSecrets),
		"SMTP_URL":                hasScheme(string(c.SMTPURL), "smtp", "smtps"),
		"ARREARS_MAIL_FROM":       strings.Count(c.MailFrom, "@") == 1,
		"ARREARS_NOTIFY_URL":      hasScheme(c.NotifyURL, "http", "https") && len(c.NotifySecrets) > 0,
		"ARREARS_NOTIFY_SECRET":   areWebhookSecrets(c.NotifySecrets) && c.NotifyURL != "",
		"ARREARS_SELLER_EMAIL":    strings.Count(c.SellerEmail, "@") == 1,
		"ARREARS_GATEWAY_URL":     isBaseURL(c.GatewayURL),
		"ARREARS_API_KEY":         len(c.APIKey) >= 16,
		"ARREARS_LISTEN":          isAddress(c.Listen),
		"ARREARS_MAX_BODY":        c.MaxBody >= 1<<10 && c.MaxBody <= 1<<30,
		"ARREARS_RATE_LIMIT":      c.RateLimit >= 0 && c.RateLimit <= 1_000_000,
		"ARREARS_LIMIT_FAIL":      c.LimitFail == "open" || c.LimitFail == "closed",
		"ARREARS_ACTION_URL":      hasScheme(strings.ReplaceAll(c.ActionURL, "{organization}", "o"), "http", "https"),
		"ARREARS_BOUND_GROWTH":    !c.BoundGrowth.Decimal.IsNegative(),
		"ARREARS_BOUND_FLOOR":     !c.BoundFloor.Decimal.IsNegative(),
		"ARREARS_BOUND_TOTAL":     !c.BoundTotal.Decimal.IsNegative(),
		"ARREARS_BOUND_CREDIT":    !c.BoundCredit.Decimal.IsNegative(),
		"ARREARS_FOUR_EYES_ABOVE": !c.FourEyesAbove.Decimal.IsNegative(),
		"LOG_FORMAT":              c.LogFormat == "text" || c.LogFormat == "json",
	}
}

// Live reports whether the Stripe key moves real money.
func (c *Config) Live() bool { return strings.Contains(string(c.StripeSecretKey), "k_live_") }

type problem struct{ name, text string }

// field is what the tags of one field of Config say.
type field struct {
	goName, name, accepted string
	need                   Need
	secret                 bool
}

func fields() []field {
	t := reflect.TypeFor[Config]()
	list := make([]field, 0, t.NumField())
	for i := range t.NumField() {
		f := t.Field(i)
		secret := f.Type == reflect.TypeFor[Secret]() || f.Type == reflect.TypeFor[[]Secret]()
		list = append(list, field{f.Name, f.Tag.Get("env"), f.Tag.Get("accepted"), Need(f.Tag.Get("need")), secret})
	}
	return list
}

// readErrors turns the parser's errors into ours, which name the variable.
func readErrors(err error, values map[string]string) []problem {
	if err == nil {
		return nil
	}
	var all env.AggregateError
	if !errors.As(err, &all) {
		return []problem{{"", err.Error()}}
	}
	var problems []problem
	for _, one := range all.Errors {
		var parse env.ParseError
		if !errors.As(one, &parse) {
			problems = append(problems, problem{"", one.Error()})
			continue
		}
		for _, f := range fields() {
			if f.goName == parse.Name {
				problems = append(problems, bad(f, values[f.name]))
			}
		}
	}
	return problems
}

func bad(f field, value string) problem {
	if f.secret {
		value = "not usable (its value is not shown)"
	} else {
		value = fmt.Sprintf("%q", value)
	}
	return problem{f.name, fmt.Sprintf("%s is %s; accepted: %s", f.name, value, f.accepted)}
}

func hasScheme(value string, schemes ...string) bool {
	u, err := url.Parse(value)
	return err == nil && slices.Contains(schemes, u.Scheme) && (u.Host != "" || u.RawQuery != "")
}

func isBaseURL(value string) bool {
	u, err := url.Parse(value)
	return err == nil && hasScheme(value, "http", "https") && u.Host != "" && (u.Path == "" || u.Path == "/")
}

func isAddress(value string) bool {
	_, port, err := net.SplitHostPort(value)
	return err == nil && port != ""
}

func isStripeKey(value string) bool {
	return slices.ContainsFunc([]string{"sk_test_", "sk_live_", "rk_test_", "rk_live_"},
		func(prefix string) bool { return strings.HasPrefix(value, prefix) && len(value) > len(prefix) })
}

func areWebhookSecrets(secrets []Secret) bool {
	return len(secrets) > 0 && !slices.ContainsFunc(secrets, func(s Secret) bool {
		return !strings.HasPrefix(string(s), "whsec_") || strings.TrimSpace(string(s)) != string(s)
	})
}
