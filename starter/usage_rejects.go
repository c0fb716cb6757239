package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// rejects writes refused lines to a file, each behind a comment that says why: once
// they are mended the file is imported like any other. A nil one writes nothing.
type rejects struct {
	file   *os.File
	out    *bufio.Writer
	lines  int64
	failed error
}

// newRejects makes the file, or empties it. It must not be the one that is read.
func newRejects(path string, reading io.Reader) (*rejects, error) {
	if path == "" {
		return nil, nil
	}
	if from, isFile := reading.(interface{ Stat() (os.FileInfo, error) }); isFile {
		source, err := from.Stat()
		target, otherErr := os.Stat(path)
		if err == nil && otherErr == nil && os.SameFile(source, target) {
			return nil, wrongUsage("--rejects %s is the file that is imported; accepted: another one", path)
		}
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600) // lines name people
	if err != nil {
		return nil, fmt.Errorf("--rejects: %w", err)
	}
	return &rejects{file: file, out: bufio.NewWriter(file)}, nil
}

// write adds a refused line. One that was too long to be read is only named.
func (r *rejects) write(why reason, line []byte) {
	if r == nil {
		return
	}
	r.lines++
	text := strings.Join(strings.Fields(joinField(why.Field, why.Reason)), " ") // on one line
	_, err := fmt.Fprintf(r.out, "# line %d: %s: %s\n", why.Line, why.Status, text)
	if line != nil && err == nil {
		_, err = r.out.Write(append(line[:len(line):len(line)], '\n'))
	}
	r.failed = errors.Join(r.failed, err)
}

// close ends the file. Its error is the first of all writing.
func (r *rejects) close() error {
	if r == nil {
		return nil
	}
	if err := errors.Join(r.failed, r.out.Flush(), r.file.Close()); err != nil {
		return fmt.Errorf("--rejects: not every refused line could be written: %w", err)
	}
	return nil
}
