package mariadb_test

import (
	"testing"

	"github.com/stillpoint-vss/stillpoint/internal/writers/mariadb"
)

func TestDefaults(t *testing.T) {
	for _, c := range []struct {
		name, text             string
		user, password, socket string
		bad                    bool
	}{
		{"plain", "[client]\nuser=u\npassword=p\nsocket=/s\n", "u", "p", "/s", false},
		{"blanks and comments", "# c\n; c\n [client] \n user = u # me\n password = a#b\n", "u", "a#b", "", false},
		{"quotes and escapes", "[client]\nuser='u'\npassword=\"a\\\"\\\\#'\"\n", "u", `a"\#'`, "", false},
		{"the last one counts", "[client]\nuser=a\n[client-mariadb]\nuser=b\n[mysqld]\nuser=c\n", "b", "", "", false},
		{"without a section", "user=u\n", "", "", "", true},
		{"no user", "[client]\npassword=p\n", "", "", "", true},
		{"includes", "[client]\nuser=u\n!include /etc/my.cnf\n", "", "", "", true},
		{"empty", "", "", "", "", true},
	} {
		user, password, socket, err := mariadb.ParseDefaults(c.text)
		if (err != nil) != c.bad {
			t.Errorf("%s: %v", c.name, err)
		}
		if !c.bad && (user != c.user || password != c.password || socket != c.socket) {
			t.Errorf("%s: %q, %q, %q", c.name, user, password, socket)
		}
	}
}

// MySQL has a lock for backups that doesn't stop writes (spec wri 7.3).
func TestLocksInstance(t *testing.T) {
	for version, want := range map[string]bool{
		"8.0.36": true, "8.4.0-commercial": true, "9.1.0": true, "5.7.44-log": false,
		"10.11.6-MariaDB-0+deb12u1": false, "11.4.2-MariaDB": false, "": false,
	} {
		if got := mariadb.LocksInstance(version); got != want {
			t.Errorf("%q: %v", version, got)
		}
	}
}
