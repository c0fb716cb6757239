package devstack

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	postgresReady = 30 * time.Second

	// startAttempts is how often a server is tried on another port when
	// somebody else took the one that was free a moment ago.
	startAttempts = 5

	superuser = "arrears"
)

// PostgresOptions says what cluster to run.
type PostgresOptions struct {
	DataDir   string              // kept between runs; "" = a folder of its own, removed on Stop
	Port      int                 // on the loopback; 0 = a free one
	Throwaway bool                // trade safety for speed: for data that nobody will miss; implied by an empty DataDir
	LogFile   string              // "" = in the data folder
	Getenv    func(string) string // where PGBIN and PATH are read; nil = os.Getenv
	Log       io.Writer           // for people; nil = silent
}

// Postgres is a private PostgreSQL cluster: on the loopback only, with a
// random password, because whoever may connect as its superuser may run
// programs as the user it runs as.
type Postgres struct {
	folder   *folder
	process  *process
	cluster  cluster
	port     int
	password string
}

// StartPostgres starts a cluster, made first where there is none, and returns
// when it answers.
func StartPostgres(ctx context.Context, opts PostgresOptions) (*Postgres, error) {
	if opts.Getenv == nil {
		opts.Getenv = os.Getenv
	}
	who, err := postgresUser()
	if err != nil {
		return nil, err
	}
	dir, err := postgresFolder(opts.DataDir)
	if err != nil {
		return nil, fmt.Errorf("PostgreSQL: %w", err)
	}
	if opts.LogFile == "" {
		opts.LogFile = dir.join("postgres.log")
	}
	c := cluster{dir: dir, log: opts.LogFile, who: who, throwaway: opts.Throwaway || dir.throwaway}
	c.bin, err = findPostgres(ctx, opts.Getenv, who, c.major(), opts.Log)
	if err != nil {
		return nil, errors.Join(err, dir.close())
	}
	pg, err := c.start(ctx, opts.Port)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("PostgreSQL: %w", err), dir.close())
	}
	return pg, nil
}

func postgresFolder(dataDir string) (*folder, error) {
	if dataDir == "" {
		return throwawayFolder()
	}
	return keptFolder(dataDir)
}

// URL is the connection string of a database in the cluster.
func (p *Postgres) URL(database string) string {
	u := url.URL{
		Scheme:   "postgres",
		User:     url.UserPassword(superuser, p.password),
		Host:     net.JoinHostPort("127.0.0.1", strconv.Itoa(p.port)),
		Path:     "/" + database,
		RawQuery: "sslmode=disable",
	}
	return u.String()
}

// Stop ends the cluster, and removes its folder if nobody asked to keep it.
func (p *Postgres) Stop() error {
	return errors.Join(p.process.stop(), p.folder.close())
}

// Crash ends the cluster at once, as a power failure does, and leaves everything
// to recovery: StartPostgres on the same folder, after Stop.
func (p *Postgres) Crash() error {
	if err := p.process.cmd.Process.Signal(syscall.SIGQUIT); err != nil {
		return err
	}
	<-p.process.done
	return nil
}

// Ended is closed once the server has ended, asked or not.
func (p *Postgres) Ended() <-chan struct{} { return p.process.done }

// cluster is a PostgreSQL data folder and how to run it. Within its folder,
// data is PostgreSQL's own; beside it lies the password.
type cluster struct {
	dir       *folder
	log       string
	bin       string
	who       *syscall.Credential
	throwaway bool
}

func (c cluster) data() string { return c.dir.join("data") }

// major is the version that made the cluster, 0 if there is none yet.
func (c cluster) major() int {
	text, err := os.ReadFile(filepath.Join(c.data(), "PG_VERSION"))
	if err != nil {
		return 0
	}
	major, _ := strconv.Atoi(strings.TrimSpace(string(text))) // what is no number, PostgreSQL itself will name
	return major
}

// start makes the cluster where it is missing, then runs it.
func (c cluster) start(ctx context.Context, port int) (*Postgres, error) {
	if err := os.Chmod(c.dir.path, 0o755); err != nil { // PostgreSQL's user passes through
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(c.data(), "PG_VERSION")); errors.Is(err, fs.ErrNotExist) {
		if err := c.init(ctx); err != nil {
			return nil, fmt.Errorf("make a cluster: %w", err)
		}
	}
	password, err := os.ReadFile(c.dir.join("password"))
	if err != nil {
		return nil, err
	}
	if err := c.endOrphan(ctx); err != nil {
		return nil, err
	}
	attempt := 1
	for deadline := time.Now().Add(stopGrace); ; {
		pg, err := c.run(ctx, port, string(password))
		switch {
		case err == nil:
			return pg, nil
		case strings.Contains(err.Error(), "could not create any TCP/IP sockets") && port == 0 && attempt < startAttempts:
			attempt++
		case strings.Contains(err.Error(), "pre-existing shared memory block") && time.Now().Before(deadline):
			// The sessions of a server that was killed end a moment after it.
			select {
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			case <-time.After(100 * time.Millisecond):
			}
		default:
			return nil, err
		}
	}
}

// init makes the cluster beside its place and moves it there whole, so that
// an interrupted run leaves nothing that looks like a cluster.
func (c cluster) init(ctx context.Context) error {
	unfinished := c.data() + ".new"
	for _, leftover := range []string{unfinished, c.data()} {
		if err := os.RemoveAll(leftover); err != nil {
			return err
		}
	}
	if err := os.Mkdir(unfinished, 0o700); err != nil {
		return err
	}
	if err := give(unfinished, c.who); err != nil {
		return err
	}
	password := rand.Text()
	if err := os.WriteFile(c.dir.join("password"), []byte(password), 0o600); err != nil {
		return err
	}
	// initdb reads the password from a descriptor, so that no file of ours
	// must be open to its user.
	reader, writer, err := os.Pipe()
	if err != nil {
		return err
	}
	if c.who != nil { // opening it anew by its number asks for permission
		if err := reader.Chown(int(c.who.Uid), int(c.who.Gid)); err != nil {
			return err
		}
	}
	if _, err := writer.WriteString(password + "\n"); err != nil {
		return err
	}
	if err := writer.Close(); err != nil {
		return err
	}
	initdb, err := c.command("initdb", unfinished)
	if err != nil {
		return err
	}
	initdb.files = append(initdb.files, reader)
	initdb.args = append(initdb.args, "--username="+superuser, fmt.Sprintf("--pwfile=/dev/fd/%d", 2+len(initdb.files)),
		"--auth=scram-sha-256", "--encoding=UTF8", "--no-locale", "--no-sync", "--no-instructions")
	if err := c.runToEnd(ctx, initdb); err != nil {
		return err
	}
	return os.Rename(unfinished, c.data())
}

// command runs one of PostgreSQL's programs on a data folder, as its user.
func (c cluster) command(program, data string) (command, error) {
	cmd := command{
		name:       program,
		path:       filepath.Join(c.bin, program),
		env:        []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TZ=UTC"}, // no PGDATA, PGPORT, PGOPTIONS
		dir:        "/",
		log:        c.log,
		credential: c.who,
	}
	closed, err := closedParent(data, c.who)
	switch {
	case err != nil:
		return command{}, err
	case closed != "" && runtime.GOOS != "linux":
		return command{}, fmt.Errorf("user %d, as whom PostgreSQL runs, may not enter %s: choose another data folder", c.who.Uid, closed)
	case closed != "":
		// Root's folders are closed to the user, and not ours to open. Handed
		// down as a descriptor, the data folder needs no way to it.
		dir, err := os.Open(data)
		if err != nil {
			return command{}, err
		}
		cmd.files = []*os.File{dir}
		data = "/proc/self/fd/3"
	}
	cmd.args = []string{"-D", data}
	return cmd, nil
}

func (c cluster) runToEnd(ctx context.Context, cmd command) error {
	p, err := launch(cmd)
	if err != nil {
		return err
	}
	select {
	case <-p.done:
	case <-ctx.Done():
		return errors.Join(context.Cause(ctx), p.stop())
	}
	if p.err != nil {
		return p.ended()
	}
	return nil
}

// run starts the server on port, or on a free one, and waits for its answer.
func (c cluster) run(ctx context.Context, port int, password string) (_ *Postgres, err error) {
	if port == 0 {
		if port, err = freePort(); err != nil {
			return nil, err
		}
	}
	server, err := c.command("postgres", c.data())
	if err != nil {
		return nil, err
	}
	server.name = "PostgreSQL"
	server.stopSignal = syscall.SIGINT // fast shutdown: does not wait for clients
	server.orphanSignal = syscall.SIGINT
	settings := []string{
		"listen_addresses=127.0.0.1",
		"port=" + strconv.Itoa(port),
		"unix_socket_directories=",
		"max_connections=200",
		"timezone=UTC",
		"log_timezone=UTC",
	}
	if c.throwaway {
		server.orphanSignal = syscall.SIGQUIT // immediate: nothing needs writing
		settings = append(settings, "fsync=off", "synchronous_commit=off", "full_page_writes=off")
	}
	for _, setting := range settings {
		server.args = append(server.args, "-c", setting)
	}
	p, err := launch(server)
	if err != nil {
		return nil, err
	}
	pg := &Postgres{folder: c.dir, process: p, cluster: c, port: port, password: password}
	if err := pg.await(ctx); err != nil {
		return nil, errors.Join(err, p.stop())
	}
	return pg, nil
}

// await returns when the server answers, or says why it does not.
func (p *Postgres) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, postgresReady, fmt.Errorf("no answer in %s", postgresReady))
	defer cancel()
	for {
		err := ping(ctx, p.URL("postgres"))
		if err == nil {
			return nil
		}
		select {
		case <-p.process.done:
			return p.process.ended()
		case <-ctx.Done():
			return p.process.quote(fmt.Errorf("%w: %w", context.Cause(ctx), err))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// ping makes one connection to a database.
func ping(ctx context.Context, databaseURL string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, databaseURL)
	if err != nil {
		return err
	}
	return conn.Close(ctx)
}
