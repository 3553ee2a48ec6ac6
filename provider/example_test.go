package provider_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/stillpoint-vss/stillpoint/provider"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// A Machine makes only calls that are due; a call out of order undoes the set.
func ExampleMachine() {
	ctx := context.Background()
	m := provider.NewMachine(func(_ context.Context, _ vss.SnapshotSetID) error {
		fmt.Println("undo")
		return nil
	})
	work := func(what string) func(context.Context) error {
		return func(context.Context) error {
			fmt.Println(what)
			return nil
		}
	}
	set := vss.SnapshotSetID{GUID: vss.NewGUID()}
	fmt.Println(m.Begin(ctx, set, work("allocate")))
	fmt.Println(m.Step(ctx, provider.CallEndPrepare, set, work("wait")))
	err := m.Step(ctx, provider.CallCommit, set, work("take")) // PreCommitSnapshots is due
	fmt.Println(errors.Is(err, vss.ErrProviderVeto))
	fmt.Println(m.Abort(ctx, set))
	// Output:
	// allocate
	// <nil>
	// wait
	// <nil>
	// undo
	// true
	// <nil>
}

// Progress that EndPrepareSnapshots reports reaches the function given to WithReport, also from another process.
func ExampleReport() {
	ctx := provider.WithReport(context.Background(), func(percent float64) { fmt.Println(percent) })
	for copied := 0; copied <= 4; copied += 2 {
		provider.Report(ctx, float64(copied)*25)
	}
	// Output:
	// 0
	// 50
	// 100
}
