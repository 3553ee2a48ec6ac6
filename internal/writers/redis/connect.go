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
	answerLimit  = 5 * time.Second // for what a server answers in a moment, unless it hangs
	maxFile      = 64 << 10        // bytes of a file with credentials
)

// endpoint is where a server listens: at a unix socket, else at the lowest of its ports. A node of a cluster has another one for its
// peers, 10000 above.
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
		return "", "", errors.New("it listens nowhere")
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
	run string // the server's run: another one after each start
}

// credentials are how to log in.
type credentials struct {
	User     string `toml:"user"`
	Password string `toml:"password"`
}

// readCredentials reads a file with a password. Errors: VSS_E_WRITERERROR_NONRETRYABLE, also for one that others may read or write.
func readCredentials(path string) (c credentials, err error) {
	st, err := os.Stat(path)
	if err == nil && (!st.Mode().IsRegular() || st.Mode().Perm()&0o077 != 0 || st.Size() > maxFile) {
		err = fmt.Errorf("its mode is %v, and it has %d bytes", st.Mode(), st.Size())
	}
	if err == nil {
		var meta toml.MetaData
		if meta, err = toml.DecodeFile(path, &c); err == nil && len(meta.Undecoded()) > 0 {
			err = fmt.Errorf("there is no key %s", meta.Undecoded()[0])
		}
	}
	if err != nil {
		return c, vss.E("ReadCredentials", vss.ErrWriterErrorNonRetryable, err).On(path).
			Advise("make it a TOML file with the keys user and password that only its owner may read (chmod 600)")
	}
	return c, nil
}

// connect opens a connection and makes sure that the server at its end is the process that was found.
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
		err = vss.E("Connect", vss.ErrWriterErrorRetryable, fmt.Errorf("process %q answers at %s, not the server, process %d", info["process_id"], i.address, i.PID)).
			On(i.name).Advise("see who else listens there")
	}
	if err != nil {
		c.close()
		return nil, i.failure("Connect", err)
	}
	c.run = info["run_id"]
	return c, nil
}

// close ends the connection, whatever became of its server.
func (c *client) close() { _ = c.Close() }

// info asks for a section of INFO.
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

// setting asks for one setting, "" for one that the server doesn't know.
func (c *client) setting(ctx context.Context, name string) (string, error) {
	all, err := c.ConfigGet(ctx, name).Result()
	return all[name], err
}

// failure says what a server's failure is to a requester, and what to do about it. What it doesn't know is left as it is.
func (i *instance) failure(op string, err error) error {
	var known *vss.Error
	if err == nil || errors.As(err, &known) {
		return err
	}
	said := err.Error()
	fail := func(code vss.Code, advice string) error { return vss.E(op, code, err).On(i.name).Advise(advice) }
	switch {
	case strings.HasPrefix(said, "NOAUTH"), strings.HasPrefix(said, "WRONGPASS"), strings.Contains(said, "invalid password"), strings.Contains(said, "without any password configured"):
		return fail(vss.ErrWriterErrorNonRetryable, "name a file with user and password for "+i.Dir+" in the writer's configuration (credentials)")
	case strings.HasPrefix(said, "NOPERM"), strings.HasPrefix(said, "ERR unknown command"):
		return fail(vss.ErrWriterErrorNonRetryable, "the account needs +ping +info +config|get +config|set +bgsave +lastsave, under these names")
	case strings.Contains(said, "max number of clients"):
		return fail(vss.ErrWriterErrorOutOfResources, "the server has no connection left: raise maxclients")
	case strings.HasPrefix(said, "LOADING"):
		return fail(vss.ErrWriterErrorRetryable, "the server is still reading its data: try again when it has ended")
	}
	return err
}
