package lab

import (
	"os"
	"testing"
)

// Environment of processes in guests. The kernel passes unknown parts of its command line to its first process.
const (
	dirEnv   = "VSS_LAB_DIR"   // first process: Machine.Dir, on the host's file system
	agentEnv = "VSS_LAB_AGENT" // systemd's child that answers commands
	guestEnv = "VSS_LAB_GUEST" // commands: the guest's name
)

// planFile is what Machine.Dir describes about the guest.
const planFile = "plan.json"

type plan struct {
	Guest Guest `json:"guest"`
	Fresh bool  `json:"fresh"` // first boot: the root's disk is empty
}

var mainCalled bool

// Main must be the first call of TestMain in a package whose tests use guests. In a process that was started as the
// first of a guest it doesn't return.
func Main() {
	mainCalled = true
	switch {
	case os.Getenv(agentEnv) != "":
		agent()
	case os.Getpid() == 1 && os.Getenv(dirEnv) != "":
		initialize()
	}
}

// RunTests is a TestMain for packages that need nothing else.
func RunTests(m *testing.M) {
	Main()
	os.Exit(m.Run())
}
