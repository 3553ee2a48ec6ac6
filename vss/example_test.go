package vss_test

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// An error has an operation, a code, an object, a cause and a hint. Callers test for the code or the cause.
func Example() {
	err := error(vss.E("AddToSnapshotSet", vss.ErrObjectNotFound, fs.ErrNotExist).On("/srv/data").
		Advise("mount the volume"))
	fmt.Println(err)
	fmt.Println("hint:", vss.Hint(err))
	fmt.Println(errors.Is(err, vss.ErrObjectNotFound), errors.Is(err, fs.ErrNotExist))
	fmt.Printf("%s 0x%08x\n", vss.CodeOf(err).Name(), vss.CodeOf(err).HRESULT())
	// Output:
	// AddToSnapshotSet /srv/data: VSS_E_OBJECT_NOT_FOUND: file does not exist
	// hint: mount the volume
	// true true
	// VSS_E_OBJECT_NOT_FOUND 0x80042308
}

// A context may be combined with attributes that a requester may set.
func ExampleCheckContext() {
	backup, _ := vss.ContextByName("backup")
	fmt.Println(vss.CheckContext(backup | vss.AttrTransportable))
	fmt.Println(vss.Hint(vss.CheckContext(backup | vss.AttrExposedLocally)))
	// Output:
	// <nil>
	// the mask has bits that only the service may set
}

func ExampleParseGUID() {
	id, err := vss.ParseGUID("6A1F8C1E-0B7D-4E55-9A10-3C2B1D0E9F88")
	fmt.Println(id, err)
	fmt.Println(id.Plain())
	// Output:
	// {6a1f8c1e-0b7d-4e55-9a10-3c2b1d0e9f88} <nil>
	// 6a1f8c1e-0b7d-4e55-9a10-3c2b1d0e9f88
}
