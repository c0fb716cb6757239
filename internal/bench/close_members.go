package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/postgres"
	"github.com/arrears-dev/arrears/workflows"
)

// closeModels are used by every member, in three token classes each.
var closeModels = []string{"claude-sonnet-4-5", "claude-haiku-4-5", "claude-opus-4-1"}

// perSeat is how many members there are for each who holds a seat: the seats of
// 100,000 alone would be more than the provider charges at once.
const perSeat = 5

// closeTimeout is far more than a month's close may take.
const closeTimeout = 3 * time.Minute

// membersClosed is what closing the month of one large organisation took.
type membersClosed struct {
	members  int
	lines    int
	parts    int
	took     time.Duration // from the cycle's start to the issued invoice
	worker   int64         // its largest memory meanwhile, in bytes
	commands []commandCost
}

type commandCost struct {
	name   string
	took   time.Duration
	memory int64 // at most, in bytes
}

// large closes the months of organisations of ever more members, all with usage,
// and says what that costs the worker, and what looking at it costs the commands.
func (r *rig) large(ctx context.Context) (rows []row, err error) {
	var before *membersClosed
	for _, text := range strings.Split(r.closeMembers, ",") {
		members, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil || members < 1 {
			return nil, fmt.Errorf("-close-members: %q; accepted: numbers of members like 1000,10000", r.closeMembers)
		}
		closed, err := r.closeOneOf(ctx, members)
		if err != nil {
			return nil, fmt.Errorf("close %d members: %w", members, err)
		}
		growth := ""
		if before != nil {
			growth = fmt.Sprintf("; %.1f times the time and %.1f times the memory of %d members",
				closed.took.Seconds()/before.took.Seconds(), float64(closed.worker)/float64(before.worker), before.members)
		}
		rows = append(rows, row{
			what: fmt.Sprintf("month of %d members closed, s", members), ours: closed.took.Seconds(), mark: "20 s at 100000",
			note: fmt.Sprintf("%d lines, %d parts, %.0f parts/s%s", closed.lines, closed.parts, float64(closed.parts)/closed.took.Seconds(), growth),
		}, row{what: "    memory of the worker, MB", ours: float64(closed.worker >> 20), mark: "300 MB at 100000"})
		for _, c := range closed.commands {
			rows = append(rows, row{what: "    starter " + c.name + ", s", ours: c.took.Seconds(), note: fmt.Sprintf("%d MB", c.memory>>20)})
		}
		before = &closed
	}
	return rows, nil
}

func (r *rig) closeOneOf(ctx context.Context, members int) (closed membersClosed, err error) {
	org := fmt.Sprintf("members-%d", members)
	if err := r.largeOrganization(ctx, org, members); err != nil {
		return closed, err
	}
	worker, err := r.workerMemory()
	if err != nil {
		return closed, err
	}
	began := time.Now()
	if err := r.store.StartCycle(ctx, org, billing.Actor{Name: "bench"}); err != nil {
		return closed, err
	}
	in := workflows.CycleInput{Organization: org}
	if _, err := r.temporal.ExecuteWorkflow(ctx, workflows.CycleStartOptions(in), workflows.BillingCycle, in); err != nil {
		return closed, err
	}
	var issued []billing.Invoice
	for len(issued) == 0 {
		if issued, err = r.store.Invoices(ctx, org); err != nil {
			return closed, err
		}
		if time.Since(began) > closeTimeout {
			return closed, fmt.Errorf("its month was not closed within %s", closeTimeout)
		}
		select {
		case <-ctx.Done():
			return closed, ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
	closed = membersClosed{members: members, took: time.Since(began)}
	if closed.worker, err = worker(); err != nil {
		return closed, err
	}
	id := issued[0].ID
	for line, err := range r.store.InvoiceLines(ctx, id, true) {
		if err != nil {
			return closed, err
		}
		closed.lines, closed.parts = closed.lines+1, closed.parts+len(line.Members)
	}
	for _, args := range [][]string{
		{"invoices", "show", id},
		{"invoices", "preview", org},
		{"usage", "summary", org, "--period", issued[0].PeriodID, "--by", "user"},
		{"verify", org},
	} {
		cost, err := r.command(ctx, args...)
		if err != nil {
			return closed, err
		}
		closed.commands = append(closed.commands, cost)
	}
	return closed, nil
}

// largeOrganization is one whose last month is over: every member used each model
// once, and one of five held a seat all the month.
func (r *rig) largeOrganization(ctx context.Context, org string, members int) error {
	now := time.Now().UTC()
	start := time.Date(now.Year(), now.Month()-1, 1, 0, 0, 0, 0, time.UTC)
	contract := billing.Organization{
		ID: org, StartsAt: start, PaymentMethod: "pm_card_visa", DraftWindow: time.Millisecond,
	}
	if err := r.create(ctx, contract); err != nil {
		return err
	}
	seats := make([]postgres.SeatChange, (members+perSeat-1)/perSeat)
	for i := range seats {
		seats[i] = postgres.SeatChange{User: fmt.Sprintf("user_%06d", i*perSeat), Tier: "chat", From: start}
	}
	if _, err := r.store.AssignSeats(ctx, org, seats, billing.Actor{Name: "bench"}); err != nil {
		return err
	}
	const batch = 10_000
	items := make([]billing.UsageItem, 0, batch)
	for i := range members * len(closeModels) {
		event := billing.Event{
			ID: fmt.Sprintf("evt_%09d", i), Organization: org, User: fmt.Sprintf("user_%06d", i/len(closeModels)),
			OccurredAt: start.Add(time.Duration(i) * time.Millisecond), Product: "claude_code", Model: closeModels[i%len(closeModels)],
			ServiceTier: billing.Standard, Speed: billing.Standard, InferenceGeo: billing.GeoGlobal,
		}
		event.Quantities[billing.Input] = int64(i*31%9000 + 1)
		event.Quantities[billing.CacheRead] = int64(i*17%50_000 + 1)
		event.Quantities[billing.Output] = int64(i*13%900 + 1)
		items = append(items, billing.UsageItem{Event: event})
		if len(items) < batch && i+1 < members*len(closeModels) {
			continue
		}
		if _, err := r.store.StoreUsage(ctx, org, items); err != nil {
			return err
		}
		items = items[:0]
	}
	return nil
}

// workerMemory forgets the most that the worker has used so far, and returns a
// function that tells the most that it has used since.
func (r *rig) workerMemory() (func() (int64, error), error) {
	pid, err := findProcess(filepath.Join(r.bin, "worker"))
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0); err != nil {
		return nil, err
	}
	return func() (int64, error) { return mostMemory(pid) }, nil
}

// mostMemory is the most that a process has used, in bytes.
func mostMemory(pid int) (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if text, found := strings.CutPrefix(line, "VmHWM:"); found {
			kilobytes, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(text), " kB"), 10, 64)
			return kilobytes << 10, err
		}
	}
	return 0, errors.New("the system does not tell how much memory a process used")
}

// findProcess returns the process that runs a program.
func findProcess(program string) (int, error) {
	links, err := filepath.Glob("/proc/[0-9]*/exe")
	if err != nil {
		return 0, err
	}
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil && target == program {
			return strconv.Atoi(strings.Split(link, "/")[2])
		}
	}
	return 0, fmt.Errorf("no process runs %s", program)
}

// command runs a command of starter, and tells what it cost.
func (r *rig) command(ctx context.Context, args ...string) (commandCost, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(r.bin, "starter"), args...)
	for name, value := range r.env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	var problems bytes.Buffer
	cmd.Stdout, cmd.Stderr = io.Discard, &problems
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return commandCost{}, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	cost := commandCost{name: strings.Join(args, " ")}
	for { // what the system counts for a process that has ended includes its parent's
		select {
		case err := <-ended:
			if err != nil {
				return cost, fmt.Errorf("starter %s: %w: %s", cost.name, err, &problems)
			}
			cost.took = time.Since(began)
			return cost, nil
		case <-time.After(5 * time.Millisecond):
			if most, err := mostMemory(cmd.Process.Pid); err == nil {
				cost.memory = max(cost.memory, most)
			}
		}
	}
}
