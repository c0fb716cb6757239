package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRefusedLinesAreWrittenToAFileWhichIsImportedOnceMended(t *testing.T) {
	t.Parallel()
	s := newAcme(t)

	good := usageLine("good", "alice", "claude-opus-4-5", 100)
	misnamed := strings.Replace(usageLine("misnamed", "alice", "claude-opus-4-5", 100), "acme", "acmee", 1)
	early := strings.Replace(usageLine("early", "alice", "claude-opus-4-5", 100), "2026-10-09", "2026-10-11", 1)
	again := usageLine("good", "alice", "claude-opus-4-5", 101)
	long := `{"id":"` + strings.Repeat("x", 2<<20) + "\"}\n"
	rejects := filepath.Join(t.TempDir(), "refused.ndjson")
	shown := s.ok("usage", "import", s.file("usage.ndjson", good+misnamed+early+again+"{\"id\":\n"+long), "--rejects", rejects)
	require.Contains(t, shown, "All 5 refused lines are in "+rejects)

	content, err := os.ReadFile(rejects)
	require.NoError(t, err)
	lines := strings.Split(strings.TrimSuffix(string(content), "\n"), "\n")
	require.Len(t, lines, 9, "a comment and a line each, but of the one that was too long only the comment")
	for _, line := range []string{misnamed, early, again, "{\"id\":\n"} {
		require.Contains(t, lines, strings.TrimSuffix(line, "\n"), "as it was sent")
	}
	require.Contains(t, string(content), "# line 2: rejected: organization: \"acmee\" does not exist\n"+misnamed)
	require.Contains(t, string(content), "# line 4: conflict: id: another event with this id")
	require.Contains(t, string(content), "# line 6: rejected: ")

	mended := strings.NewReplacer("acmee", "acme", "2026-10-11", "2026-10-09", "{\"id\":\n", "", again, "").Replace(string(content))
	require.JSONEq(t, `{"lines":2,"accepted":2,"duplicates":0,"conflicts":0,"rejected":0,"parked":0,"reasons":[],"by_reason":[]}`,
		s.ok("usage", "import", s.file("mended.ndjson", mended), "-o", "json"))
}

func TestRefusedLinesDoNotOverwriteTheFileThatIsImported(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	line := usageLine("one", "alice", "claude-opus-4-5", 100)
	file := s.file("usage.ndjson", line)
	link := filepath.Join(t.TempDir(), "link.ndjson")
	require.NoError(t, os.Symlink(file, link))

	for _, rejects := range []string{file, link} {
		require.Contains(t, s.fails(exitUsage, "usage", "import", file, "--rejects", rejects), "is the file that is imported")
	}
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, line, string(content))
	require.Contains(t, s.fails(exitFailed, "usage", "import", file, "--rejects", filepath.Join(t.TempDir(), "no", "such")), "--rejects")
}

func TestAnImportCountsEveryReason(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	var file strings.Builder
	for range 30 {
		file.WriteString("{\"id\":\n")
	}
	for _, id := range []string{"a", "b", "c"} {
		file.WriteString(strings.Replace(usageLine(id, "alice", "claude-opus-4-5", 100), "acme", "acmee", 1))
	}
	shown := s.ok("usage", "import", s.file("usage.ndjson", file.String()))
	require.Contains(t, shown, "Why:\n  30 rejected: ")
	require.Contains(t, shown, "\n  3 rejected: organization: \"acmee\" does not exist\n")
}

func TestParkedUsageSaysWhatAReleaseFrees(t *testing.T) {
	t.Parallel()
	s := newAcme(t)
	s.ok("usage", "import", s.file("usage.ndjson", usageLine("a", "alice", "our-opus", 10)+usageLine("b", "alice", "claude-never", 10)))
	_, stdout, stderr := s.run("usage", "parked", "acme")
	require.Contains(t, stdout, "model our-opus is not in price book anthropic-2026-01")
	require.Empty(t, stderr)

	book := `
name: anthropic-2026-01
currency: USD
models:
  - model: claude-opus-4-5
    aliases: [our-opus]
    prices:
      - {effective_from: 2026-12-01T00:00:00Z, input: "5", output: "25", cache_write_5m: "6.25", cache_write_1h: "10", cache_read: "0.50"}
`
	s.ok("prices", "load", s.file("book.yaml", book))
	_, stdout, stderr = s.run("usage", "parked", "acme")
	require.Contains(t, stdout, "its price is there now")
	require.Equal(t, "starter usage release acme frees 1 event.\n", stderr)
	require.Contains(t, s.ok("usage", "release", "acme"), "Released 1 event")
	_, _, stderr = s.run("usage", "parked", "acme")
	require.Empty(t, stderr)
}
