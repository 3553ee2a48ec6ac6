package wire

import (
	"context"
	"io"
	"slices"
	"testing"
	"testing/synctest"
)

func TestReceive(t *testing.T) {
	messages := []int{1, -1, 2, 3}
	recv := func() (int, error) {
		if len(messages) == 0 {
			return 0, io.EOF
		}
		m := messages[0]
		messages = messages[1:]
		return m, nil
	}
	var got []int
	for e := range Receive(t.Context(), recv, 0, func(m int) (int, bool) { return 10 * m, m > 0 }) {
		got = append(got, e)
	}
	if want := []int{10, 20, 30}; !slices.Equal(got, want) {
		t.Errorf("received %v, want %v", got, want)
	}
}

// A receiver that stops reading ends the goroutine by its context.
func TestReceiveCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		events := Receive(ctx, func() (int, error) { return 1, nil }, 0, func(m int) (int, bool) { return m, true })
		<-events
		cancel()
		synctest.Wait()
		for range events {
			t.Log("sent before the end")
		}
	})
}
