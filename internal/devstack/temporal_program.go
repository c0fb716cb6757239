package devstack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

const (
	// oldestCLI and oldestServer are the first with all that the workflows
	// use: updates, summaries, current details, worker versioning.
	oldestCLI    = "1.5.0"
	oldestServer = "1.29.0"

	ownName = "temporal-dev"
)

var errServerTooOld = errors.New("the Temporal server is too old")

// temporalProgram is a program that runs a Temporal server.
type temporalProgram struct {
	path     string
	own      bool   // our temporal-dev, else Temporal's command line program
	database string // file name; one cannot read the other's
}

func own(path string) temporalProgram {
	return temporalProgram{path: path, own: true, database: "temporal.db"}
}

func commandLine(path string) temporalProgram {
	return temporalProgram{path: path, database: "temporal-cli.db"}
}

// args is the command line for a server. The values of dynamic configuration
// are those built into our own program, which says what each is for.
func (p temporalProgram) args(address, uiAddress, database string, opts TemporalOptions) []string {
	attributes := slices.Sorted(maps.Keys(opts.SearchAttributes))
	if p.own {
		args := []string{"--address", address, "--ui-address", uiAddress, "--db", database, "--namespace", opts.Namespace}
		for _, name := range attributes {
			args = append(args, "--search-attribute", name+"="+opts.SearchAttributes[name].String())
		}
		return args
	}
	host, port, _ := strings.Cut(address, ":")
	args := []string{
		"server", "start-dev", "--ip", host, "--port", port, "--namespace", opts.Namespace, "--log-level", "error",
		"--dynamic-config-value", "history.transferProcessorMaxPollRPS=2000",
		"--dynamic-config-value", `history.timerProcessorMaxTimeShift="50ms"`,
		"--dynamic-config-value", "matching.enableFairness=true",
		"--dynamic-config-value", "matching.numTaskqueueReadPartitions=1",
		"--dynamic-config-value", "matching.numTaskqueueWritePartitions=1",
		"--dynamic-config-value", "frontend.namespaceRPS.visibility=200",
		"--dynamic-config-value", "system.forceSearchAttributesCacheRefreshOnRead=true",
	}
	if uiAddress == "" {
		args = append(args, "--headless")
	} else {
		_, uiPort, _ := strings.Cut(uiAddress, ":")
		args = append(args, "--ui-port", uiPort)
	}
	if database != "" {
		args = append(args, "--db-filename", database, "--sqlite-pragma", "journal_mode=wal", "--sqlite-pragma", "synchronous=full")
	}
	for _, name := range attributes {
		args = append(args, "--search-attribute", name+"="+opts.SearchAttributes[name].String())
	}
	return args
}

// commandLineProgram finds a `temporal` that is new enough, unless dataDir
// was begun with our own program.
func commandLineProgram(ctx context.Context, getenv func(string) string, dataDir string) (temporalProgram, bool) {
	path := getenv("TEMPORAL_BIN")
	if strings.HasPrefix(filepath.Base(path), ownName) {
		return temporalProgram{}, false
	}
	if path == "" {
		path = lookPath("temporal", getenv("PATH"))
	}
	if path == "" {
		return temporalProgram{}, false
	}
	if dataDir != "" {
		if _, err := os.Stat(filepath.Join(dataDir, own("").database)); err == nil {
			return temporalProgram{}, false
		}
	}
	out, err := exec.CommandContext(ctx, path, "--version").Output()
	if err != nil || !goodCLI(string(out)) {
		return temporalProgram{}, false
	}
	return commandLine(path), true
}

// goodCLI reads `temporal version 1.5.1 (Server 1.29.1, UI 2.42.1)`. A build
// from source calls itself 0.0.0-DEV and counts by its server.
func goodCLI(version string) bool {
	var cli, server string
	if _, err := fmt.Sscanf(version, "temporal version %s (Server %s", &cli, &server); err != nil {
		return false
	}
	return (strings.HasPrefix(cli, "0.0.0") || atLeast(cli, oldestCLI)) && atLeast(strings.TrimRight(server, ",)"), oldestServer)
}

var versionNumber = regexp.MustCompile(`^v?(\d+)\.(\d+)(?:\.(\d+))?`)

// atLeast compares versions by their numbers.
func atLeast(version, oldest string) bool {
	numbers := func(text string) []int {
		match := versionNumber.FindStringSubmatch(text)
		if match == nil {
			return nil
		}
		var all []int
		for _, part := range match[1:] {
			number, _ := strconv.Atoi(part) // absent counts as 0
			all = append(all, number)
		}
		return all
	}
	return slices.Compare(numbers(version), numbers(oldest)) >= 0
}

// ownProgram finds temporal-dev beside the running program or in the
// repository's bin/, else builds it there.
func ownProgram(ctx context.Context, getenv func(string) string, log io.Writer) (temporalProgram, error) {
	if path := getenv("TEMPORAL_BIN"); strings.HasPrefix(filepath.Base(path), ownName) {
		return own(path), nil
	}
	if executable, err := os.Executable(); err == nil {
		path := filepath.Join(filepath.Dir(executable), ownName)
		if _, err := exec.LookPath(path); err == nil {
			return own(path), nil
		}
	}
	root, err := repositoryRoot()
	if err != nil {
		return temporalProgram{}, err
	}
	path := filepath.Join(root, "bin", ownName)
	if _, err := exec.LookPath(path); err == nil {
		return own(path), nil
	}
	if err := buildTemporal(ctx, root, log); err != nil {
		return temporalProgram{}, err
	}
	return own(path), nil
}

// repositoryRoot finds the source tree above the working folder or above the
// running program.
func repositoryRoot() (string, error) {
	var starts []string
	if dir, err := os.Getwd(); err == nil {
		starts = append(starts, dir)
	}
	if executable, err := os.Executable(); err == nil {
		starts = append(starts, filepath.Dir(executable))
	}
	for _, dir := range starts {
		for {
			if _, err := os.Stat(filepath.Join(dir, serverSource, "go.mod")); err == nil {
				return dir, nil
			}
			parent := filepath.Dir(dir)
			if parent == dir {
				break
			}
			dir = parent
		}
	}
	return "", errors.New(`no Temporal server on this machine, and no source tree to build one from. Either
    install the command line program (https://docs.temporal.io/cli) and have it on the PATH, version ` + oldestCLI + ` or newer,
    or run this inside the repository,
    or set TEMPORAL_ADDRESS to the host:port of a running server`)
}

// lookPath is exec.LookPath for a given PATH.
func lookPath(name, path string) string {
	for _, dir := range filepath.SplitList(path) {
		if candidate := filepath.Join(dir, name); executable(candidate) {
			return candidate
		}
	}
	return ""
}

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0
}
