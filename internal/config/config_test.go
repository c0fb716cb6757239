package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLoad(t *testing.T) {
	t.Parallel()
	all := []Need{Database, Temporal, Stripe, Webhook}
	for name, c := range map[string]struct {
		environ []string
		needs   []Need
		want    []string // all of these, in this order; none = no error
	}{
		"nothing needed, nothing given": {},
		"only what is needed is asked for": {
			environ: []string{"DATABASE_URL=postgres://u:p@h/d"}, needs: []Need{Database},
		},
		"empty is not given": {
			environ: []string{"DATABASE_URL= ", "LOG_LEVEL="}, needs: []Need{Database},
			want: []string{"DATABASE_URL is missing; accepted: a URL like postgres://user:password@host:5432/arrears"},
		},
		"everything missing is named at once": {
			needs: all,
			want:  []string{"DATABASE_URL", "TEMPORAL_ADDRESS", "STRIPE_SECRET_KEY", "STRIPE_WEBHOOK_SECRET"},
		},
		"another database": {
			environ: []string{"DATABASE_URL=mysql://root:hunter2@h/d"}, needs: []Need{Database},
			want: []string{"DATABASE_URL is not usable (its value is not shown)"},
		},
		"a publishable key": {
			environ: []string{"STRIPE_SECRET_KEY=pk_test_hunter2"}, needs: []Need{Stripe},
			want: []string{"STRIPE_SECRET_KEY is not usable", "accepted: sk_test_…"},
		},
		"what is given is checked even where it is not needed": {
			environ: []string{"STRIPE_API_BASE=localhost:12111"},
			want:    []string{`STRIPE_API_BASE is "localhost:12111"; accepted: an http or https URL without a path`},
		},
		"a certificate without its key": {
			environ: []string{"TEMPORAL_TLS_CERT=/c.pem"},
			want:    []string{"TEMPORAL_TLS_CERT", "together with TEMPORAL_TLS_KEY"},
		},
		"a place for notices without its secret": {
			environ: []string{"ARREARS_NOTIFY_URL=https://hooks.example/x"},
			want:    []string{"ARREARS_NOTIFY_URL", "together with ARREARS_NOTIFY_SECRET"},
		},
		"a notice's secret that is none": {
			environ: []string{"ARREARS_NOTIFY_URL=https://hooks.example/x", "ARREARS_NOTIFY_SECRET=hunter2"},
			want:    []string{"ARREARS_NOTIFY_SECRET is not usable"},
		},
		"a bound that is no number": {
			environ: []string{"ARREARS_BOUND_GROWTH=ten"},
			want:    []string{`ARREARS_BOUND_GROWTH is "ten"; accepted: how many times`},
		},
		"a bound below zero": {
			environ: []string{"ARREARS_FOUR_EYES_ABOVE=-1"},
			want:    []string{`ARREARS_FOUR_EYES_ABOVE is "-1"; accepted: the total above which two people`},
		},
		"an unknown log level": {
			environ: []string{"LOG_LEVEL=loud"},
			want:    []string{`LOG_LEVEL is "loud"; accepted: debug, info, warn or error`},
		},
		"a body limit that is no number": {
			environ: []string{"ARREARS_MAX_BODY=1MB"},
			want:    []string{`ARREARS_MAX_BODY is "1MB"; accepted: a number of bytes from 1024 to 1073741824`},
		},
		"a way to fail that is none": {
			environ: []string{"ARREARS_LIMIT_FAIL=ajar", "ARREARS_ACTION_URL=billing.example.com"},
			want:    []string{`ARREARS_LIMIT_FAIL is "ajar"; accepted: open`, "ARREARS_ACTION_URL"},
		},
		"proxies that are no networks": {
			environ: []string{"ARREARS_TRUSTED_PROXIES=10.0.0.0/8,proxy.example"},
			want:    []string{`ARREARS_TRUSTED_PROXIES is "10.0.0.0/8,proxy.example"; accepted: the networks of the proxies`},
		},
		"proxies that are": {environ: []string{"ARREARS_TRUSTED_PROXIES=10.0.0.0/8,fd00::/8"}},
		"a webhook secret among others that is none": {
			environ: []string{"STRIPE_WEBHOOK_SECRET=whsec_a,hunter2"}, needs: []Need{Webhook},
			want: []string{"STRIPE_WEBHOOK_SECRET is not usable"},
		},
		"a key that can be guessed": {
			environ: []string{"ARREARS_API_KEY=hunter2"}, needs: []Need{},
			want: []string{"ARREARS_API_KEY is not usable", "accepted: at least 16 characters"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Load(c.environ, c.needs...)
			if len(c.want) == 0 {
				require.NoError(t, err)
				return
			}
			require.Error(t, err)
			require.NotContains(t, err.Error(), "hunter2")
			rest := err.Error()
			for _, want := range c.want {
				_, after, found := strings.Cut(rest, want)
				require.True(t, found, "%q in %q", want, err)
				rest = after
			}
		})
	}
}

func TestDefaultsAndLists(t *testing.T) {
	t.Parallel()
	c, err := Load([]string{"STRIPE_WEBHOOK_SECRET=whsec_new,whsec_old", "STRIPE_SECRET_KEY=rk_live_1"}, Stripe, Webhook)
	require.NoError(t, err)
	require.Equal(t, []Secret{"whsec_new", "whsec_old"}, c.StripeWebhookSecrets)
	require.True(t, c.Live())
	require.Equal(t, "https://api.stripe.com", c.StripeAPIBase)
	require.Equal(t, "default", c.TemporalNamespace)
	require.EqualValues(t, 1<<20, c.MaxBody)
}

func TestSecretsAreNeverPrinted(t *testing.T) {
	t.Parallel()
	const canary = "hunter2-hunter2-hunter2"
	c, err := Load([]string{
		"DATABASE_URL=postgres://u:" + canary + "@h/d", "STRIPE_SECRET_KEY=sk_test_" + canary, "ARREARS_API_KEY=" + canary,
		"STRIPE_WEBHOOK_SECRET=whsec_" + canary, "SMTP_URL=smtp://u:" + canary + "@h:25", "TEMPORAL_API_KEY=" + canary,
	})
	require.NoError(t, err)
	asJSON, err := json.Marshal(c)
	require.NoError(t, err)
	var log bytes.Buffer
	c.Logger(&log).Info("started", "config", c, "key", c.APIKey)
	for _, printed := range []string{fmt.Sprint(c), fmt.Sprintf("%+v %#v %q %x", c, c, c.APIKey, c.APIKey), string(asJSON), log.String()} {
		require.NotContains(t, printed, canary)
		require.NotContains(t, printed, fmt.Sprintf("%x", canary))
	}
}

func TestTemporalOptions(t *testing.T) {
	t.Parallel()
	plain, err := Load([]string{"TEMPORAL_ADDRESS=localhost:7233"}, Temporal)
	require.NoError(t, err)
	options, err := plain.TemporalOptions(plain.Logger(&bytes.Buffer{}))
	require.NoError(t, err)
	require.Nil(t, options.ConnectionOptions.TLS)

	withKey, err := Load([]string{"TEMPORAL_ADDRESS=a.tmprl.cloud:7233", "TEMPORAL_API_KEY=k"}, Temporal)
	require.NoError(t, err)
	options, err = withKey.TemporalOptions(withKey.Logger(&bytes.Buffer{}))
	require.NoError(t, err)
	require.NotNil(t, options.ConnectionOptions.TLS)
	require.NotNil(t, options.Credentials)

	notPEM := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(notPEM, []byte("nothing"), 0o600))
	wrongCA, err := Load([]string{"TEMPORAL_ADDRESS=h:7233", "TEMPORAL_TLS_CA=" + notPEM}, Temporal)
	require.NoError(t, err)
	_, err = wrongCA.TemporalOptions(wrongCA.Logger(&bytes.Buffer{}))
	require.ErrorContains(t, err, "TEMPORAL_TLS_CA")
}
