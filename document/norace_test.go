//go:build !race

package document

// raced says that the race detector watches: it makes every allocation larger.
const raced = false
