package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stillpoint-vss/stillpoint/internal/demo/pgserver"
	"github.com/stillpoint-vss/stillpoint/internal/lane"
	"github.com/stillpoint-vss/stillpoint/internal/writers/engine/load"
)

// cluster is a PostgreSQL server with data, WAL and one tablespace on three volumes, under load.
type cluster struct {
	*world
	volumes []string // of data, WAL, tablespace
	server  *pgserver.Server
	journal *load.Journal
}

// newCluster makes the volumes and the server, and starts the load: pgbench with 8 clients and 4 that keep a journal
// of what was acknowledged.
func newCluster(w *world) *cluster {
	w.Helper()
	if err := os.Chmod(w.dir, 0o755); err != nil {
		w.Fatal(err)
	}
	c := &cluster{world: w, volumes: []string{w.volume("data", "512M", "ext4", "gpt"),
		w.volume("wal", "512M", "xfs", "gpt"), w.volume("space", "256M", "ext4", "mbr")}}
	c.server = &pgserver.Server{
		Data: filepath.Join(c.volumes[0], "pg"), WAL: filepath.Join(c.volumes[1], "pg"),
		Run:         filepath.Join(w.dir, "pgrun"),
		Tablespaces: map[string]string{"space": filepath.Join(c.volumes[2], "pg")},
		Settings:    map[string]string{"max_wal_size": "160MB", "min_wal_size": "80MB"},
	}
	ctx := context.Background()
	w.Cleanup(func() { _ = c.server.Stop(ctx) })
	if err := c.server.Make(ctx); err != nil {
		w.Fatal(err)
	}
	stop, err := c.server.Bench(ctx, 8, 1)
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { _ = stop() })
	if c.journal, err = c.server.Journal(ctx, 4, "space"); err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() {
		if err := c.journal.Stop(); err != nil {
			w.Errorf("the load failed: %v", err)
		}
	})
	return c
}

// TestPostgres copies a cluster under load; each copy starts, holds every commit acknowledged before the freeze, and is
// checked by pg_amcheck.
func TestPostgres(t *testing.T) {
	w := newWorld(t)
	c := newCluster(w)
	var windows, holds []time.Duration
	for range lane.Soak(50) {
		acknowledged := c.journal.Acknowledged()
		s := w.create(c.volumes...)
		if s.Consistency != "application" {
			t.Fatalf("the set is %s consistent: %s; writers %+v", s.Consistency, s.ConsistencyReason, s.Writers)
		}
		windows = append(windows, time.Duration(s.WriterWindowMS*1e6))
		holds = append(holds, time.Duration(s.HoldMS*1e6))
		c.start(s, acknowledged)
		if t.Failed() {
			return
		}
	}
	commits, p50, p99, most := c.journal.Pauses()
	t.Logf("%d copies; writer window %s; hold %s; commits took p50 %v, p99 %v, max %v of %d", len(windows),
		spread(windows), spread(holds), p50, p99, most, commits)
}

// spread is p50, p99 and the longest.
func spread(d []time.Duration) string {
	slices.Sort(d)
	return fmt.Sprintf("p50 %v, p99 %v, max %v", d[len(d)/2].Round(10*time.Microsecond),
		d[len(d)*99/100].Round(10*time.Microsecond), d[len(d)-1].Round(10*time.Microsecond))
}

// start breaks the set and starts a server on what were its copies.
func (c *cluster) start(s setDoc, acknowledged []int64) {
	c.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	var luns []string
	for _, k := range s.ShadowCopies {
		luns = append(luns, k.LUNs[0])
	}
	roots := c.land(s.SetID, luns)
	there := &pgserver.Server{Data: filepath.Join(roots[0], "pg"), Run: filepath.Join(c.dir, "pgrun-copy"),
		Settings: c.server.Settings}
	c.point(filepath.Join(there.Data, "pg_wal"), filepath.Join(roots[1], "pg"))
	links, err := filepath.Glob(filepath.Join(there.Data, "pg_tblspc", "*"))
	if err != nil || len(links) != 1 {
		c.Fatalf("tablespaces on the copy: %v, %v", links, err)
	}
	c.point(links[0], filepath.Join(roots[2], "pg"))
	_ = os.Remove(filepath.Join(there.Data, "postmaster.pid"))
	for _, f := range []func() error{
		func() error { return there.Start(ctx) },
		func() error { return there.Holds(ctx, acknowledged) },
		func() error { return there.Check(ctx) },
	} {
		if err := f(); err != nil {
			c.Errorf("the copy: %v", err)
			break
		}
	}
	if err := there.Stop(ctx); err != nil {
		c.Error(err)
	}
	c.drop(luns)
}

// point has a symbolic link lead elsewhere.
func (c *cluster) point(link, to string) {
	c.Helper()
	if err := os.Remove(link); err != nil {
		c.Fatal(err)
	}
	if err := os.Symlink(to, link); err != nil {
		c.Fatal(err)
	}
}
