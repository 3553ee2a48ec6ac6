package redistest

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/stillpoint-vss/stillpoint/internal/writers/engine/load"
)

// Journal starts clients, each with a list and a counter that change together.
func (s *Server) Journal(ctx context.Context, clients int) *load.Journal {
	return load.Start(ctx, clients, func(ctx context.Context, client int) (load.Client, error) {
		o := &redis.Options{
			Network:                  "unix",
			Addr:                     s.Socket(),
			PoolSize:                 1,
			MaxRetries:               -1,
			DisableIdentity:          true,
			Protocol:                 2,
			ReadTimeout:              -1,
			WriteTimeout:             -1,
			MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
		}
		if s.Port != 0 {
			o.Network, o.Addr = "tcp", fmt.Sprintf("127.0.0.1:%d", s.Port)
		}
		c := &pusher{redis.NewClient(o), client}
		return c, c.Del(ctx, c.key("list"), c.key("count")).Err()
	})
}

type pusher struct {
	*redis.Client
	client int
}

func (c *pusher) key(what string) string { return fmt.Sprintf("journal:%d:%s", c.client, what) }

// Write implements load.Client.
func (c *pusher) Write(ctx context.Context, n int64) error {
	_, err := c.TxPipelined(ctx, func(p redis.Pipeliner) error {
		p.RPush(ctx, c.key("list"), fmt.Sprintf("%d %s", n, strings.Repeat("x", 200)))
		p.Set(ctx, c.key("count"), n, 0)
		return nil
	})
	return err
}

// Holds checks a server on a copy: it returns an error unless all rows that were acknowledged before the copy was made
// are present, without a gap and without a partial transaction.
func (s *Server) Holds(ctx context.Context, acknowledged []int64) error {
	holds := map[int]load.Rows{}
	for client := range acknowledged {
		key := fmt.Sprintf("journal:%d:", client)
		var n [3]int64
		for i, command := range [][]string{{"LLEN", key + "list"}, {"GET", key + "count"},
			{"LINDEX", key + "list", "-1"}} {
			answer, err := s.Do(ctx, command...)
			if err != nil {
				return err
			}
			number, _, _ := strings.Cut(answer, " ")
			if n[i], err = strconv.ParseInt(number, 10, 64); err != nil && number != "" {
				return fmt.Errorf("%v: %s", command, answer)
			}
		}
		if n[1] != n[2] {
			return fmt.Errorf(
				"client %d: the counter is %d, the last element %d: half a transaction",
				client,
				n[1],
				n[2],
			)
		}
		holds[client] = load.Rows{Count: n[0], Last: n[2]}
	}
	return load.Check(holds, acknowledged)
}
