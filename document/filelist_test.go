package document

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/stillpoint-vss/stillpoint/vss"
)

func TestMatchSpec(t *testing.T) {
	for _, c := range []struct {
		spec, name string
		want       bool
	}{
		{"a", "a", true}, {"a", "A", false}, {"a", "ab", false}, {"ab", "a", false}, {"", "", true}, {"", "a", false},
		{"*", "", true}, {"*", "any.thing", true}, {"*.*", "a.b", true}, {"*.*", "ab", false}, {"*.db", ".db", true},
		{"*.db", "a.db.db", true}, {"*.db", "a.dbx", false}, {"a*b*c", "axbxbxc", true}, {"a*b*c", "axcxb", false},
		{"**", "a", true},
		{"?", "a", true}, {"?", "", false}, {"?", "ab", false}, {"?", "中", true}, {"??", "中", false}, {"*?", "中", true},
		{"?*?", "a", false},
		{"[a]", "[a]", true}, {"[a]", "a", false}, {"a\\*", "a\\x", true}, {"?", "\xff", true},
		{"*a", "\xff\xfea", true},
		{"pgsql_tmp*", "pgsql_tmp12.0", true}, {"*~", "x~", true},
	} {
		if got := MatchSpec(c.spec, c.name); got != c.want {
			t.Errorf("MatchSpec(%q, %q) = %v", c.spec, c.name, got)
		}
	}
	if MatchSpec(strings.Repeat("*a", 120), strings.Repeat("a", 119)+"b") {
		t.Error("matched")
	}
}

// TestSpecsMeet: two filespecs meet if and only if there is a name that fits both; over two letters short names are
// enough to find one.
func TestSpecsMeet(t *testing.T) {
	names := []string{""}
	for i := 0; len(names[i]) < 9; i++ {
		names = append(names, names[i]+"a", names[i]+"b")
	}
	spec := rapid.StringOfN(rapid.SampledFrom([]rune("ab?*")), 0, 5, -1)
	rapid.Check(t, func(t *rapid.T) {
		a, b := spec.Draw(t, "a"), spec.Draw(t, "b")
		want := false
		for _, n := range names {
			want = want || MatchSpec(a, n) && MatchSpec(b, n)
		}
		if got := specsMeet(a, b); got != want || specsMeet(b, a) != got {
			t.Fatalf("%q and %q: %v, want %v", a, b, got, want)
		}
	})
}

func TestEffectiveType(t *testing.T) {
	bits := map[vss.BackupType]vss.BackupSchema{
		vss.BackupDifferential: vss.SchemaDifferential, vss.BackupIncremental: vss.SchemaIncremental,
		vss.BackupLog: vss.SchemaLog, vss.BackupCopy: vss.SchemaCopy,
	}
	for of := vss.BackupUndefined; of <= vss.BackupOther; of++ {
		with, without := of, vss.BackupFull
		if bits[of] == 0 {
			with = vss.BackupFull
		}
		if got := (&WriterMetadata{BackupSchema: 0xffff}).EffectiveType(of); got != with {
			t.Errorf("%s within the schema: %s", of, got)
		}
		if got := (&WriterMetadata{BackupSchema: 0xffff &^ bits[of]}).EffectiveType(of); got != without &&
			bits[of] != 0 {
			t.Errorf("%s outside the schema: %s", of, got)
		}
	}
}
