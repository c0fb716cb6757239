package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/operatorservice/v1"
	"go.temporal.io/sdk/client"
	sdklog "go.temporal.io/sdk/log"
	"go.temporal.io/server/common/authorization"
	"go.temporal.io/server/common/cluster"
	"go.temporal.io/server/common/config"
	"go.temporal.io/server/common/dynamicconfig"
	"go.temporal.io/server/common/log"
	"go.temporal.io/server/common/membership/static"
	sqliteplugin "go.temporal.io/server/common/persistence/sql/sqlplugin/sqlite"
	"go.temporal.io/server/common/primitives"
	"go.temporal.io/server/common/testing/freeport"
	"go.temporal.io/server/schema/sqlite"
	"go.temporal.io/server/temporal"
	"google.golang.org/protobuf/types/known/durationpb"
)

const (
	storeName   = "sqlite"
	clusterName = "active"

	// retention keeps closed runs long enough to look at last month's.
	retention = 90 * 24 * time.Hour
)

// dynamicConfig departs from the server's defaults, which are made for many
// shards on many hosts.
var dynamicConfig = dynamicconfig.StaticClient{
	// Polls per second and shard: with one shard, 20 makes each step take 50 ms.
	dynamicconfig.TransferProcessorMaxPollRPS.Key(): 2000,
	// Timers may fire this much late: with 1 s, short retries look slow.
	dynamicconfig.TimerProcessorMaxTimeShift.Key(): 50 * time.Millisecond,
	// Fairness keys are ignored without it, and show in one partition only.
	dynamicconfig.MatchingEnableFairness.Key():              true,
	dynamicconfig.MatchingNumTaskqueueReadPartitions.Key():  1,
	dynamicconfig.MatchingNumTaskqueueWritePartitions.Key(): 1,
	// 10 a second is little for a UI, a starter and tests together.
	dynamicconfig.FrontendMaxNamespaceVisibilityRPSPerInstance.Key(): 200,
	// A search attribute registered now is known now.
	dynamicconfig.ForceSearchAttributesCacheRefreshOnRead.Key(): true,
}

// serverConfig describes a single-host cluster on SQLite.
func (o options) serverConfig() (*config.Config, error) {
	host, port, err := splitAddress(o.address)
	if err != nil {
		return nil, err
	}
	store := &config.SQL{PluginName: sqliteplugin.PluginName}
	if o.db == "" {
		store.ConnectAttributes = map[string]string{"mode": "memory", "cache": "shared"}
		store.DatabaseName = "temporal" // a name within this process
	} else {
		// WAL with a sync per commit: safe against SIGKILL and power loss.
		store.ConnectAttributes = map[string]string{"mode": "rwc", "journal_mode": "wal", "synchronous": "2"}
		store.DatabaseName = o.db
	}
	service := func(grpcPort int) config.Service {
		return config.Service{RPC: config.RPC{GRPCPort: grpcPort, BindOnIP: host}}
	}
	cfg := &config.Config{
		Persistence: config.Persistence{
			DefaultStore:     storeName,
			VisibilityStore:  storeName,
			NumHistoryShards: 1,
			DataStores:       map[string]config.DataStore{storeName: {SQL: store}},
		},
		ClusterMetadata: &cluster.Config{
			FailoverVersionIncrement: 10,
			MasterClusterName:        clusterName,
			CurrentClusterName:       clusterName,
			ClusterInformation: map[string]cluster.ClusterInformation{
				clusterName: {Enabled: true, InitialFailoverVersion: 1, RPCAddress: o.address},
			},
		},
		DCRedirectionPolicy: config.DCRedirectionPolicy{Policy: "noop"},
		Services: map[string]config.Service{
			string(primitives.FrontendService): service(port),
			string(primitives.HistoryService):  service(freeport.MustGetFreePort()),
			string(primitives.MatchingService): service(freeport.MustGetFreePort()),
			string(primitives.WorkerService):   service(freeport.MustGetFreePort()),
		},
		PublicClient: config.PublicClient{HostPort: o.address},
	}
	cfg.Global.Membership = config.Membership{MaxJoinDuration: 30 * time.Second, BroadcastAddress: host}
	cfg.Archival.History.State = "disabled"
	cfg.Archival.Visibility.State = "disabled"
	cfg.NamespaceDefaults.Archival.History.State = "disabled"
	cfg.NamespaceDefaults.Archival.Visibility.State = "disabled"
	return cfg, nil
}

// serverOptions runs all services in this process. Hosts are static, so that
// a killed predecessor on the same database is not waited for.
func serverOptions(cfg *config.Config, logger log.Logger) []temporal.ServerOption {
	hosts := map[primitives.ServiceName]static.Hosts{}
	for name, service := range cfg.Services {
		hosts[primitives.ServiceName(name)] = static.SingleLocalHost(
			fmt.Sprintf("%s:%d", service.RPC.BindOnIP, service.RPC.GRPCPort))
	}
	return []temporal.ServerOption{
		temporal.WithConfig(cfg),
		temporal.ForServices(temporal.DefaultServices),
		temporal.WithStaticHosts(hosts),
		temporal.WithLogger(logger),
		temporal.WithDynamicConfigClient(dynamicConfig),
		temporal.WithAuthorizer(authorization.NewNoopAuthorizer()),
		temporal.WithClaimMapper(func(*config.Config) authorization.ClaimMapper {
			return authorization.NewNoopClaimMapper()
		}),
	}
}

// prepareDatabase makes the schema and the namespace where they are missing.
// The file appears under its name only when its schema is whole, so that a
// kill in between leaves nothing half made.
func (o options) prepareDatabase(cfg *config.Config) error {
	store := cfg.Persistence.DataStores[storeName].SQL
	_, err := os.Stat(o.db)
	if o.db != "" && errors.Is(err, fs.ErrNotExist) {
		if err := createFile(o.db); err != nil {
			return fmt.Errorf("create %s: %w", o.db, err)
		}
	}
	namespace, err := sqlite.NewNamespaceConfig(clusterName, o.namespace, false, o.attributes)
	if err != nil {
		return fmt.Errorf("search attributes of %s: %w", o.namespace, err)
	}
	namespace.Detail.Config.Retention = durationpb.New(retention)
	if err := sqlite.CreateNamespaces(store, namespace); err != nil {
		return fmt.Errorf("register namespace %s: %w", o.namespace, err)
	}
	return nil
}

func createFile(db string) error {
	unfinished := db + ".new"
	if err := os.RemoveAll(unfinished); err != nil {
		return err
	}
	// Without a journal in a second file, so that the rename moves everything.
	err := sqlite.SetupSchema(&config.SQL{
		PluginName:        sqliteplugin.PluginName,
		ConnectAttributes: map[string]string{"mode": "rwc", "journal_mode": "memory"},
		DatabaseName:      unfinished,
	})
	if err != nil {
		return err
	}
	return os.Rename(unfinished, db)
}

// addSearchAttributes registers what an older database file lacks.
func addSearchAttributes(ctx context.Context, opts options) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	c, err := client.DialContext(ctx, client.Options{
		HostPort:  opts.address,
		Namespace: opts.namespace,
		Logger:    sdklog.NewStructuredLogger(slog.New(slog.DiscardHandler)),
	})
	if err != nil {
		return fmt.Errorf("reach the server just started: %w", err)
	}
	defer c.Close()

	known, err := c.OperatorService().ListSearchAttributes(ctx,
		&operatorservice.ListSearchAttributesRequest{Namespace: opts.namespace})
	if err != nil {
		return fmt.Errorf("list search attributes: %w", err)
	}
	missing := map[string]enumspb.IndexedValueType{}
	for name, kind := range opts.attributes {
		switch have, ok := known.GetCustomAttributes()[name]; {
		case !ok:
			missing[name] = kind
		case have != kind:
			return fmt.Errorf("search attribute %s is %s in %s, not %s", name, have, opts.db, kind)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	_, err = c.OperatorService().AddSearchAttributes(ctx,
		&operatorservice.AddSearchAttributesRequest{Namespace: opts.namespace, SearchAttributes: missing})
	if err != nil {
		return fmt.Errorf("add search attributes: %w", err)
	}
	return nil
}
