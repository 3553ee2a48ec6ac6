// Package vss is the vocabulary of Stillpoint: the identifiers, contexts, attributes, states, result codes and LUN
// descriptions of the Volume Shadow Copy Service, with the names and numbers of the original interface.
// The numbers are used on the wire, on disk and in documents, so they must never be changed or reordered.
// The package imports only the standard library.
package vss
