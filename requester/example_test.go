package requester_test

import (
	"context"
	"fmt"
	"log"

	"github.com/stillpoint-vss/stillpoint/requester"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// This requester makes a copy of one volume, exposes it at /mnt/copy, and deletes it.
func Example() {
	ctx := context.Background()
	client, err := requester.Connect(ctx, requester.ConnectOptions{})
	if err != nil {
		log.Fatal(err, "; ", vss.Hint(err))
	}
	defer client.Close()
	if err := backUp(ctx, client, "/srv/data"); err != nil {
		log.Fatal(err, "; ", vss.Hint(err))
	}
}

func backUp(ctx context.Context, client *requester.Client, volume string) error {
	b, err := client.Open(ctx, "example")
	if err != nil {
		return err
	}
	defer b.Close() // aborts an unfinished set

	// Set up the session and gather the writers.
	if err := b.InitializeForBackup(ctx, nil); err != nil {
		return err
	}
	if err := b.SetContext(ctx, vss.ContextAppRollback); err != nil {
		return err
	}
	if err := wait(ctx)(b.GatherWriterMetadata(ctx)); err != nil {
		return err
	}
	if err := b.SetBackupState(ctx, false, false, vss.BackupFull, false); err != nil {
		return err
	}

	// Create a set with one copy of each volume that is added.
	set, err := b.StartSnapshotSet(ctx)
	if err != nil {
		return err
	}
	id, err := b.AddToSnapshotSet(ctx, volume, "")
	if err != nil {
		return err
	}
	if err := wait(ctx)(b.PrepareForBackup(ctx)); err != nil {
		return err
	}
	if err := wait(ctx)(b.DoSnapshotSet(ctx, 0)); err != nil {
		return err
	}

	// A writer that failed does not fail the set.
	if err := wait(ctx)(b.GatherWriterStatus(ctx)); err != nil {
		return err
	}
	writers, err := b.GetWriterStatus(ctx)
	if err != nil {
		return err
	}
	for _, w := range writers {
		if w.Failure.Failed() {
			fmt.Printf("writer %s failed: %s: %s\n", w.Name, w.Failure.Name(), w.Message)
		}
	}

	// Mount the copy read-only at a directory.
	s, err := b.ExposeSnapshot(ctx, id, "", vss.AttrExposedLocally, "/mnt/copy")
	if err != nil {
		return err
	}
	fmt.Printf("%s as of %v is at %s\n", s.OriginalVolume, s.Created, s.ExposedAt)

	// Notify the writers that the backup is complete, and delete the copy, which would otherwise be kept.
	if err := wait(ctx)(b.BackupComplete(ctx)); err != nil {
		return err
	}
	if _, err := b.UnexposeSnapshot(ctx, id); err != nil {
		return err
	}
	_, _, err = b.DeleteSnapshots(ctx, set.GUID, vss.ObjectSnapshotSet, false)
	return err
}

// wait waits for an operation that was just started.
func wait(ctx context.Context) func(*requester.Async, error) error {
	return func(a *requester.Async, err error) error {
		if err == nil {
			_, err = a.Wait(ctx, nil)
		}
		return err
	}
}

// Create makes the copies in one call.
func ExampleClient_Create() {
	ctx := context.Background()
	client, err := requester.Connect(ctx, requester.ConnectOptions{})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	made, err := client.Create(ctx, requester.Options{
		Program: "example",
		Context: vss.ContextBackup, // the copies are deleted with the session
		Volumes: []string{"/srv/data", "/srv/log"},
	}, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer made.Session.Close()
	for _, s := range made.Set.Snapshots {
		m, err := made.Session.MountSnapshot(ctx, s.ID)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(m.OriginalVolume, "is at", m.Path)
	}
	if err := made.Finish(ctx); err != nil {
		log.Fatal(err)
	}
}

// This makes a volume on a LUN of the built-in array.
func ExampleDisks() {
	ctx := context.Background()
	client, err := requester.Connect(ctx, requester.ConnectOptions{})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	disks := client.Disks()
	lun, err := disks.CreateLUN(ctx, requester.NewLUN{Name: "data", Size: 20 << 30})
	if err != nil {
		log.Fatal(err)
	}
	name := lun.ID.String()
	if _, err := disks.FormatLUN(ctx, name, requester.NewFormat{FileSystem: "xfs", Style: "gpt"}); err != nil {
		log.Fatal(err)
	}
	if lun, err = disks.MountLUN(ctx, name, 0, "/srv/data", true); err != nil {
		log.Fatal(err)
	}
	fmt.Println(lun.Device)
}
