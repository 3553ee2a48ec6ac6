package boot

import "testing"

func TestID(t *testing.T) {
	a, err := ID()
	if err != nil || len(a) != 36 {
		t.Fatalf("ID = %q, %v", a, err)
	}
	if b, err := ID(); err != nil || b != a {
		t.Errorf("ID = %q, %v, was %q", b, err, a)
	}
}
