package lab

import (
	"testing"
)

func TestMain(m *testing.M) { RunTests(m) }

func TestRun(t *testing.T) {
	r, err := Run(t, Guest{}, "sh", "-c", "echo out; echo err >&2; ls -l /dev/ubd* /lab; exit 7")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", r)
}
