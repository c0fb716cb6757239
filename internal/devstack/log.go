package devstack

import (
	"fmt"
	"io"
)

// say writes one line for people. A log that cannot be written stops nothing.
func say(log io.Writer, format string, args ...any) {
	if log != nil {
		_, _ = fmt.Fprintf(log, format+"\n", args...)
	}
}
