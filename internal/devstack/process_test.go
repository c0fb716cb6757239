package devstack

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// parentEnv makes this test binary act as a parent of servers, to be killed.
const parentEnv = "DEVSTACK_TEST_PARENT"

func TestMain(m *testing.M) {
	switch {
	case os.Getenv(parentEnv) != "":
		beParent()
		return
	case os.Getenv(fakeProgramEnv) != "":
		beProgram()
		return
	}
	os.Exit(m.Run())
}

// beParent starts servers, prints their process numbers and waits to be
// killed.
func beParent() {
	ctx, dir := context.Background(), os.Getenv(parentEnv)
	pg, err := StartPostgres(ctx, PostgresOptions{DataDir: filepath.Join(dir, "kept")})
	must(err)
	thrown, err := StartPostgres(ctx, PostgresOptions{})
	must(err)
	temporal, err := StartTemporal(ctx, TemporalOptions{NoUI: true, Getenv: environment})
	must(err)
	child, err := launch(command{name: "child", path: "/bin/sleep", args: []string{"600"}, log: filepath.Join(dir, "child.log")})
	must(err)
	watched := exec.Command("/bin/sleep", "600") // as on other systems than Linux
	watched.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	_, err = startWatched(watched, syscall.SIGTERM)
	must(err)
	fmt.Println(pg.process.cmd.Process.Pid, thrown.process.cmd.Process.Pid, temporal.process.cmd.Process.Pid,
		child.cmd.Process.Pid, watched.Process.Pid)
	select {}
}

func TestKilledParent(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("starts PostgreSQL and Temporal")
	}
	dir := t.TempDir()
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), parentEnv+"="+dir, "TMPDIR="+t.TempDir()) // what it leaves behind goes with the test
	parent.Stderr = os.Stderr
	out, err := parent.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, parent.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	var pids []int
	for word := range strings.FieldsSeq(line) {
		pid, err := strconv.Atoi(word)
		require.NoError(t, err)
		require.True(t, alive(pid))
		pids = append(pids, pid)
	}
	require.Len(t, pids, 5)

	require.NoError(t, parent.Process.Kill())
	_ = parent.Wait() // it says that it was killed
	for _, pid := range pids {
		require.Eventually(t, func() bool { return !alive(pid) }, 20*time.Second, 20*time.Millisecond, "process %d outlives its parent", pid)
	}
	pg := startPostgres(t, PostgresOptions{DataDir: filepath.Join(dir, "kept")})
	require.Equal(t, "1", query(t, pg, "SELECT 1"))
}

func TestProcess(t *testing.T) {
	t.Parallel()

	t.Run("one that ends by itself is quoted", func(t *testing.T) {
		t.Parallel()
		p, err := launch(command{name: "worker", path: script(t, "x", "echo one; echo two >&2; exit 4"), log: filepath.Join(t.TempDir(), "worker.log")})
		require.NoError(t, err)
		<-p.done
		require.ErrorContains(t, p.ended(), "worker ended: exit status 4")
		require.ErrorContains(t, p.ended(), "one\n    two")
		require.NoError(t, p.stop())
	})

	t.Run("it leads a process group of its own", func(t *testing.T) {
		t.Parallel()
		p, err := launch(command{name: "x", path: "/bin/sleep", args: []string{"600"}, log: filepath.Join(t.TempDir(), "log")})
		require.NoError(t, err)
		require.True(t, p.running())
		require.NoError(t, p.stop())
		require.False(t, p.running())
	})

	t.Run("what is quoted of its log is short, and of this run only", func(t *testing.T) {
		t.Parallel()
		log := filepath.Join(t.TempDir(), "log")
		require.NoError(t, os.WriteFile(log, []byte("an earlier run\n"), 0o600))
		for _, lines := range []int{5, 10_000} {
			p, err := launch(command{name: "x", path: script(t, "x", fmt.Sprintf("seq %d", lines)), log: log})
			require.NoError(t, err)
			<-p.done
			_, quoted, _ := strings.Cut(p.ended().Error(), log+":\n")
			require.Equal(t, min(lines, tailLines), strings.Count(quoted, "\n")+1)
			require.NotContains(t, quoted, "earlier")
			require.True(t, strings.HasSuffix(quoted, strconv.Itoa(lines)))
		}
	})
}

func TestFolder(t *testing.T) {
	t.Parallel()
	t.Run("what a killed run left is swept out", func(t *testing.T) {
		t.Parallel()
		left, err := throwawayFolder()
		require.NoError(t, err)
		used, err := throwawayFolder()
		require.NoError(t, err)
		require.NoError(t, left.lock.Close()) // its process is gone
		for _, dir := range []*folder{left, used} {
			old := time.Now().Add(-2 * sweepAge)
			require.NoError(t, os.Chtimes(dir.path, old, old))
		}
		sweep()
		require.NoDirExists(t, left.path)
		require.DirExists(t, used.path)
		require.NoError(t, used.close())
		require.NoDirExists(t, used.path)
	})
}

// portOf is the port of an address.
func portOf(address string) (int, error) {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(port)
}
