package postgres_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/arrears-dev/arrears/internal/billing"
	"github.com/arrears-dev/arrears/internal/postgres"
)

func TestMembersComePageByPageAsInTheWholeList(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.limit(billing.ScopeOrganization, "", "100")
	f.limit(billing.ScopeSeatTier, "chat", "10")
	f.limit(billing.ScopeUser, "u05", "3")
	for i := range 8 {
		f.seat(fmt.Sprintf("u%02d", i), "chat", false) // u07 uses nothing
	}
	f.store(use("service", "", october, 1_000_000))
	for i := range 7 {
		f.store(use(fmt.Sprint(i), fmt.Sprintf("u%02d", i), october, int64(100_000*(i+1))))
	}
	f.store(use("guest", "zoe", october, 1_000_000)) // without a seat
	f.store(use("gone", "u99", october, 1_000_000), retract("back", "gone", october))
	whole, err := f.UsageSummary(f.ctx, "acme", "", []string{"user"})
	require.NoError(t, err)
	require.Len(t, whole.Rows, 10, "service usage, eight seats and a guest")

	for _, size := range []int{1, 3, 10, 11} {
		var rows []postgres.UsageRow
		var after *string
		for {
			page, err := f.MembersAfter(f.ctx, "acme", "", after, size)
			require.NoError(t, err)
			require.LessOrEqual(t, len(page.Rows), size)
			require.LessOrEqual(t, len(rows), len(whole.Rows), "the list comes to its end")
			rows = append(rows, page.Rows...)
			if len(page.Rows) == 0 {
				break
			}
			after = &page.Rows[len(page.Rows)-1].User
		}
		require.Equal(t, whole.Rows, rows, "pages of %d", size)
	}
	_, err = f.MembersAfter(f.ctx, "nobody", "", nil, 1)
	require.ErrorIs(t, err, billing.ErrNotFound)
}

func TestNoticesComePageByPageAsInTheWholeList(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.limit(billing.ScopeSeatTier, "chat", "1")
	for i := range 4 {
		user := fmt.Sprintf("u%02d", i)
		f.seat(user, "chat", false)
		f.store(use(user, user, october, 1_000_000))
	}
	f.limit(billing.ScopeSeatTier, "chat", "2") // what it has passed already is suppressed
	for all, count := range map[bool]int{false: 12, true: 24} {
		whole, err := f.Notices(f.ctx, "acme", all)
		require.NoError(t, err)
		require.Len(t, whole, count)
		require.NoError(t, f.RecordDelivery(f.ctx, fmt.Sprintf("notice/%d", whole[5].ID), "mail", "failed", "later"))
		whole, err = f.Notices(f.ctx, "acme", all)
		require.NoError(t, err)
		require.Equal(t, "chat", whole[0].Tier)
		var rows []postgres.NoticeRow
		var after postgres.NoticePosition
		for {
			page, err := f.NoticesAfter(f.ctx, "acme", all, after, 5)
			require.NoError(t, err)
			require.LessOrEqual(t, len(rows), count, "the list comes to its end")
			rows = append(rows, page...)
			if len(page) == 0 {
				break
			}
			last := page[len(page)-1]
			after = postgres.NoticePosition{At: last.At, ID: last.ID}
		}
		require.Equal(t, whole, rows)
	}
}
