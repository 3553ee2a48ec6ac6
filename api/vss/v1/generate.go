// Package vssv1 has the gRPC services between coordinator, requesters, writers, providers and arrays.
// The .proto files define the interface; the other files in this folder are generated from them.
//
// To add or change one, edit the .proto file (proto3, package vss.v1, the go_package line as in error.proto) and run
//
//	go generate ./api/...
//
// from the root of the repository (files import each other by the path from there: "api/vss/v1/error.proto"), then
// commit the .proto and the generated files together. It requires protoc of Debian 12 (3.21.12, as its version is part
// of the generated files); the two Go generators come from the tool lines of go.mod.
package vssv1

//go:generate sh ../../generate
