package engine

import (
	"context"
	"errors"
	"sync"
	"time"
)

// Line is a session with a server, from Prepare to Release: its answer in Thaw proves that the server ran throughout
// the copy. It serves one request at a time.
type Line[C any] struct {
	mu   sync.Mutex // the fields below
	conn C
	open bool
	busy bool // the last request wasn't answered
}

var errHungUp = errors.New("the session with the server is closed")

// Open sets the session.
func (l *Line[C]) Open(conn C) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conn, l.open = conn, true
}

// Begin connects, sets the session, and calls first with it, within a limit.
func (l *Line[C]) Begin(ctx context.Context, connect func(context.Context) (C, error),
	limit time.Duration, first func(context.Context, C) error) error {
	conn, err := connect(ctx)
	if err != nil {
		return err
	}
	l.Open(conn)
	return l.Ask(ctx, limit, first)
}

// Ask calls question with the session, limited by ctx and limit.
func (l *Line[C]) Ask(ctx context.Context, limit time.Duration, question func(context.Context, C) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.open {
		return errHungUp
	}
	err := question(ctx, l.conn)
	l.busy = ctx.Err() != nil
	return err
}

// HangUp closes the session by calling end, unless it is closed. It waits for a request in progress. With busy the
// server may still be executing the last one.
func (l *Line[C]) HangUp(end func(conn C, busy bool)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open {
		l.open = false
		end(l.conn, l.busy)
	}
}
