package usage

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// collectAll decodes a stream and keeps what may be kept of its items.
func collectAll(t *testing.T, r io.Reader, o Options) []Item {
	t.Helper()
	var all []Item
	require.NoError(t, DecodeAll(t.Context(), r, o, func(items []Item) error {
		require.NotEmpty(t, items)
		for _, item := range items {
			item.Raw = slices.Clone(item.Raw)
			all = append(all, item)
		}
		return nil
	}))
	return all
}

func TestDecodeAllKeepsTheOrderOfManyLines(t *testing.T) {
	t.Parallel()
	const lines = 100_000
	var file strings.Builder
	for i := range lines {
		switch {
		case i%1000 == 7:
			file.WriteString("\n")
		case i%100 == 9:
			file.WriteString(full[:i%len(full)] + "\n") // torn
		default:
			file.WriteString(member(i) + "\r\n")
		}
	}
	for _, o := range []Options{{}, {Workers: 1, Batch: 10}, {Workers: 7, Batch: 333}} {
		last, events := int64(0), 0
		err := DecodeAll(t.Context(), strings.NewReader(file.String()), o, func(items []Item) error {
			require.LessOrEqual(t, len(items), max(o.Batch, 1000))
			for _, item := range items {
				if item.Line <= last {
					t.Fatalf("line %d after line %d", item.Line, last)
				}
				last = item.Line
				if item.Rejection != nil {
					continue
				}
				events++
				if want := fmt.Sprintf("evt_%08d", item.Line-1); item.Event.ID != want || !bytes.Contains(item.Raw, []byte(want)) {
					t.Fatalf("line %d is %s", item.Line, item.Event.ID)
				}
			}
			return nil
		})
		require.NoError(t, err)
		require.Equal(t, lines-lines/1000-lines/100, events)
		require.EqualValues(t, lines, last)
	}
}

func TestOneBadLineCostsOnlyItself(t *testing.T) {
	t.Parallel()
	bad := map[int64]string{
		2: full[:100],
		3: "\xff\xfe",
		4: strings.Repeat("x", 5000),
		6: with("id", `"a\u0000b"`),
		7: full + full,
	}
	var file strings.Builder
	for n := int64(1); n <= 9; n++ {
		line, isBad := bad[n]
		if !isBad {
			line = member(int(n))
		}
		file.WriteString(line + "\n")
	}
	file.WriteString(full[:200]) // the last one is torn
	items := collectAll(t, strings.NewReader(file.String()), Options{MaxLine: 4096})
	require.Len(t, items, 10)
	for _, item := range items {
		_, isBad := bad[item.Line]
		require.Equal(t, isBad || item.Line == 10, item.Rejection != nil, item.Line)
		require.Equal(t, item.Line == 4, item.Raw == nil)
	}
}

func zipped(t *testing.T, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write([]byte(text))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return b.Bytes()
}

func TestDecodeAllReadsGzip(t *testing.T) {
	t.Parallel()
	text := "\xef\xbb\xbf" + full + "\n" + full[:10] + "\n"
	whole := zipped(t, text+full)
	for _, file := range [][]byte{whole, slices.Concat(zipped(t, text), zipped(t, full))} {
		items := collectAll(t, bytes.NewReader(file), Options{})
		require.Len(t, items, 3)
		require.Equal(t, fullEvent(), items[0].Event)
		require.Equal(t, fullEvent(), items[2].Event)
		require.NotNil(t, items[1].Rejection)
	}
	require.Empty(t, collectAll(t, bytes.NewReader(zipped(t, "")), Options{}))

	broken := slices.Concat(whole[:len(whole)-8], make([]byte, 8))
	for text, file := range map[string][]byte{
		"open as gzip: unexpected EOF":        whole[:5],
		"read line 3: unexpected EOF":         whole[:len(whole)-9],
		"read line 3: gzip: invalid checksum": broken,
	} {
		err := DecodeAll(t.Context(), bytes.NewReader(file), Options{}, func([]Item) error { return nil })
		require.EqualError(t, err, text)
	}
}

// stream is a stream of events, without an end unless it has one.
type stream struct {
	n, end int
	read   atomic.Int64 // bytes; a Read may outlive DecodeAll
}

func (s *stream) Read(p []byte) (int, error) {
	n := 0
	for {
		line := member(s.n) + "\n"
		switch {
		case s.end > 0 && s.n == s.end:
			return s.count(n), io.EOF
		case n+len(line) > len(p):
			return s.count(n), nil
		}
		n += copy(p[n:], line)
		s.n++
	}
}

func (s *stream) count(n int) int {
	s.read.Add(int64(n))
	return n
}

func TestDecodeAllTakesBoundedMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("reads 80 MB")
	}
	var before runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	peak, n := uint64(0), 0
	require.NoError(t, DecodeAll(t.Context(), &stream{end: 200_000}, Options{Workers: 2}, func(items []Item) error {
		if n += len(items); n%20_000 < len(items) {
			var now runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&now)
			peak = max(peak, now.HeapAlloc)
		}
		return nil
	}))
	require.Equal(t, 200_000, n)
	t.Logf("%d events; at most %d KiB over %d KiB", n, (int64(peak)-int64(before.HeapAlloc))>>10, before.HeapAlloc>>10)
	require.Less(t, int64(peak)-int64(before.HeapAlloc), int64(16<<20))
}

func TestDecodeAllReadsNoFurtherThanItIsHeard(t *testing.T) {
	t.Parallel()
	source := &stream{}
	stop := errors.New("enough")
	err := DecodeAll(t.Context(), source, Options{Workers: 2, Batch: 100}, func([]Item) error {
		time.Sleep(50 * time.Millisecond) // all that can be read ahead is
		return stop
	})
	require.Equal(t, stop, err)
	require.Less(t, source.read.Load(), int64(2<<20))
}

func TestDecodeAllStopsWhenCancelled(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	calls := 0
	err := DecodeAll(ctx, &stream{}, Options{}, func([]Item) error {
		if calls++; calls == 3 {
			cancel()
		}
		return nil
	})
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, 3, calls)
}

func TestDecodeAllLeavesABlockedStream(t *testing.T) {
	t.Parallel()
	r, w := io.Pipe()
	t.Cleanup(func() { _ = w.Close() })
	cause := errors.New("the operator left")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(20*time.Millisecond, func() { cancel(cause) })
	err := DecodeAll(ctx, r, Options{}, func([]Item) error { return nil })
	require.ErrorIs(t, err, cause)
}

func TestDecodeAllPassesOnWhatAPausingStreamSent(t *testing.T) {
	t.Parallel()
	r, w := io.Pipe()
	got := make(chan int64, 10)
	done := make(chan error, 1)
	go func() {
		done <- DecodeAll(t.Context(), r, Options{Flush: time.Millisecond}, func(items []Item) error {
			for _, item := range items {
				got <- item.Line
			}
			return nil
		})
	}()
	for n := int64(1); n <= 3; n++ {
		_, err := io.WriteString(w, full+"\n")
		require.NoError(t, err)
		require.Equal(t, n, <-got) // without the next line, or the end
	}
	require.NoError(t, w.Close())
	require.NoError(t, <-done)
}

func TestDecodeAllHandsOutWhatWasReadBeforeAnError(t *testing.T) {
	t.Parallel()
	broken := errors.New("disk on fire")
	n := 0
	err := DecodeAll(t.Context(), io.MultiReader(strings.NewReader(full+"\n"+full+"\n"+full[:9]), errReader{broken}), Options{}, func(items []Item) error {
		n += len(items)
		return nil
	})
	require.ErrorIs(t, err, broken)
	require.ErrorContains(t, err, "read line 3")
	require.Equal(t, 2, n)
}

func TestDecodeAllGivesUpOnAReaderThatGivesNothing(t *testing.T) {
	t.Parallel()
	err := DecodeAll(t.Context(), errReader{}, Options{}, func([]Item) error { return nil })
	require.ErrorIs(t, err, io.ErrNoProgress)
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

func TestDecodeAllOfNothing(t *testing.T) {
	t.Parallel()
	require.Empty(t, collectAll(t, strings.NewReader("\n\n"), Options{}))
}
