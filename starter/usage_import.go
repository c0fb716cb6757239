package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/arrears-dev/arrears/internal/usage"
)

type usageImportOptions struct {
	*app
	path    string
	rejects string
	strict  bool
}

func newUsageImportCmd(a *app) *cobra.Command {
	o := &usageImportOptions{app: a}
	cmd := &cobra.Command{
		Use:   "import FILE|-",
		Short: "Store the usage events of a file, each exactly once",
		Long: `Store the usage events of a file, one JSON object a line, gzipped or not; - is
stdin. A file of any size is streamed. Each event is stored exactly once by its
organisation and id, so a file can be imported again after any interruption.

Each line is answered: accepted, duplicate (same id, same content), conflict
(same id, other content: the first stays), rejected (with field and reason), or
parked (no price yet: see "starter usage parked"). --rejects writes the lines that
were rejected or in conflict to a file, each behind a comment with the reason: mend
them and import that file. Lines that begin with # are skipped.

The exit code is 0 once all lines are answered, whatever the answers; with --strict
it is 1 if any was rejected or in conflict.`,
		Example: `  starter usage import usage.ndjson
  starter usage import usage.ndjson --rejects refused.ndjson
  zcat 2026-10-*.ndjson.gz | starter usage import - -o json`,
		Args: arguments("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.path = args[0]
			return runUsageImport(cmd.Context(), o)
		},
	}
	cmd.Flags().StringVar(&o.rejects, "rejects", "", "write refused lines to this file, with their reasons; what it held is lost")
	cmd.Flags().BoolVar(&o.strict, "strict", false, "fail if any line is rejected or in conflict")
	return cmd
}

func runUsageImport(ctx context.Context, o *usageImportOptions) error {
	file, size, err := o.open(o.path)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	store, err := o.Store(ctx)
	if err != nil {
		return err
	}
	relaxGC(importHeap)
	start := time.Now()
	bar := o.progress("importing", size)
	refused, err := newRejects(o.rejects, file)
	if err != nil {
		return err
	}
	answers := &tally{rejects: refused}
	unanswered, err := importUsage(ctx, store, bar.reader(file), answers)
	bar.done()
	closeErr := refused.close()
	totals := answers.totals()
	if printErr := o.print(totals, func(w io.Writer) {
		fmt.Fprintf(w, "%s: %s answered in %.1f s (%s a second).\n\n", o.path, plural(totals.Lines, "event"),
			time.Since(start).Seconds(), showCount(int64(float64(totals.Lines)/time.Since(start).Seconds())))
		totals.write(w)
		if refused != nil && refused.lines > 0 {
			fmt.Fprintf(w, "\nAll %s are in %s: mend them, and import that file.\n", plural(refused.lines, "refused line"), o.rejects)
		}
	}); printErr != nil {
		return printErr
	}
	if err == nil {
		err = closeErr
	}
	switch {
	case ctx.Err() != nil:
		return withHint(fmt.Errorf("interrupted: every line before line %d is answered", unanswered), "%s", againHint)
	case err != nil:
		return withHint(fmt.Errorf("%s: %w\nevery line before line %d is answered", o.path, err, unanswered), "%s", againHint)
	case o.strict && totals.Rejected+totals.Conflicts > 0:
		return fmt.Errorf("%s: %d rejected and %d in conflict", o.path, totals.Rejected, totals.Conflicts)
	}
	return nil
}

const againHint = "It is safe to import the file again: what was stored is answered as duplicate."

// importHeap is about how many bytes an import takes at most: several times what
// its batches hold.
const importHeap = 384 << 20

// decodeBatch is how many lines are decoded together.
const decodeBatch = 1000

// importUsage stores a stream of events and counts the answers. Where it
// breaks off, it returns the first line that may not be answered.
func importUsage(ctx context.Context, store usageStore, r io.Reader, answers *tally) (unanswered int64, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	l := newImportPipeline(store, answers, cancel)
	err = usage.DecodeAll(ctx, r, usage.Options{Batch: decodeBatch}, func(items []usage.Item) error {
		if err := l.add(ctx, items); err != nil {
			return err
		}
		if len(items) < decodeBatch && bytesOf(items) < usage.MaxLine {
			return l.flush(ctx) // the stream pauses or ends, nobody knows for how long
		}
		return nil
	})
	if ctx.Err() == nil {
		err = errors.Join(err, l.flush(ctx)) // what could be read, where reading broke off
	}
	unanswered = l.wait()
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return unanswered, err
}

func bytesOf(items []usage.Item) (sum int) {
	for i := range items {
		sum += len(items[i].Raw)
	}
	return sum
}
