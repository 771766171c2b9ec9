package syslog_test

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/metadata/sqlite/sqlitetest"
	"github.com/berth-registry/berth/notify/syslog"
	"github.com/berth-registry/berth/secret"
	"github.com/berth-registry/berth/setting"
)

// server is a syslog server that can be stopped and started at one address.
type server struct {
	t       *testing.T
	address string
	config  *tls.Config

	mu       sync.Mutex
	messages []string
	listener net.Listener
	open     map[net.Conn]bool
	// deaf makes it accept and not read.
	deaf bool
	done sync.WaitGroup
}

func newServer(t *testing.T, config *tls.Config) *server {
	t.Helper()
	s := &server{t: t, config: config, address: "127.0.0.1:0"}
	s.start()
	t.Cleanup(s.stop)
	return s
}

func (s *server) start() {
	s.t.Helper()
	var listener net.Listener
	require.Eventually(s.t, func() (ok bool) {
		var err error
		listener, err = net.Listen("tcp", s.address)
		return err == nil
	}, 10*time.Second, 10*time.Millisecond)
	s.address = listener.Addr().String()
	if s.config != nil {
		listener = tls.NewListener(listener, s.config)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listener, s.open = listener, map[net.Conn]bool{}
	s.done.Go(func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.open[connection] = true
			deaf := s.deaf
			s.mu.Unlock()
			if !deaf {
				s.done.Go(func() { s.read(connection) })
			}
		}
	})
}

func (s *server) stop() {
	s.mu.Lock()
	_ = s.listener.Close() // it may be closed already
	for connection := range s.open {
		_ = connection.Close()
	}
	s.mu.Unlock()
	s.done.Wait()
}

func (s *server) read(connection net.Conn) {
	reader := bufio.NewReader(connection)
	for {
		digits, err := reader.ReadString(' ')
		if err != nil {
			return
		}
		size, err := strconv.Atoi(strings.TrimSpace(digits))
		if err != nil {
			s.t.Errorf("length %q: %v", digits, err)
			return
		}
		message := make([]byte, size)
		if _, err := io.ReadFull(reader, message); err != nil {
			return
		}
		s.mu.Lock()
		s.messages = append(s.messages, string(message))
		s.mu.Unlock()
	}
}

var form = regexp.MustCompile(`^<(\d+)>1 (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z) (\S+) berth - (\S+) - (\{.*\})$`)

// ids returns how often each entry has arrived.
func (s *server) ids() map[int64]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	ids := map[int64]int{}
	for _, message := range s.messages {
		parts := form.FindStringSubmatch(message)
		if parts == nil {
			s.t.Errorf("message %q", message)
			continue
		}
		var entry struct{ ID int64 }
		if err := json.Unmarshal([]byte(parts[5]), &entry); err != nil {
			s.t.Error(err)
		}
		ids[entry.ID]++
	}
	return ids
}

func (s *server) waitFor(n int) {
	s.t.Helper()
	require.Eventually(s.t, func() bool { return len(s.ids()) >= n }, time.Minute, 10*time.Millisecond)
	require.Len(s.t, s.ids(), n)
}

func newSettings(t *testing.T, endpoint string) *setting.Settings {
	t.Helper()
	box, err := secret.New([]byte(strings.Repeat("k", secret.MinKeyLength)))
	require.NoError(t, err)
	settings := setting.New(setting.Options{Store: sqlitetest.Open(t), Box: box})
	point(t, settings, endpoint)
	return settings
}

func point(t *testing.T, settings *setting.Settings, endpoint string) {
	t.Helper()
	require.NoError(t, settings.Update(t.Context(), event.Actor{}, map[*setting.Key]any{setting.AuditLogForwardEndpoint: endpoint}))
}

// gateway is a sender and its spool.
type gateway struct {
	*syslog.Sender
	spool   *syslog.Spool
	close   func()
	mu      sync.Mutex
	outcome map[string]int
}

func start(t *testing.T, directory string, settings *setting.Settings, authorities *x509.CertPool) *gateway {
	t.Helper()
	spool, err := syslog.OpenSpool(directory)
	require.NoError(t, err)
	g := &gateway{spool: spool, outcome: map[string]int{}}
	g.Sender = syslog.New(syslog.Options{
		Spool: spool, Settings: settings, Authorities: authorities, Logger: slog.New(slog.DiscardHandler),
		Observe: func(outcome string, messages int) {
			g.mu.Lock()
			defer g.mu.Unlock()
			g.outcome[outcome] += messages
		},
	})
	g.close = sync.OnceFunc(func() {
		require.NoError(t, g.Close())
		require.NoError(t, spool.Close())
	})
	t.Cleanup(g.close)
	return g
}

func entries(from, to int64) (list []metadata.AuditEntry) {
	for id := from; id <= to; id++ {
		list = append(list, metadata.AuditEntry{
			ID: id, Operation: "create", ResourceType: "artifact", Resource: "library/äpp:v1", Username: "a\nb", Succeeded: id%2 == 0,
			At: time.Unix(2_000_000_000, 5000), Description: strings.Repeat("d", 300),
		})
	}
	return list
}

func TestSender_serverDownAndGatewayRestarted(t *testing.T) {
	s := newServer(t, nil)
	settings := newSettings(t, "tcp://"+s.address)
	directory := t.TempDir()
	g := start(t, directory, settings, nil)
	require.NoError(t, g.Forward(t.Context(), entries(1, 100)))
	s.waitFor(100)
	require.Regexp(t, `^<108>1 2033-05-18T03:33:20\.000005Z \S+ berth - create_artifact - \{"id":1,`, s.messages[0])
	require.Regexp(t, `^<110>1 `, s.messages[1])

	s.stop()
	require.NoError(t, g.Forward(t.Context(), entries(101, 200)))
	g.close()
	g = start(t, directory, settings, nil)
	require.NoError(t, g.Forward(t.Context(), entries(201, 300)))
	s.start()
	s.waitFor(300)
	require.Eventually(t, func() bool { return g.spool.Waiting() == 0 }, time.Minute, 10*time.Millisecond)

	other := newServer(t, nil)
	point(t, settings, other.address)
	require.NoError(t, g.Forward(t.Context(), entries(301, 310)))
	other.waitFor(10)
}

// TestSender_serverDiesWhileBusy kills the server again and again while much is sent: what it had not read comes again.
func TestSender_serverDiesWhileBusy(t *testing.T) {
	s := newServer(t, nil)
	g := start(t, t.TempDir(), newSettings(t, s.address), nil)
	const total = 3000
	for batch := range int64(10) {
		require.NoError(t, g.Forward(t.Context(), entries(batch*300+1, batch*300+300)))
		if batch%3 == 2 {
			s.stop()
			s.start()
		}
	}
	s.waitFor(total)
}

func TestSender_deafServerDoesNotHoldAnybodyUp(t *testing.T) {
	s := newServer(t, nil)
	s.deaf = true
	g := start(t, t.TempDir(), newSettings(t, s.address), nil)
	for batch := range int64(20) {
		require.NoError(t, g.Forward(t.Context(), entries(batch*1000+1, batch*1000+1000)))
	}
	began := time.Now()
	g.close()
	require.Less(t, time.Since(began), 10*time.Second)
}

func TestSender_tls(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	parsed, err := x509.ParseCertificate(certificate)
	require.NoError(t, err)
	authorities := x509.NewCertPool()
	authorities.AddCert(parsed)
	s := newServer(t, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{certificate}, PrivateKey: key}}, MinVersion: tls.VersionTLS12})
	settings := newSettings(t, "tls://"+s.address)
	directory := t.TempDir()

	distrustful := start(t, directory, settings, nil)
	require.NoError(t, distrustful.Forward(t.Context(), entries(1, 10)))
	require.Eventually(t, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.open) > 1 // it has tried twice
	}, time.Minute, 10*time.Millisecond)
	distrustful.close()
	require.Empty(t, s.ids())

	trusting := start(t, directory, settings, authorities)
	require.NoError(t, trusting.Forward(t.Context(), entries(11, 20)))
	s.waitFor(20)
}

func TestSpool_boundDropsTheOldest(t *testing.T) {
	s := newServer(t, nil)
	s.stop()
	directory := t.TempDir()
	g := start(t, directory, newSettings(t, s.address), nil)
	g.spool.Limit(syslog.MinLimit)
	const total = 5000 // about 2.5 MiB
	for batch := range int64(50) {
		require.NoError(t, g.Forward(t.Context(), entries(batch*100+1, batch*100+100)))
	}
	require.LessOrEqual(t, g.spool.Waiting(), int64(syslog.MinLimit))
	require.Greater(t, g.spool.Waiting(), int64(syslog.MinLimit/2))
	g.mu.Lock()
	dropped := g.outcome["dropped"]
	g.mu.Unlock()
	require.Positive(t, dropped)
	s.start()
	s.waitFor(total - dropped)
	for id := range s.ids() {
		require.Greater(t, id, int64(dropped), "the oldest are dropped")
	}
}

func TestSpool_survivesDamage(t *testing.T) {
	s := newServer(t, nil)
	s.stop()
	directory := t.TempDir()
	settings := newSettings(t, s.address)
	g := start(t, directory, settings, nil)
	require.NoError(t, g.Forward(t.Context(), entries(1, 10)))
	g.close()
	files, err := filepath.Glob(filepath.Join(directory, "*.frames"))
	require.NoError(t, err)
	require.Len(t, files, 1)
	file, err := os.OpenFile(files[0], os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(t, err)
	_, err = fmt.Fprint(file, "500 <108>1 half a message")
	require.NoError(t, err)
	require.NoError(t, file.Close())
	require.NoError(t, os.WriteFile(filepath.Join(directory, "position"), []byte("{nonsense"), 0o600))

	g = start(t, directory, settings, nil)
	require.NoError(t, g.Forward(t.Context(), entries(11, 20)))
	s.start()
	s.waitFor(20)
}

func FuzzOpenSpool(f *testing.F) {
	f.Add([]byte("5 hello3 abc"))
	f.Add([]byte("5 hell"))
	f.Add([]byte("99999999999999999999 x"))
	f.Add([]byte(" "))
	f.Fuzz(func(t *testing.T, content []byte) {
		directory := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(directory, "0000000000000001.frames"), content, 0o600))
		spool, err := syslog.OpenSpool(directory)
		require.NoError(t, err)
		_, err = spool.Append([]byte("5 hello"))
		require.NoError(t, err)
		require.LessOrEqual(t, spool.Waiting(), int64(len(content)+7))
		require.NoError(t, spool.Close())
	})
}
