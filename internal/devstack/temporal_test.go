package devstack

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
)

// environment is what these tests find servers by: this repository's own,
// whatever else is installed.
func environment(name string) string {
	if name == "PATH" {
		return "/usr/bin:/bin"
	}
	return ""
}

func TestTemporal(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("starts Temporal")
	}

	t.Run("two servers run side by side, each with a web UI", func(t *testing.T) {
		t.Parallel()
		first := startTemporalServer(t, TemporalOptions{})
		second := startTemporalServer(t, TemporalOptions{})
		require.NotEqual(t, first.Address(), second.Address())
		for _, server := range []*Temporal{first, second} {
			response, err := http.Get(server.UIURL())
			require.NoError(t, err)
			require.NoError(t, response.Body.Close())
			require.Equal(t, http.StatusOK, response.StatusCode)
		}
		require.NoError(t, first.Stop())
		require.NoDirExists(t, first.folder.path)
	})

	t.Run("a kept folder keeps its runs, and learns new search attributes", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		keyword := enumspb.INDEXED_VALUE_TYPE_KEYWORD
		opts := TemporalOptions{DataDir: dir, NoUI: true, SearchAttributes: map[string]enumspb.IndexedValueType{"Organization": keyword}}
		first := startTemporalServer(t, opts)
		run, err := dial(t, first).ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{ID: "kept", TaskQueue: "nobody"}, "Sleeper")
		require.NoError(t, err)
		_, err = StartTemporal(t.Context(), opts)
		require.ErrorIs(t, err, errInUse)
		require.NoError(t, first.process.cmd.Process.Kill()) // no time to tidy up
		require.NoError(t, first.Stop())

		opts.SearchAttributes["Period"] = keyword
		second := startTemporalServer(t, opts)
		c := dial(t, second)
		described, err := c.DescribeWorkflowExecution(t.Context(), "kept", "")
		require.NoError(t, err)
		require.Equal(t, run.GetRunID(), described.GetWorkflowExecutionInfo().GetExecution().GetRunId())
		require.NoError(t, second.check(t.Context(), opts.SearchAttributes))
		_, err = c.ListWorkflow(t.Context(), &workflowservice.ListWorkflowExecutionsRequest{Query: "Organization = 'a' AND Period = 'b'"})
		require.NoError(t, err)
	})

	t.Run("a port that is taken is named with the server's own words", func(t *testing.T) {
		t.Parallel()
		first := startTemporalServer(t, TemporalOptions{NoUI: true})
		port, err := portOf(first.Address())
		require.NoError(t, err)
		_, err = StartTemporal(t.Context(), TemporalOptions{NoUI: true, Port: port, Getenv: environment})
		require.ErrorContains(t, err, "address already in use")
	})

	t.Run("a command line program that will not do is passed over, saying so", func(t *testing.T) {
		t.Parallel()
		broken := script(t, "temporal", `[ "$1" = --version ] && echo 'temporal version 1.5.1 (Server 1.29.1, UI 2.42.1)' || { echo broken; exit 3; }`)
		var log strings.Builder
		server := startTemporalServer(t, TemporalOptions{NoUI: true, Log: &log, Getenv: func(name string) string {
			return map[string]string{"TEMPORAL_BIN": broken, "PATH": "/usr/bin:/bin"}[name]
		}})
		require.Contains(t, log.String(), "will not do")
		require.Contains(t, log.String(), "broken")
		require.Contains(t, server.process.path, ownName)
	})

	// Run with TEMPORAL_TEST_CLI=/path/to/temporal where there is one.
	t.Run("the command line program serves as well", func(t *testing.T) {
		t.Parallel()
		cli := os.Getenv("TEMPORAL_TEST_CLI")
		if cli == "" {
			cli = lookPath("temporal", os.Getenv("PATH"))
		}
		if cli == "" {
			t.Skip("no temporal on the PATH")
		}
		opts := TemporalOptions{
			DataDir:          t.TempDir(),
			SearchAttributes: map[string]enumspb.IndexedValueType{"Organization": enumspb.INDEXED_VALUE_TYPE_KEYWORD},
			Getenv:           func(name string) string { return map[string]string{"TEMPORAL_BIN": cli}[name] },
		}
		for range 2 {
			server, err := StartTemporal(t.Context(), opts)
			require.NoError(t, err)
			require.Equal(t, cli, server.process.path)
			require.NoError(t, server.Stop())
			opts.SearchAttributes["Period"] = enumspb.INDEXED_VALUE_TYPE_KEYWORD
		}
	})
}

func TestTemporalProgram(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]bool{
		"temporal version 1.5.1 (Server 1.29.1, UI 2.42.1)":     true,
		"temporal version 1.10.0 (Server 1.32.1, UI 2.54.1)":    true,
		"temporal version 0.0.0-DEV (Server 1.29.1, UI 2.42.1)": true,
		"temporal version 0.0.0-DEV (Server 1.28.0, UI 2.40.0)": false,
		"temporal version 1.4.1 (Server 1.28.0, UI 2.39.0)":     false,
		"temporal version 1.10.0":                               false,
		"":                                                      false,
	} {
		require.Equal(t, want, goodCLI(version), version)
	}

	dir := t.TempDir()
	cli := script(t, "temporal", "echo 'temporal version 1.5.1 (Server 1.29.1, UI 2.42.1)'")
	getenv := func(name string) string {
		return map[string]string{"PATH": filepath.Dir(cli)}[name]
	}
	program, ok := commandLineProgram(t.Context(), getenv, dir)
	require.True(t, ok)
	require.Equal(t, commandLine(cli), program)
	require.NoError(t, os.WriteFile(filepath.Join(dir, own("").database), nil, 0o600))
	_, ok = commandLineProgram(t.Context(), getenv, dir)
	require.False(t, ok, "a folder begun with our own server stays with it")
}

func TestBuildTemporal(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	source := filepath.Join(root, serverSource)
	require.NoError(t, os.MkdirAll(source, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(source, "go.mod"), []byte("module x\n"), 0o600))
	write := func(text string) {
		require.NoError(t, os.WriteFile(filepath.Join(source, "main.go"), []byte("package main\n\n"+text), 0o600))
	}

	var log strings.Builder
	write("func main() { undefined() }\n")
	require.ErrorContains(t, buildTemporal(t.Context(), root, &log), "undefined: undefined")
	require.Contains(t, log.String(), "about four minutes")

	write("func main() {}\n")
	require.NoError(t, buildTemporal(t.Context(), root, &log))
	require.Contains(t, log.String(), "built it in")
	log.Reset()
	require.NoError(t, buildTemporal(t.Context(), root, &log))
	require.Empty(t, log.String(), "up to date")
}

func startTemporalServer(t *testing.T, opts TemporalOptions) *Temporal {
	t.Helper()
	if opts.Getenv == nil {
		opts.Getenv = environment
	}
	server, err := StartTemporal(t.Context(), opts)
	require.NoError(t, err)
	t.Cleanup(func() { _ = server.Stop() })
	return server
}

func dial(t *testing.T, server *Temporal) client.Client {
	t.Helper()
	c, err := client.DialContext(context.WithoutCancel(t.Context()), client.Options{HostPort: server.Address()})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

// script writes an executable shell script.
func script(t *testing.T, name, body string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"+body+"\n"), 0o755))
	return path
}
