package cli

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/stillpoint-vss/stillpoint/requester"
)

// progressDelay is how long an operation runs before its progress is shown.
const progressDelay = time.Second

// OnTerminal reports whether standard error is a terminal.
func (t *Tool) OnTerminal() bool {
	f, ok := t.Stderr.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// Progress returns a function that shows the progress of an operation on the terminal, if standard error is one, and a
// function that removes it when the operation has ended.
func (t *Tool) Progress() (show requester.Progress, end func()) {
	if t.JSON || !t.OnTerminal() {
		return nil, func() {}
	}
	began := time.Now()
	var mu sync.Mutex
	drawn := false
	show = func(step string, percent float64) {
		mu.Lock()
		defer mu.Unlock()
		if time.Since(began) < progressDelay {
			return
		}
		drawn = true
		n := min(max(int(percent/5), 0), 20)
		bar := strings.Repeat("#", n) + strings.Repeat(".", 20-n)
		fmt.Fprintf(t.Stderr, "\r\x1b[K[%s] %3.0f%% %s", bar, percent, step)
	}
	return show, func() {
		mu.Lock()
		defer mu.Unlock()
		if drawn {
			fmt.Fprint(t.Stderr, "\r\x1b[K")
		}
	}
}
