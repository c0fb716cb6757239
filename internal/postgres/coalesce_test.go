package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"
)

// oracle answers 10 n to n after a second, and remembers what it was asked.
type oracle struct {
	coalescer[int, int]
	mu    sync.Mutex
	asked [][]int
}

func newOracle() *oracle {
	o := &oracle{}
	o.ask = func(ctx context.Context, questions []int) ([]int, error) {
		o.mu.Lock()
		o.asked = append(o.asked, slices.Clone(questions))
		o.mu.Unlock()
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		answers := make([]int, len(questions))
		for i, q := range questions {
			switch q {
			case 66:
				return nil, &pgconn.PgError{Code: "22021"}
			case 67:
				return nil, errors.New("the connection is lost")
			case 68:
				panic("68")
			}
			answers[i] = 10 * q
		}
		return answers, nil
	}
	return o
}

// all asks one after the other, without waiting, and tells what each was told and when.
func (o *oracle) all(ctx context.Context, questions ...int) (told []string) {
	told = make([]string, len(questions))
	began := time.Now()
	var wait sync.WaitGroup
	for i, q := range questions {
		wait.Go(func() {
			answer, err := o.get(ctx, q)
			told[i] = fmt.Sprintf("%d after %s", answer, time.Since(began))
			if err != nil {
				told[i] = err.Error()
			}
		})
		synctest.Wait() // it is in line
	}
	wait.Wait()
	return told
}

func TestQuestionsThatArriveMeanwhileShareTheNextStatement(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := newOracle()
		require.Equal(t, []string{"10 after 1s", "20 after 1s", "30 after 2s", "40 after 2s", "30 after 2s"},
			o.all(t.Context(), 1, 2, 3, 4, 3), "without company nobody waits, and each gets their own answer")
		require.Equal(t, [][]int{{1}, {2}, {3, 4}}, o.asked, "who asks the same is asked for once")
		require.Equal(t, []string{"10 after 1s"}, o.all(t.Context(), 1))
		require.Len(t, o.asked, 4, "no answer is kept: it would be older than its question")
		synctest.Wait()
		require.Empty(t, o.line)
		require.Zero(t, o.lanes)
	})
}

func TestAQuestionIsNeverAnsweredByAStatementThatBeganBeforeIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := newOracle()
		go o.all(t.Context(), 7)
		time.Sleep(time.Second / 2)
		require.Equal(t, []string{"70 after 1s"}, o.all(t.Context(), 7))
		require.Equal(t, [][]int{{7}, {7}}, o.asked)
	})
}

func TestABadQuestionFailsAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := newOracle()
		told := o.all(t.Context(), 1, 2, 3, 66, 4)
		require.Equal(t, "30 after 3s", told[2])
		require.Contains(t, told[3], "22021")
		require.Equal(t, "40 after 5s", told[4])
	})
}

func TestAFailingStatementFailsThoseInItAndNoOthers(t *testing.T) {
	t.Parallel()
	for bad, says := range map[int]string{67: "the connection is lost", 68: "asking panicked: 68"} {
		synctest.Test(t, func(t *testing.T) {
			o := newOracle()
			told := o.all(t.Context(), 1, 2, 3, bad)
			require.Equal(t, []string{"10 after 1s", "20 after 1s", says, says}, told)
			require.Equal(t, []string{"30 after 1s"}, o.all(t.Context(), 3), "the lanes are free again")
		})
	}
}

func TestWhoGoesAwayCostsOnlyTheirOwnAnswer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := newOracle()
		var wait sync.WaitGroup
		ask := func(within time.Duration, q int) *error {
			failed := new(error)
			ctx, cancel := context.WithTimeout(t.Context(), within)
			wait.Go(func() {
				defer cancel()
				_, *failed = o.get(ctx, q)
			})
			synctest.Wait()
			return failed
		}
		ask(time.Hour, 1)
		ask(time.Hour, 2)
		inLine, under, stays := ask(time.Second/2, 3), ask(3*time.Second/2, 4), ask(time.Hour, 5)
		wait.Wait()
		require.ErrorIs(t, *inLine, context.DeadlineExceeded)
		require.ErrorIs(t, *under, context.DeadlineExceeded)
		require.NoError(t, *stays)
		require.Equal(t, [][]int{{1}, {2}, {4, 5}}, o.asked, "nobody waits for 3")
	})
}

func TestAStatementEndsWithTheLastOfThoseWhoWaitForIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := newOracle()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second/2)
		defer cancel()
		o.all(ctx, 1, 2, 3)
		synctest.Wait()
		require.Zero(t, o.lanes, "none is held by a statement for nobody")
		require.Len(t, o.asked, 2)
	})
}

func TestAStatementCarriesABoundedNumberOfQuestions(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := newOracle()
		var wait sync.WaitGroup
		for q := range 2 + 2*coalescedMost + 1 {
			wait.Go(func() {
				answer, err := o.get(t.Context(), 1000+q)
				if err != nil || answer != 10*(1000+q) {
					t.Errorf("%d: %d, %v", q, answer, err)
				}
			})
			synctest.Wait()
		}
		wait.Wait()
		var sizes []int
		for _, questions := range o.asked {
			sizes = append(sizes, len(questions))
		}
		require.Equal(t, []int{1, 1, coalescedMost, coalescedMost, 1}, sizes)
	})
}
