// Package labtest proves the whole service on machines of its own, where the host lane can't: power cuts at every
// flush, the root file system held, udevd and systemd around it. Its tests are of the lab lane; nothing in it is used
// by the programs.
package labtest
