package postgres

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/stillpoint-vss/stillpoint/internal/writers/server"
)

// find gives the running server of a data directory, nil if there is none.
func find(ctx context.Context, data string) (*Cluster, error) {
	all, err := Find(ctx)
	if err != nil {
		return nil, err
	}
	for _, c := range all {
		if c.Data == data {
			return c, nil
		}
	}
	return nil, nil
}

// stopFast ends the server in order (fast mode: sessions are ended) and returns when it is gone. Under systemd
// pg_ctlcluster sees to the unit, so that the service isn't started again behind our back.
func (c *Cluster) stopFast(ctx context.Context) error {
	return c.StopBy(ctx, func(ctx context.Context) error {
		if c.Config != "" {
			return c.run(ctx, false, "pg_ctlcluster", c.Major, filepath.Base(c.Config), "stop", "-m", "fast")
		}
		return c.run(
			ctx,
			true,
			c.ctl(),
			"-D",
			c.Data,
			"-m",
			"fast",
			"-w",
			"-t",
			seconds(server.StopLimit),
			"-s",
			"stop",
		)
	})
}

// start starts the server as it ran when it was backed up, and returns when it has recovered and takes clients.
func (s *clusters) start(ctx context.Context, c *Cluster) error {
	running := func(ctx context.Context) (*Cluster, error) { return find(ctx, c.Data) }
	return server.StartBy(ctx, c.begin, server.Up(running, func(ctx context.Context, c *Cluster) error {
		conn, err := s.connect(ctx, c)
		if err == nil {
			hangUp(conn)
		}
		return err
	}))
}

// begin starts the server. Whether it ends is seen by its lock file alone.
func (c *Cluster) begin(ctx context.Context) (<-chan error, error) {
	if c.Config != "" {
		return nil, c.run(ctx, false, "pg_ctlcluster", c.Major, filepath.Base(c.Config), "start")
	}
	args := []string{"-D", c.Data, "-W", "-s", "-o", c.options()}
	if c.Log != "" {
		args = append(args, "-l", c.Log)
	}
	return nil, c.run(ctx, true, c.ctl(), append(args, "start")...)
}

// ctl is the program that starts and stops the server where Debian's tools don't.
func (c *Cluster) ctl() string { return filepath.Join(filepath.Dir(c.Program), "pg_ctl") }

// options are the server's arguments but the data directory, for a shell.
func (c *Cluster) options() string {
	var out []string
	for i := 0; i < len(c.Args); i++ {
		switch a := c.Args[i]; {
		case a == "-D":
			i++
		case strings.HasPrefix(a, "-D"):
		default:
			out = append(out, "'"+strings.ReplaceAll(a, "'", `'\''`)+"'")
		}
	}
	return strings.Join(out, " ")
}

// run runs a program, as the cluster's owner or as ourselves. What it says on a failure goes into the error. A server
// that it starts inherits its output: that is a file for the time of the run, since a pipe would never end.
func (c *Cluster) run(ctx context.Context, owner bool, name string, args ...string) error {
	said, err := os.CreateTemp("", "vss-postgres-")
	if err != nil {
		return err
	}
	defer os.Remove(said.Name())
	defer said.Close()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = "/", said, said
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if owner && os.Geteuid() != c.UID {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(c.UID), Gid: uint32(c.GID)}
	}
	if err := cmd.Run(); err != nil {
		text, _ := os.ReadFile(said.Name())
		return fmt.Errorf("%s %s: %w: %s", filepath.Base(name), strings.Join(args, " "), err, bytes.TrimSpace(text))
	}
	return nil
}

func seconds(d time.Duration) string { return fmt.Sprint(int(d / time.Second)) }
