package engine

import (
	"context"
	"errors"
	"sync"
	"time"
)

// Line is a session with a server, from Prepare to Release: that it still answers in Thaw proves that the server lived through the
// copy. It takes one question at a time.
type Line[C any] struct {
	mu   sync.Mutex // the fields below
	conn C
	open bool
	busy bool // the last question wasn't answered
}

var errHungUp = errors.New("the writer has ended the session with the server")

// Open makes a session the line's.
func (l *Line[C]) Open(conn C) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conn, l.open = conn, true
}

// Ask uses the session within a limit.
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

// HangUp ends the session by what end does, unless that was done before. A question under way ends first. Busy: the server may
// still be at the last one.
func (l *Line[C]) HangUp(end func(conn C, busy bool)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open {
		l.open = false
		end(l.conn, l.busy)
	}
}
