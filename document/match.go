package document

import (
	"path"
	"strings"
	"unicode/utf8"
)

// String is the set as path and filespec.
func (f FileSet) String() string {
	s := strings.TrimRight(f.Path, "/") + "/" + f.FileSpec
	if f.Recursive {
		s += " and below"
	}
	return s
}

// cleanPath is a path in one spelling: the separator at its end is optional. Paths of Windows stay as they are.
func cleanPath(p string) string {
	if strings.HasPrefix(p, "/") {
		return path.Clean(p)
	}
	return strings.TrimRight(p, `\/`)
}

// parentPath is the directory above, of a path of either kind; the topmost one is its own.
func parentPath(p string) string {
	i := strings.LastIndexAny(p, `\/`)
	if strings.HasPrefix(p, "/") { // in names of this system \ is a letter
		i = strings.LastIndexByte(p, '/')
	}
	switch {
	case i > 0:
		return p[:i]
	case i == 0:
		return p[:1]
	}
	return p
}

// MatchSpec says whether a file's name fits a filespec: ? is any one character, * any number of them. Case counts, and * needs
// no dot to match what has one.
func MatchSpec(spec, name string) bool {
	star, at := -1, 0
	i, j := 0, 0
	for j < len(name) {
		switch {
		case i < len(spec) && spec[i] == '*':
			star, at = i, j
			i++
		case i < len(spec) && spec[i] == '?':
			_, n := utf8.DecodeRuneInString(name[j:])
			i, j = i+1, j+n
		case i < len(spec) && spec[i] == name[j]:
			i, j = i+1, j+1
		case star >= 0: // let the last * take one character more
			_, n := utf8.DecodeRuneInString(name[at:])
			at += n
			i, j = star+1, at
		default:
			return false
		}
	}
	return strings.Trim(spec[i:], "*") == ""
}

// wild says whether a filespec is more than the name of one file.
func wild(spec string) bool { return strings.ContainsAny(spec, "*?") }

// specsMeet says whether some name fits both filespecs.
func specsMeet(a, b string) bool {
	switch {
	case !wild(a):
		return MatchSpec(b, a)
	case !wild(b):
		return MatchSpec(a, b)
	}
	for i := 0; i < min(len(a), len(b)) && !strings.ContainsRune("*?", rune(a[i])) && !strings.ContainsRune("*?", rune(b[i])); i++ {
		if a[i] != b[i] { // most differ where they begin
			return false
		}
	}
	// meet[j] says whether what was seen of x fits the first j characters of y.
	y := []rune(b)
	meet := make([]bool, len(y)+1)
	meet[0] = true
	for j := 1; j <= len(y) && y[j-1] == '*'; j++ {
		meet[j] = true
	}
	for _, r := range a {
		next := make([]bool, len(y)+1)
		next[0] = meet[0] && r == '*'
		for j := 1; j <= len(y); j++ {
			switch {
			case r == '*' || y[j-1] == '*':
				next[j] = meet[j] || next[j-1]
			default:
				next[j] = meet[j-1] && (r == '?' || y[j-1] == '?' || r == y[j-1])
			}
		}
		meet = next
	}
	return meet[len(y)]
}
