package devstack

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"go.temporal.io/sdk/client"

	"github.com/arrears-dev/arrears/internal/devstack/fakestripe"
)

// databaseName is the product's database in an own cluster.
const databaseName = "arrears"

// startPostgres starts a cluster and migrates its database.
func (s *Stack) startPostgres(ctx context.Context) error {
	databaseURL := s.named("PostgreSQL", databaseEnv)
	if databaseURL == "" {
		start := time.Now()
		pg, err := StartPostgres(ctx, PostgresOptions{
			DataDir:   s.folder.join("postgres"),
			Throwaway: s.folder.throwaway,
			LogFile:   s.logFile("postgres"),
			Getenv:    s.opts.Getenv,
			Log:       s.opts.Log,
		})
		if err != nil {
			return err
		}
		s.add(part{name: "PostgreSQL", stop: pg.Stop, ended: pg.process.done, why: pg.process.ended})
		if err := createDatabase(ctx, pg.URL("postgres"), databaseName); err != nil {
			return fmt.Errorf("PostgreSQL: %w", err)
		}
		databaseURL = pg.URL(databaseName)
		s.ready("PostgreSQL", withoutPassword(databaseURL), start)
	}
	s.env[databaseEnv] = databaseURL
	if s.opts.Migrate == nil {
		return nil
	}
	if err := s.opts.Migrate(ctx, databaseURL); err != nil {
		return fmt.Errorf("migrate the database: %w", err)
	}
	return nil
}

func createDatabase(ctx context.Context, adminURL, name string) error {
	conn, err := pgx.Connect(ctx, adminURL)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	var exists bool
	if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", name).Scan(&exists); err != nil || exists {
		return err
	}
	_, err = conn.Exec(ctx, "CREATE DATABASE "+pgx.Identifier{name}.Sanitize())
	return err
}

// startTemporal starts a server with its web UI.
func (s *Stack) startTemporal(ctx context.Context) error {
	namespace := s.opts.Getenv(namespaceEnv)
	if namespace == "" {
		namespace = client.DefaultNamespace
	}
	s.env[namespaceEnv] = namespace
	if address := s.named("Temporal", temporalEnv); address != "" {
		s.env[temporalEnv] = address
		s.keep(temporalUIEnv)
		return nil
	}
	// Credentials for some other server would keep clients away from ours.
	for _, name := range temporalCredentials {
		if s.opts.Getenv(name) != "" {
			s.env[name] = ""
		}
	}
	start := time.Now()
	dataDir := ""
	if !s.folder.throwaway {
		dataDir = s.folder.join("temporal")
	}
	server, err := StartTemporal(ctx, TemporalOptions{
		DataDir:          dataDir,
		Namespace:        namespace,
		SearchAttributes: s.opts.SearchAttributes,
		LogFile:          s.logFile("temporal"),
		Getenv:           s.opts.Getenv,
		Log:              s.opts.Log,
	})
	if err != nil {
		return err
	}
	s.add(part{name: "Temporal", stop: server.Stop, ended: server.process.done, why: server.process.ended})
	s.env[temporalEnv] = server.Address()
	s.env[temporalUIEnv] = server.UIURL()
	s.ready("Temporal", server.Address()+", web UI "+server.UIURL(), start)
	return nil
}

// startStripe serves the local Stripe in this process, unless the environment
// names another or a real account.
func (s *Stack) startStripe(ctx context.Context) error {
	key := s.opts.Getenv(stripeKeyEnv)
	if strings.Contains(key, "_live_") {
		return fmt.Errorf("%s is a live key: a development stack must not move real money", stripeKeyEnv)
	}
	if err := s.chooseGateway(); err != nil { // where webhooks go
		return err
	}
	s.env[webhookSecretEnv] = s.secret(webhookSecretEnv, "whsec_")
	base := s.opts.Getenv(stripeBaseEnv)
	if base != "" || key != "" && !strings.HasPrefix(key, localKeyPrefix) {
		where := base
		if where == "" {
			where = "the test account of " + stripeKeyEnv
		}
		say(s.opts.Log, "%-12s the one named in the environment   %s", "Stripe", where)
		s.keep(stripeBaseEnv)
		s.env[stripeKeyEnv] = s.secret(stripeKeyEnv, localKeyPrefix)
		return nil
	}
	s.env[stripeKeyEnv] = s.secret(stripeKeyEnv, localKeyPrefix)
	return s.serveStripe(ctx)
}

// localKeyPrefix marks the secret keys of local Stripes.
const localKeyPrefix = "sk_test_local"

// serveStripe runs the local Stripe on a free port.
func (s *Stack) serveStripe(ctx context.Context) error {
	start := time.Now()
	logFile, err := os.OpenFile(s.logFile("stripe"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	options := fakestripe.Options{
		WebhookURL:    s.env[gatewayEnv] + "/v1/webhooks/stripe",
		WebhookSecret: s.env[webhookSecretEnv],
		Log:           slog.New(slog.NewTextHandler(logFile, nil)),
	}
	if !s.folder.throwaway {
		options.StateFile = s.folder.join("stripe.json")
	}
	stripe, err := fakestripe.New(options)
	if err != nil {
		return errors.Join(fmt.Errorf("local Stripe: %w", err), logFile.Close())
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return errors.Join(fmt.Errorf("local Stripe: %w", err), stripe.Close(), logFile.Close())
	}
	server := &http.Server{Handler: stripe, ReadHeaderTimeout: 10 * time.Second}
	ended := make(chan struct{})
	var why error
	go func() {
		why = fmt.Errorf("local Stripe ended: %w", server.Serve(listener))
		close(ended)
	}()
	s.add(part{
		name: "local Stripe",
		stop: func() error {
			// Not Shutdown: the clients have ended, and a request that is
			// being held on purpose must not hold up the rest.
			return errors.Join(server.Close(), stripe.Close(), logFile.Close())
		},
		ended: ended,
		why:   func() error { return why },
	})
	s.env[stripeBaseEnv] = "http://" + listener.Addr().String()
	s.ready("local Stripe", s.env[stripeBaseEnv], start)
	return nil
}

// logFile is where a part's log goes.
func (s *Stack) logFile(name string) string {
	return s.opts.LogDir + string(os.PathSeparator) + name + ".log"
}
