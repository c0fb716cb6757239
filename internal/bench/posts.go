package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// postClients is how many clients post usage at once, each one request after the
// other.
const postClients = 2

// mostEvents is what one request may carry, where ARREARS_MAX_BODY lets mostBytes in.
const (
	mostEvents = 10_000
	mostBytes  = 4 << 20
)

// posts measures POST /v1/usage with requests of several sizes.
func (r *rig) posts(ctx context.Context) ([]row, error) {
	var rows []row
	for _, batch := range []int{100, 1000, 2500, mostEvents} {
		l := load{events: min(r.events, 200*batch) / batch * batch, members: r.members, models: 3}
		p, err := r.rounded(ctx, fmt.Sprintf("posts of %d events", batch), r.rounds, func(ctx context.Context, _ int) (pair, error) {
			return r.postRound(ctx, l, batch)
		})
		if err != nil {
			return nil, err
		}
		found := row{
			what: fmt.Sprintf("usage posted, events/s (%s, %d clients, %s events a request)", l, postClients, short(batch)),
			ours: p.ours, limit: p.limit, unit: "COPY", ratio: p.ratio, note: p.costs(),
		}
		if batch == mostEvents {
			found.mark = "≥ 0.50"
		}
		rows = append(rows, found)
	}
	return rows, nil
}

func (r *rig) postRound(ctx context.Context, l load, batch int) (pair, error) {
	const org = "posts"
	if err := r.clear(ctx); err != nil {
		return pair{}, err
	}
	start, err := r.organization(ctx, org)
	if err != nil {
		return pair{}, err
	}
	bodies := make([][]byte, l.events/batch)
	for n := range bodies {
		var body bytes.Buffer
		w := bufio.NewWriter(&body)
		for i := range batch {
			l.line(w, org, start, n*batch+i)
		}
		_ = w.Flush() // to memory
		bodies[n] = body.Bytes()
	}
	gateway := r.processOf("starter", "serve")
	own, _ := readStat(gateway)
	before, began := r.postgresBusy(), time.Now()
	if err := atOnce(postClients, len(bodies), func(n int) error {
		return r.post(ctx, "/v1/usage", "application/x-ndjson", bodies[n])
	}); err != nil {
		return pair{}, err
	}
	took := time.Since(began)
	after, _ := readStat(gateway)
	p := pair{ours: perSecond(l.events, took), events: l.events, program: after.busy - own.busy, postgres: r.postgresBusy() - before}
	var stored int
	if err := r.conn.QueryRow(ctx, `SELECT count(*) FROM usage_events WHERE org_id = $1`, org).Scan(&stored); err != nil {
		return pair{}, err
	}
	if stored != l.events {
		return pair{}, fmt.Errorf("%d of %d events are stored", stored, l.events)
	}
	copied, busy, err := r.copyAgain(ctx, org)
	p.limit, p.limiting = perSecond(l.events, copied), busy
	return p, err
}

// atOnce runs f for 0 to n-1, so many at once, and returns the first error.
func atOnce(clients, n int, f func(int) error) error {
	var next atomic.Int64
	var running sync.WaitGroup
	failed := make(chan error, clients)
	for range clients {
		running.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if err := f(i); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	running.Wait()
	close(failed)
	return <-failed
}

// httpClient keeps a connection for each client.
var httpClient = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}

// post sends a request to the gateway as its operator, and expects it to be taken.
func (r *rig) post(ctx context.Context, path, contentType string, body []byte) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, r.env["ARREARS_GATEWAY_URL"]+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+r.env["ARREARS_API_KEY"])
	request.Header.Set("Content-Type", contentType)
	response, err := httpClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answered %s: %.300s", path, response.Status, answer)
	}
	return err
}
