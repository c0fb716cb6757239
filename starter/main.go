// Command starter is how people and programs talk to Arrears from outside: it
// takes organisations under contract, loads prices, stores usage, starts and
// steers the billing cycles, shows what was billed, and serves the HTTP gateway.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends at once
	code := run(ctx, os.Args[1:], newApp())
	stop()
	os.Exit(code)
}
