package wire

import "context"

// Receive returns what a stream receives, until the stream or ctx ends, and closes the channel then. Convert returns
// false for a message that is not valid, which is left out.
func Receive[M, E any](ctx context.Context, recv func() (M, error), buffer int, convert func(M) (E, bool)) <-chan E {
	out := make(chan E, buffer)
	go func() {
		defer close(out)
		for m, err := recv(); err == nil; m, err = recv() {
			e, ok := convert(m)
			if !ok {
				continue
			}
			select {
			case out <- e:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}
