package document

import (
	"path"
	"strings"
	"unicode/utf8"
)

// String returns path and filespec.
func (f FileSet) String() string {
	s := strings.TrimRight(f.Path, "/") + "/" + f.FileSpec
	if f.Recursive {
		s += " and below"
	}
	return s
}

// CleanPath returns the canonical form of a path, whose final separator is optional. Paths of Windows keep their form.
func CleanPath(p string) string {
	if strings.HasPrefix(p, "/") {
		return path.Clean(p)
	}
	return strings.TrimRight(p, `\/`)
}

// parentPath returns the parent directory of a path of either kind; the topmost one is its own parent.
func parentPath(p string) string {
	i := strings.LastIndexAny(p, `\/`)
	if strings.HasPrefix(p, "/") { // in Unix names \ is an ordinary character
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

// MatchSpec reports whether a file's name matches a filespec: ? stands for any one character, * for any number of
// them. Case is significant, and * also matches dots.
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
		case star >= 0: // let the last * match one more character
			_, n := utf8.DecodeRuneInString(name[at:])
			at += n
			i, j = star+1, at
		default:
			return false
		}
	}
	return strings.Trim(spec[i:], "*") == ""
}

// wild reports whether a filespec matches more than one name.
func wild(spec string) bool { return strings.ContainsAny(spec, "*?") }

// specsMeet reports whether some name matches both filespecs.
func specsMeet(a, b string) bool {
	switch {
	case !wild(a):
		return MatchSpec(b, a)
	case !wild(b):
		return MatchSpec(a, b)
	}
	for i := 0; i < min(len(a), len(b)) && !strings.ContainsRune("*?", rune(a[i])) &&
		!strings.ContainsRune("*?", rune(b[i])); i++ {
		if a[i] != b[i] { // most differ in the first characters
			return false
		}
	}
	// meet[j] reports whether the examined part of x matches the first j characters of y.
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

// Overlaps reports whether the two sets can have a file in common.
func (f FileSet) Overlaps(o FileSet) bool {
	a, b := CleanPath(f.Path), CleanPath(o.Path)
	return (a == b || f.Recursive && within(b, a) || o.Recursive && within(a, b)) && specsMeet(f.FileSpec, o.FileSpec)
}

// Contains reports whether the set includes the file name in dir, which must be a result of CleanPath.
func (f FileSet) Contains(dir, name string) bool {
	p := CleanPath(f.Path)
	return (dir == p || f.Recursive && within(dir, p)) && MatchSpec(f.FileSpec, name)
}

// within reports whether a clean path is dir or lies below it.
func within(p, dir string) bool {
	return p == dir || strings.HasPrefix(p, strings.TrimSuffix(dir, "/")+"/")
}
