package config

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"
)

// TemporalOptions returns how to reach the Temporal server: with an API key or
// TLS files encrypted, else in plain text, as on one machine.
func (c *Config) TemporalOptions(logger *slog.Logger) (client.Options, error) {
	options := client.Options{
		HostPort:  c.TemporalAddress,
		Namespace: c.TemporalNamespace,
		Logger:    log.NewStructuredLogger(logger),
	}
	if c.TemporalAPIKey != "" {
		options.Credentials = client.NewAPIKeyStaticCredentials(string(c.TemporalAPIKey))
	}
	if c.TemporalAPIKey == "" && c.TemporalTLSCert == "" && c.TemporalTLSCA == "" {
		return options, nil
	}
	tlsConfig, err := c.temporalTLS()
	options.ConnectionOptions.TLS = tlsConfig
	return options, err
}

func (c *Config) temporalTLS() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.TemporalTLSCert != "" {
		pair, err := tls.LoadX509KeyPair(c.TemporalTLSCert, c.TemporalTLSKey)
		if err != nil {
			return nil, fmt.Errorf("TEMPORAL_TLS_CERT and TEMPORAL_TLS_KEY: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	if c.TemporalTLSCA != "" {
		pem, err := os.ReadFile(c.TemporalTLSCA)
		if err != nil {
			return nil, fmt.Errorf("TEMPORAL_TLS_CA: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("TEMPORAL_TLS_CA: %s holds no certificate in PEM", c.TemporalTLSCA)
		}
	}
	return config, nil
}
