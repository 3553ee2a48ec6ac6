// Package e2e proves the whole service from outside, as its users see it: real LUNs, file systems and databases, the
// programs in processes of their own, the command line and its JSON. Its tests are of the host lane; nothing in it is
// used by the programs.
package e2e
