package redis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/BurntSushi/toml"
	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/stillpoint-vss/stillpoint/internal/writers/server"
	"github.com/stillpoint-vss/stillpoint/vss"
)

const (
	connectLimit = 5 * time.Second
	answerLimit  = 5 * time.Second // for requests that a server answers immediately unless it hangs
	maxFile      = 64 << 10        // bytes of a file with credentials
)

// endpoint returns where a server listens: its unix socket, or else the lowest of its ports. A node of a cluster has
// another port for its peers, higher by 10000.
func endpoint(p *server.Process) (network, address string, err error) {
	sockets, err := p.Sockets()
	if err != nil {
		return "", "", err
	}
	if len(sockets) > 0 {
		return "unix", sockets[0], nil
	}
	ports, err := p.Ports()
	if err != nil {
		return "", "", err
	}
	if len(ports) == 0 {
		return "", "", errors.New("the server doesn't listen at any address")
	}
	at := ports[0]
	for _, p := range ports[1:] {
		if p.Port() < at.Port() {
			at = p
		}
	}
	return "tcp", at.String(), nil
}

// client is one connection to a server.
type client struct {
	*goredis.Client
	run string // run ID of the server, which changes with each start
}

// credentials are a user and a password.
type credentials struct {
	User     string `toml:"user"`
	Password string `toml:"password"`
}

// readCredentials reads a file with a password. Errors: VSS_E_WRITERERROR_NONRETRYABLE, also if other accounts may
// read or write the file.
func readCredentials(path string) (c credentials, err error) {
	st, err := os.Stat(path)
	if err == nil && (!st.Mode().IsRegular() || st.Mode().Perm()&0o077 != 0 || st.Size() > maxFile) {
		err = fmt.Errorf("it has mode %v and %d bytes", st.Mode(), st.Size())
	}
	if err == nil {
		var meta toml.MetaData
		if meta, err = toml.DecodeFile(path, &c); err == nil && len(meta.Undecoded()) > 0 {
			err = fmt.Errorf("unknown key %s", meta.Undecoded()[0])
		}
	}
	if err != nil {
		return c, vss.E("ReadCredentials", vss.ErrWriterErrorNonRetryable, err).On(path).
			Advise("write a TOML file with the keys user and password, readable by its owner only (chmod 600)")
	}
	return c, nil
}

// connect opens a connection and checks that the server at its end is the process that was found.
func (i *instance) connect(ctx context.Context) (*client, error) {
	ctx, cancel := context.WithTimeout(ctx, connectLimit)
	defer cancel()
	var as credentials
	if path := i.Credentials[i.Dir]; path != "" {
		var err error
		if as, err = readCredentials(path); err != nil {
			return nil, err
		}
	}
	c := &client{Client: goredis.NewClient(&goredis.Options{
		Network: i.network, Addr: i.address, Username: as.User, Password: as.Password,
		Dialer: func(ctx context.Context, network, address string) (net.Conn, error) {
			if network == "unix" {
				return i.Dial(ctx, address)
			}
			var d net.Dialer
			return d.DialContext(ctx, network, address)
		},
		Protocol: 2, PoolSize: 1, DialerRetries: 1, MaxRetries: -1, DisableIdentity: true, ContextTimeoutEnabled: true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})}
	info, err := c.info(ctx, "server")
	if err == nil && info["process_id"] != strconv.Itoa(i.PID) {
		err = vss.E("Connect", vss.ErrWriterErrorRetryable,
			fmt.Errorf("process %q listens at %s, not the server, process %d", info["process_id"], i.address, i.PID)).
			On(i.name).
			Advise("stop the other process that listens there")
	}
	if err != nil {
		c.close()
		return nil, i.failure("Connect", err)
	}
	c.run = info["run_id"]
	return c, nil
}

// close ends the connection; errors don't matter.
func (c *client) close() { _ = c.Close() }

// info returns a section of INFO.
func (c *client) info(ctx context.Context, section string) (map[string]string, error) {
	text, err := c.Info(ctx, section).Result()
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for line := range strings.Lines(text) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			out[key] = value
		}
	}
	return out, nil
}

// setting returns the value of a setting, "" if the server doesn't know it.
func (c *client) setting(ctx context.Context, name string) (string, error) {
	all, err := c.ConfigGet(ctx, name).Result()
	return all[name], err
}

// failure adds code and advice to an error of the server. Errors that it doesn't know, and those of package vss, are
// returned unchanged.
func (i *instance) failure(op string, err error) error {
	var known *vss.Error
	if err == nil || errors.As(err, &known) {
		return err
	}
	text := err.Error()
	fail := func(code vss.Code, advice string) error { return vss.E(op, code, err).On(i.name).Advise(advice) }
	switch {
	case strings.HasPrefix(text, "NOAUTH"),
		strings.HasPrefix(text, "WRONGPASS"),
		strings.Contains(text, "invalid password"),
		strings.Contains(text, "without any password configured"):
		return fail(
			vss.ErrWriterErrorNonRetryable,
			"name a file with user and password for "+i.Dir+" in the writer's configuration (credentials)",
		)
	case strings.HasPrefix(text, "NOPERM"), strings.HasPrefix(text, "ERR unknown command"):
		return fail(
			vss.ErrWriterErrorNonRetryable,
			"the account needs +ping +info +config|get +config|set +bgsave +lastsave, under these names",
		)
	case strings.Contains(text, "max number of clients"):
		return fail(vss.ErrWriterErrorOutOfResources, "no connection is left at the server: raise maxclients")
	case strings.HasPrefix(text, "LOADING"):
		return fail(vss.ErrWriterErrorRetryable, "the server is still loading its data: try again later")
	}
	return err
}
