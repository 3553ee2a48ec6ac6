package demo

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/stillpoint-vss/stillpoint/internal/demo/pgserver"
)

// examination is the state of a server on a copy.
type examination struct {
	last     []int64 // number of the last commit, by client of the journal
	gap      error   // an earlier commit is missing
	balanced bool
	sums     string
	fault    error // of a table or an index
}

// balance selects the sums that every transaction of pgbench changes by the same amount.
const balance = `SELECT (SELECT coalesce(sum(abalance), 0) FROM pgbench_accounts),
	(SELECT coalesce(sum(bbalance), 0) FROM pgbench_branches),
	(SELECT coalesce(sum(tbalance), 0) FROM pgbench_tellers),
	(SELECT coalesce(sum(delta), 0) FROM pgbench_history), (SELECT count(*) FROM pgbench_history)`

// examine determines the state of a server.
func examine(ctx context.Context, s *pgserver.Server) (*examination, error) {
	e := &examination{last: make([]int64, journalClients)}
	for i := range e.last {
		answer, err := s.SQL(ctx, fmt.Sprintf("SELECT coalesce(max(n), 0) FROM journal WHERE client = %d", i))
		if err == nil {
			e.last[i], err = strconv.ParseInt(answer, 10, 64)
		}
		if err != nil {
			return e, err
		}
	}
	e.gap = s.Holds(ctx, e.last)
	answer, err := s.SQL(ctx, balance)
	if err != nil {
		return e, err
	}
	f := strings.Split(answer, "|")
	if len(f) != 5 {
		return e, fmt.Errorf("unexpected result %q of the sums", answer)
	}
	e.balanced = f[0] == f[1] && f[1] == f[2] && f[2] == f[3] && f[4] != "0"
	e.sums = fmt.Sprintf("%s transactions; accounts %s, branches %s, tellers %s, history %s", f[4], f[0], f[1], f[2],
		f[3])
	e.fault = s.Check(ctx)
	return e, nil
}

func (e *examination) commits() int64 { return sample{acked: e.last}.commits() }

// holds compares the commits with those acknowledged just before writes were held and just after. All of the former
// must be present, and of each client at most one commit, which was in progress, that is not among the latter.
func (e *examination) holds(before, after sample) error {
	if e.gap != nil {
		return e.gap
	}
	if before.commits() == 0 || len(e.last) != len(before.acked) {
		return errors.New("no commit was acknowledged before the hold")
	}
	for i, n := range e.last {
		if n < before.acked[i] {
			return fmt.Errorf("client %d: commit %d was acknowledged, but the copy ends with commit %d", i,
				before.acked[i], n)
		}
		if n > after.acked[i]+1 {
			return fmt.Errorf("client %d: commit %d was the last in progress at the end of the hold, "+
				"but the copy ends with commit %d", i, after.acked[i]+1, n)
		}
	}
	return nil
}
