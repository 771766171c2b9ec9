// Package ldaptest runs a throw-away directory (OpenLDAP's slapd) for tests.
package ldaptest

import (
	_ "embed"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"
	"github.com/stretchr/testify/require"
)

// Where things are in the directory of the tests.
const (
	BaseDN      = "ou=people,dc=example,dc=org"
	GroupBaseDN = "ou=groups,dc=example,dc=org"
	AdminDN     = "cn=Registry admins,ou=elsewhere,dc=example,dc=org"
	// ReaderDN may search, with ReaderPassword.
	ReaderDN       = "cn=reader,dc=example,dc=org"
	ReaderPassword = "Reader-password1"

	rootDN       = "cn=root,dc=example,dc=org"
	rootPassword = "Root-password1"
)

// Password is that of a person of the directory.
func Password(name string) string { return "Secret-of-" + name + "1" }

// People has alice and bob, the contractor carol, and root; alice and bob are Developers, who are in Engineering, which is in
// Everybody, which is in Engineering; bob is in Builders and hosts; root is in the group of the administrators, and so is Builders.
//
//go:embed people.ldif
var People string

// Server is a running directory.
type Server struct {
	// URL and TLSURL are its addresses; the plain one speaks StartTLS as well.
	URL, TLSURL string
	// CA is the certificate in PEM that the server's comes from.
	CA string

	folder   string
	lifeline io.Closer
	keeper   *exec.Cmd
}

// The shell keeps the server for as long as its standard input is open: the kernel closes it when the test binary ends, also
// when that is killed.
const keeper = `
"$1" -d 0 -f "$2/slapd.conf" -h "$3" >"$2/log" 2>&1 </dev/null &
server=$!
read -r line
kill -KILL $server
wait $server 2>/dev/null
exit 0
`

const configuration = `
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
include /etc/ldap/schema/nis.schema
include /etc/ldap/schema/msuser.schema
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload memberof
pidfile FOLDER/slapd.pid
disallow bind_anon
TLSCACertificateFile FOLDER/ca.pem
TLSCertificateFile FOLDER/certificate.pem
TLSCertificateKeyFile FOLDER/key.pem
TLSVerifyClient never
access to attrs=userPassword by anonymous auth by * none
access to * by users read by * none
database mdb
maxsize 67108864
suffix dc=example,dc=org
rootdn ROOT
rootpw PASSWORD
directory FOLDER/rows
dbnosync
index objectClass,uid,cn,member,uniqueMember,memberUid eq
overlay memberof
memberof-group-oc groupOfNames
memberof-member-ad member
memberof-memberof-ad memberOf
`

// Start returns a directory with [People] on free ports of the loopback interface; it ends with the test, and whatever ends that. A
// machine without slapd fails the test.
func Start(t testing.TB) *Server {
	t.Helper()
	// Not in the test's folder, whose path may be longer than slapd takes.
	folder, err := os.MkdirTemp("", "berth-ldap-")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(folder) })
	s := &Server{folder: folder, URL: "ldap://" + freeAddress(t), TLSURL: "ldaps://" + freeAddress(t)}
	s.CA = writeCertificates(t, folder)
	require.NoError(t, os.Mkdir(filepath.Join(folder, "rows"), 0o700))
	text := strings.NewReplacer("FOLDER", folder, "ROOT", rootDN, "PASSWORD", rootPassword).Replace(configuration)
	require.NoError(t, os.WriteFile(filepath.Join(folder, "slapd.conf"), []byte(text), 0o600))
	t.Cleanup(s.Stop)
	s.Restart(t)
	s.Add(t, People)
	return s
}

// Stop kills the server, as far as it runs.
func (s *Server) Stop() {
	if s.keeper == nil {
		return
	}
	s.lifeline.Close()
	_ = s.keeper.Wait() // it exits with 0
	s.keeper = nil
}

// Restart starts the server, with what it had, on the addresses that it had, and waits until it answers.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	s.Stop()
	program, err := exec.LookPath("slapd")
	if err != nil {
		program = "/usr/sbin/slapd" // where few have it in their PATH
	}
	require.FileExists(t, program, "slapd is not installed (on Debian: apt-get install slapd ldap-utils)")
	s.keeper = exec.Command("/bin/sh", "-c", keeper, "keeper", program, s.folder, s.URL+" "+s.TLSURL)
	s.keeper.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	s.lifeline, err = s.keeper.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, s.keeper.Start())
	require.Eventually(t, func() bool {
		connection, err := ldap.DialURL(s.URL)
		if err != nil {
			return false
		}
		defer connection.Close()
		return connection.Bind(rootDN, rootPassword) == nil
	}, 30*time.Second, 5*time.Millisecond, "slapd does not answer: %s", s.log())
}

func (s *Server) log() string {
	said, _ := os.ReadFile(filepath.Join(s.folder, "log")) // for a message
	return string(said)
}

// Add adds entries.
func (s *Server) Add(t testing.TB, ldif string) { s.run(t, "ldapadd", ldif) }

// Modify changes entries.
func (s *Server) Modify(t testing.TB, ldif string) { s.run(t, "ldapmodify", ldif) }

func (s *Server) run(t testing.TB, program, ldif string) {
	t.Helper()
	command := exec.CommandContext(t.Context(), program, "-x", "-H", s.URL, "-D", rootDN, "-w", rootPassword)
	command.Stdin = strings.NewReader(ldif)
	said, err := command.CombinedOutput()
	require.NoError(t, err, "%s: %s", program, said)
}

func freeAddress(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(listener.Addr().(*net.TCPAddr).Port))
}

// Person is the LDIF of a person below [BaseDN] with the usual password; more are further lines.
func Person(name string, more ...string) string {
	return fmt.Sprintf("dn: uid=%[1]s,%[2]s\nobjectClass: inetOrgPerson\nuid: %[1]s\ncn: %[1]s\nsn: %[1]s\nuserPassword: %[3]s\n%[4]s\n\n",
		name, BaseDN, Password(name), strings.Join(more, "\n"))
}
