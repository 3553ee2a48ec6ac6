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

// find returns the running server of a data directory, nil if there is none.
func (s *clusters) find(ctx context.Context, data string) (*Cluster, error) {
	all, _, err := Find(ctx, s.accounts...)
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

// stopFast stops the server (in fast mode: sessions are ended) and returns when it has ended. Under systemd
// pg_ctlcluster stops the unit, so that the service isn't restarted.
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

// start starts the server with its settings at the backup, and returns when it has recovered and accepts connections.
func (s *clusters) start(ctx context.Context, c *Cluster) error {
	running := func(ctx context.Context) (*Cluster, error) { return s.find(ctx, c.Data) }
	return server.StartBy(ctx, c.begin, server.Up(running, func(ctx context.Context, c *Cluster) error {
		conn, err := s.connect(ctx, c)
		if err == nil {
			hangUp(conn)
		}
		return err
	}))
}

// begin starts the server. Its end is noticed only by its lock file.
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

// ctl returns the program that starts and stops the server, unless Debian's tools do.
func (c *Cluster) ctl() string { return filepath.Join(filepath.Dir(c.Program), "pg_ctl") }

// options returns the server's arguments without the data directory, quoted for a shell.
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

// run runs a program, as the cluster's owner or as this process. On failure its output is part of the error. A server
// that it starts inherits the output, which is therefore a file: a pipe would not end.
func (c *Cluster) run(ctx context.Context, owner bool, name string, args ...string) error {
	name, err := c.program(name)
	if err != nil {
		return err
	}
	said, err := os.CreateTemp("", "vss-postgres-")
	if err != nil {
		return err
	}
	defer os.Remove(said.Name())
	defer said.Close()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.Env = "/", said, said, server.Environ()
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

// program returns the path of a program: one of the host's tools, or one that only root and the cluster's owner can
// change.
func (c *Cluster) program(name string) (string, error) {
	if !filepath.IsAbs(name) {
		return server.Tool(name)
	}
	real, err := filepath.EvalSymlinks(name)
	if err != nil {
		return "", err
	}
	return real, server.Owned(real, c.UID, c.GID)
}

func seconds(d time.Duration) string { return fmt.Sprint(int(d / time.Second)) }
