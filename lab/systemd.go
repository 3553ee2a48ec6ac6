package lab

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// becomeSystemd makes systemd the first process, with udevd and the agent but none of the host's services.
func becomeSystemd() error {
	units := map[string]string{
		"lab.target": `[Unit]
Requires=sysinit.target lab.service
After=sysinit.target
AllowIsolate=yes
`,
		"lab.service": fmt.Sprintf(`[Unit]
After=sysinit.target systemd-udev-settle.service
Wants=systemd-udev-settle.service
[Service]
ExecStart=%s
Environment=%s=1 HOME=/root
KillMode=process
OOMScoreAdjust=-1000
`, os.Args[0], agentEnv),
	}
	if err := os.MkdirAll("/run/systemd/system", 0o755); err != nil {
		return err
	}
	for name, text := range units {
		if err := os.WriteFile("/run/systemd/system/"+name, []byte(text), 0o644); err != nil {
			return err
		}
	}
	// nothing may empty /tmp, which has this program
	if err := os.WriteFile("/etc/tmpfiles.d/tmp.conf", nil, 0o644); err != nil {
		return err
	}
	// otherwise systemd assumes a container, and omits much
	if err := os.Remove("/.dockerenv"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	const systemd = "/lib/systemd/systemd"
	return os.NewSyscallError("exec systemd", unix.Exec(systemd, []string{systemd, "--unit=lab.target"}, os.Environ()))
}
