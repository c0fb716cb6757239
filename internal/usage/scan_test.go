package usage

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
)

// scanned lists lines as "number:text", too long ones as "number!".
func scanned(t *testing.T, r io.Reader, maxLine int) []string {
	t.Helper()
	var lines []string
	for line, err := range Scan(r, maxLine) {
		require.NoError(t, err)
		text := string(rune('0'+line.Number)) + ":" + string(line.Bytes)
		if line.Rejection != nil {
			require.Empty(t, line.Bytes)
			require.Contains(t, line.Rejection.Error(), "is longer than")
			text = string(rune('0'+line.Number)) + "!"
		}
		lines = append(lines, text)
	}
	return lines
}

func TestScanFindsLines(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 8)
	for stream, want := range map[string][]string{
		"":                           nil,
		"\n\r\n  \t\n":               nil,
		"a\nb\n":                     {"1:a", "2:b"},
		"a\nb":                       {"1:a", "2:b"},
		"a\r\nb\r\n":                 {"1:a", "2:b"},
		"\n\na\n \nb":                {"3:a", "5:b"},
		"  a b \t\n":                 {"1:a b"},
		"\xef\xbb\xbfa\nb":           {"1:a", "2:b"},
		"\xef\xbb\xbf":               nil,
		"\xef\xbb":                   {"1:\xef\xbb"},
		"a\n\xef\xbb\xbfb":           {"1:a", "2:\xef\xbb\xbfb"},
		long + "\n" + long + "\r\n":  {"1:" + long, "2:" + long},
		long + "x\na":                {"1!", "2:a"},
		"a\n" + long + "x":           {"1:a", "2!"},
		"a\n" + long + "x\n":         {"1:a", "2!"},
		long + long + long + "\na\n": {"1!", "2:a"},
		"\xff\xfe\n{\na":             {"1:\xff\xfe", "2:{", "3:a"},
		"\x1f\n":                     {"1:\x1f"},
	} {
		require.Equal(t, want, scanned(t, strings.NewReader(stream), 8), "%q", stream)
		require.Equal(t, want, scanned(t, iotest.OneByteReader(strings.NewReader(stream)), 8), "%q", stream)
		require.Equal(t, want, scanned(t, iotest.DataErrReader(strings.NewReader(stream)), 8), "%q", stream)
	}
}

func TestScanTakesLinesBeyondItsBuffer(t *testing.T) {
	t.Parallel()
	for _, n := range []int{64<<10 - 1, 64 << 10, 64<<10 + 1, 200_000, MaxLine - 1, MaxLine} {
		line := strings.Repeat("x", n)
		for _, ending := range []string{"\n", "\r\n", ""} {
			for got, err := range Scan(strings.NewReader(line+ending), 0) {
				require.NoError(t, err)
				require.Nil(t, got.Rejection, n)
				require.Equal(t, line, string(got.Bytes))
			}
		}
	}
	require.Equal(t, []string{"1!", "2:a"}, scanned(t, strings.NewReader(strings.Repeat("x", MaxLine+1)+"\na"), 0))
}

func TestScanEndsWithTheReadersError(t *testing.T) {
	t.Parallel()
	broken := errors.New("disk on fire")
	for name, test := range map[string]struct {
		reader io.Reader
		is     error
		text   string
	}{
		"at once":           {iotest.ErrReader(broken), broken, "read line 1: disk on fire"},
		"in the third line": {io.MultiReader(strings.NewReader("a\nb\nc"), iotest.ErrReader(broken)), broken, "read line 3: disk on fire"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var last error
			for _, err := range Scan(test.reader, 0) {
				require.NoError(t, last, "something after the error")
				last = err
			}
			require.ErrorIs(t, last, test.is)
			require.ErrorContains(t, last, test.text)
		})
	}
}

func TestScanMayBeLeft(t *testing.T) {
	t.Parallel()
	for line, err := range Scan(strings.NewReader("a\nb\n"), 0) {
		require.NoError(t, err)
		require.EqualValues(t, 1, line.Number)
		break
	}
}

// A body of bounded size must not grow behind the bound.
func TestScanUnzipsNothing(t *testing.T) {
	t.Parallel()
	bomb := zipped(t, strings.Repeat("x\n", 1<<20))
	lines := 0
	for _, err := range Scan(bytes.NewReader(bomb), 0) {
		require.NoError(t, err)
		lines++
	}
	require.LessOrEqual(t, lines, len(bomb))
}

func TestElementsSplitsAnArray(t *testing.T) {
	t.Parallel()
	body := []byte("\n[ " + full + " ,{\"a\":1,\"a\":2},\n\"\xff\", 3, null,[[]]]\n")
	elements, err := Elements(body, 1000)
	require.NoError(t, err)
	var texts []string
	for _, e := range elements {
		texts = append(texts, string(e))
	}
	require.Equal(t, []string{full, `{"a":1,"a":2}`, "\"\xff\"", "3", "null", "[[]]"}, texts)

	elements, err = Elements([]byte("[]"), 1000)
	require.NoError(t, err)
	require.Empty(t, elements)

	for body, text := range map[string]string{
		"":             "is not a JSON array",
		full:           "is not a JSON array",
		"[":            "ends inside",
		"[" + full:     "ends inside",
		"[" + full[:9]: "ends inside",
		"[1 2]":        "is not a JSON array: ",
		"[1,]":         "is not a JSON array: ",
		"[1}":          "is not a JSON array: ",
		"[] []":        "has more behind",
		"[],":          "has more behind",
	} {
		_, err := Elements([]byte(body), 1000)
		require.ErrorIs(t, err, billing.ErrInvalid, body)
		require.ErrorContains(t, err, text, body)
	}
}
