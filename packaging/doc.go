// Package packaging has what an installation requires besides programs: units, udev rules, accounts and folders. Its
// tests install and use it in a virtual machine.
package packaging
