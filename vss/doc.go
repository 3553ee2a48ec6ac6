// Package vss is the vocabulary of Stillpoint: the identifiers, contexts, attributes, states, result codes and LUN
// descriptions of the Volume Shadow Copy Service, with the names and numbers of the original interface.
// Every number here leaves the process, on the wire, on disk or in a document: none is ever changed or reordered.
// The package imports the standard library only; everything else imports it.
package vss
