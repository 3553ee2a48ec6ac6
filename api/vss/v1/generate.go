// Package vssv1 is the wire: what coordinator, requesters, writers, providers and arrays say to each other, as gRPC services.
// The .proto files are the contract; everything else in this folder is made from them.
//
// To add or change one, edit the .proto file (proto3, package vss.v1, the go_package line as in error.proto) and run
//
//	go generate ./api/...
//
// from the root of the repository (a file imports another by its path from there: "api/vss/v1/error.proto"), then commit the .proto and the generated files together. It needs Debian 12's protoc
// (3.21.12; its version is written into the generated files); the two Go generators come from the tool lines of go.mod.
package vssv1

//go:generate sh -ec "cd ../../.. && protoc -I . --plugin=protoc-gen-go=$(go tool -n protoc-gen-go) --plugin=protoc-gen-go-grpc=$(go tool -n protoc-gen-go-grpc) --go_out=. --go_opt=paths=source_relative --go-grpc_out=. --go-grpc_opt=paths=source_relative api/vss/v1/*.proto"
