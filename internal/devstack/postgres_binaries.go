package devstack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	embeddedpostgres "github.com/fergusstrange/embedded-postgres"
)

const (
	// oldestPostgres is the oldest major version that will do.
	oldestPostgres = 14

	// fetchedPostgres is fetched where the machine has none.
	fetchedPostgres = embeddedpostgres.V16

	fetchTimeout = 5 * time.Minute
)

// errNoPostgres tells what to do about a machine without PostgreSQL.
var errNoPostgres = errors.New(`no PostgreSQL (initdb and postgres, 14 or newer) on this machine. Install it:
    Debian, Ubuntu   apt-get install postgresql
    Fedora           dnf install postgresql-server
    macOS            brew install postgresql@16
  or set PGBIN to the folder that holds initdb and postgres,
  or set DATABASE_URL to a database on a running server`)

// postgresFolders lists where systems put initdb and postgres, best first.
func postgresFolders(getenv func(string) string) []string {
	if folder := getenv("PGBIN"); folder != "" {
		return []string{folder} // said explicitly, so nothing else will do
	}
	folders := filepath.SplitList(getenv("PATH"))
	for _, pattern := range []string{
		"/usr/lib/postgresql/*/bin",          // Debian, Ubuntu
		"/usr/pgsql-*/bin",                   // PostgreSQL's own RPMs
		"/opt/homebrew/opt/postgresql@*/bin", // Homebrew on Apple silicon
		"/usr/local/opt/postgresql@*/bin",    // Homebrew on Intel
		"/home/linuxbrew/.linuxbrew/opt/postgresql@*/bin",
		"/Applications/Postgres.app/Contents/Versions/*/bin",
		"/usr/local/pgsql/bin", // built from source
	} {
		found, _ := filepath.Glob(pattern) // the patterns are well formed
		slices.SortFunc(found, newerFirst)
		folders = append(folders, found...)
	}
	return folders
}

var firstNumber = regexp.MustCompile(`\d+`)

// newerFirst orders folders by the version number in their path.
func newerFirst(a, b string) int {
	version := func(path string) int {
		number, _ := strconv.Atoi(firstNumber.FindString(path)) // none counts as 0
		return number
	}
	return version(b) - version(a)
}

// findPostgres returns the folder with PostgreSQL's programs, fetching them
// into the cache where the machine has none. A cluster can be served by the
// major version that made it only; major 0 is any.
func findPostgres(ctx context.Context, getenv func(string) string, who *syscall.Credential, major int, log io.Writer) (string, error) {
	var others []string
	for _, folder := range postgresFolders(getenv) {
		switch found := versionIn(ctx, folder, who); {
		case found >= oldestPostgres && (major == 0 || found == major):
			return folder, nil
		case found > 0:
			others = append(others, fmt.Sprintf("%d in %s", found, folder))
		}
	}
	switch folder := getenv("PGBIN"); {
	case major != 0 && len(others) > 0:
		return "", fmt.Errorf("the data was made by PostgreSQL %d, and here is only %s: install version %d, or take another data folder",
			major, strings.Join(slices.Compact(others), ", "), major)
	case folder != "":
		return "", fmt.Errorf("PGBIN=%s: no initdb and postgres %d or newer there", folder, oldestPostgres)
	}
	return fetchPostgres(ctx, cacheFolder(), "", who, log)
}

var postgresVersion = regexp.MustCompile(`\(PostgreSQL\) (\d+)`)

// versionIn returns the major version of the programs in a folder, and 0 if
// one is missing or cannot be run by the user who is to run it.
func versionIn(ctx context.Context, folder string, who *syscall.Credential) int {
	if !executable(filepath.Join(folder, "initdb")) {
		return 0
	}
	cmd := exec.CommandContext(ctx, filepath.Join(folder, "postgres"), "--version")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: who}
	out, err := cmd.Output()
	if err != nil {
		return 0
	}
	match := postgresVersion.FindSubmatch(out)
	if match == nil {
		return 0
	}
	major, _ := strconv.Atoi(string(match[1])) // digits; too many count as 0
	return major
}

// cacheFolder is where fetched programs stay. Root's own cache is closed to
// the user as whom PostgreSQL then runs, so root uses the system's.
func cacheFolder() string {
	if os.Geteuid() == 0 {
		return "/var/cache/arrears"
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	return filepath.Join(cache, "arrears")
}

// fetchPostgres fetches PostgreSQL's programs into cache, once. repository is
// where from; empty means the library's own choice.
func fetchPostgres(ctx context.Context, cache, repository string, who *syscall.Credential, log io.Writer) (string, error) {
	home := filepath.Join(cache, "postgresql-"+string(fetchedPostgres))
	bin := filepath.Join(home, "bin")
	if versionIn(ctx, bin, who) >= oldestPostgres {
		return bin, nil
	}
	say(log, "no PostgreSQL found on this machine: fetching version %s into %s (about 30 MB, once)", fetchedPostgres, home)

	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- runFetcher(cache, home, repository) }()
	var reason error
	select {
	case reason = <-done:
	case <-ctx.Done():
		reason = fmt.Errorf("gave up: %w", context.Cause(ctx))
	}
	// What counts is that the programs are there: the library also starts
	// them, which fails for root.
	if ctx.Err() == nil && versionIn(ctx, bin, who) >= oldestPostgres {
		return bin, nil
	}
	return "", fmt.Errorf("fetch PostgreSQL: %w\n%w", reason, errNoPostgres)
}

// runFetcher has the library download and unpack the programs. It offers no
// call for that alone, so a server is started in a scratch folder and stopped.
func runFetcher(cache, home, repository string) error {
	scratch, err := os.MkdirTemp("", tempPrefix)
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(scratch) }()
	port, err := freePort()
	if err != nil {
		return err
	}
	config := embeddedpostgres.DefaultConfig().
		Version(fetchedPostgres).
		CachePath(cache).
		BinariesPath(home).
		RuntimePath(filepath.Join(scratch, "runtime")).
		DataPath(filepath.Join(scratch, "data")).
		StartParameters(map[string]string{"unix_socket_directories": scratch}).
		Port(uint32(port)).
		Logger(io.Discard)
	if repository != "" {
		config = config.BinaryRepositoryURL(repository)
	}
	server := embeddedpostgres.NewDatabase(config)
	if err := server.Start(); err != nil {
		return err
	}
	return server.Stop()
}
