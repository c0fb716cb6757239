// Command temporal-dev is the Temporal server of the development stack: all
// of its services, SQLite and the web UI in one process, ready in half a
// second.
//
// It is a Go module of its own, so that the server's few hundred dependencies
// never meet the product's: the server and the SDK must agree on one version
// of go.temporal.io/api, and each may want another. Package devstack builds
// it once into bin/ and runs it as a child process.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	uiserver "github.com/temporalio/ui-server/v2/server"
	uiconfig "github.com/temporalio/ui-server/v2/server/config"
	uioptions "github.com/temporalio/ui-server/v2/server/server_options"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/server/common/log"
	"go.temporal.io/server/temporal"
)

// options are the command's flags.
type options struct {
	address    string
	uiAddress  string
	db         string
	namespace  string
	attributes map[string]enumspb.IndexedValueType
	logLevel   string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		slog.Error("temporal-dev stopped", "error", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	opts, err := parse(args)
	if err != nil {
		return err
	}
	cfg, err := opts.serverConfig()
	if err != nil {
		return err
	}
	if err := opts.prepareDatabase(cfg); err != nil {
		return err
	}
	// On Stop the server writes pages of "context canceled" with stack traces
	// at level error, so only fatal ones are shown unless asked for.
	logger := log.NewZapLogger(log.BuildZapLogger(log.Config{Level: opts.logLevel}))
	server, err := temporal.NewServer(serverOptions(cfg, logger)...)
	if err != nil {
		return fmt.Errorf("configure the Temporal server: %w", err)
	}
	if err := server.Start(); err != nil {
		return fmt.Errorf("start the Temporal server: %w", err)
	}
	defer func() { _ = server.Stop() }()

	if err := addSearchAttributes(ctx, opts); err != nil {
		return err
	}
	uiStopped, stopUI, err := startUI(opts)
	if err != nil {
		return err
	}
	defer stopUI()

	fmt.Printf("temporal-dev: serving %s\n", opts.address)
	select {
	case <-ctx.Done():
		return nil
	case err := <-uiStopped:
		return fmt.Errorf("web UI on %s: %w", opts.uiAddress, err)
	}
}

// parse reads the flags and checks each of them.
func parse(args []string) (options, error) {
	opts := options{attributes: map[string]enumspb.IndexedValueType{}}
	flags := flag.NewFlagSet("temporal-dev", flag.ContinueOnError)
	flags.StringVar(&opts.address, "address", "127.0.0.1:7233", "`host:port` of the gRPC frontend")
	flags.StringVar(&opts.uiAddress, "ui-address", "", "`host:port` of the web UI; empty for none")
	flags.StringVar(&opts.db, "db", "", "SQLite `file` that keeps everything; empty for memory")
	flags.StringVar(&opts.namespace, "namespace", "default", "`namespace` to register")
	flags.StringVar(&opts.logLevel, "log-level", "fatal", "`level` of the server's own log")
	flags.Func("search-attribute", "`Name=Type` to register, Type one of Text, Keyword, Int, Double, Bool, Datetime, KeywordList (repeatable)",
		func(value string) error {
			name, kind, _ := strings.Cut(value, "=")
			indexed, err := enumspb.IndexedValueTypeFromString(kind)
			if err != nil || name == "" || indexed == enumspb.INDEXED_VALUE_TYPE_UNSPECIFIED {
				return fmt.Errorf("want Name=Type, got %q", value)
			}
			opts.attributes[name] = indexed
			return nil
		})
	if err := flags.Parse(args); err != nil {
		return options{}, err
	}
	if flags.NArg() > 0 {
		return options{}, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if _, _, err := splitAddress(opts.address); err != nil {
		return options{}, fmt.Errorf("--address: %w", err)
	}
	if opts.uiAddress == "" {
		return opts, nil
	}
	if _, _, err := splitAddress(opts.uiAddress); err != nil {
		return options{}, fmt.Errorf("--ui-address: %w", err)
	}
	return opts, nil
}

// startUI serves the web UI and returns when it accepts connections. It
// reports on the channel if the UI ends by itself.
func startUI(opts options) (stopped <-chan error, stop func(), err error) {
	if opts.uiAddress == "" {
		return nil, func() {}, nil
	}
	host, port, err := splitAddress(opts.uiAddress)
	if err != nil {
		return nil, nil, err
	}
	// The UI server ends the process when it cannot listen; say first why.
	probe, err := net.Listen("tcp", opts.uiAddress)
	if err != nil {
		return nil, nil, fmt.Errorf("web UI: %w", err)
	}
	if err := probe.Close(); err != nil {
		return nil, nil, fmt.Errorf("web UI: %w", err)
	}
	ui := uiserver.NewServer(uioptions.WithConfigProvider(&uiconfig.Config{
		TemporalGRPCAddress: opts.address,
		Host:                host,
		Port:                port,
		EnableUI:            true,
		DefaultNamespace:    opts.namespace,
		DisableNewsFetch:    true, // the stack works without a network
		HideLogs:            true,
		CORS:                uiconfig.CORS{CookieInsecure: true}, // plain HTTP on the loopback
	}))
	ended := make(chan error, 1)
	go func() { ended <- ui.Start() }()
	if err := awaitListener(opts.uiAddress, ended); err != nil {
		return nil, nil, fmt.Errorf("web UI: %w", err)
	}
	return ended, ui.Stop, nil
}

// awaitListener waits until something accepts connections on address.
func awaitListener(address string, ended <-chan error) error {
	var dialer net.Dialer
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		conn, err := dialer.Dial("tcp", address)
		if err == nil {
			return conn.Close()
		}
		select {
		case err := <-ended:
			return fmt.Errorf("ended at once: %w", err)
		default:
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("no answer in 10 s: %w", err)
		}
	}
}

// splitAddress splits host:port and wants both.
func splitAddress(address string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, err
	}
	port, err = strconv.Atoi(text)
	if err != nil || port < 1 || port > 65535 || net.ParseIP(host) == nil {
		return "", 0, fmt.Errorf("want IP:port, got %q", address)
	}
	return host, port, nil
}
