// Package packaging holds what an installation needs besides programs: units, udev rules, accounts, folders. Its tests install
// all of it in a machine of their own, and use it there.
package packaging
