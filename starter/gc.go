package main

import (
	"os"
	"runtime/debug"
)

// collectPercent is how far the heap may grow beyond what is alive before it is
// collected.
const collectPercent = 400

// relaxGC spares a program that stores usage much of the collecting: what it
// holds is small and soon gone, so collecting at twice that, which is usual, would
// cost a quarter of its time. The heap may grow to five times that, and up to so
// many bytes. GOGC and GOMEMLIMIT, where they are set, decide instead.
func relaxGC(bytes int64) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(collectPercent)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(bytes)
	}
}
