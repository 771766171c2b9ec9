package command

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
)

// The variables that a script may set instead of logging in.
const (
	serverVariable   = "BERTH_SERVER"
	usernameVariable = "BERTH_USERNAME"
	passwordVariable = "BERTH_PASSWORD" //nolint:gosec // the name of a variable
)

// logins are what "berth login" keeps, in a file that only its owner may read.
type logins struct {
	// Current is the address that was last logged in to.
	Current string           `json:"current,omitempty"`
	Servers map[string]login `json:"servers"`
}

// login is a login to one server.
type login struct {
	Username string `json:"username"`
	// Secret is a personal access token, or the secret of a robot account.
	Secret string `json:"secret"`
	// Token is the id of the token, to revoke it; 0 for a secret that was given.
	Token int64 `json:"token,omitempty"`
	// CA is a PEM file with the authority of the server's certificate, "" for one that the machine trusts.
	CA string `json:"ca,omitempty"`
}

// connect finds the registry that a command is about.
func connect(command *cobra.Command, local Local) (*API, error) {
	place, server := PlaceOf(command), command.Flags().Lookup("server").Value.String()
	here := place.Config != "" || place.Address != ""
	if server != "" && here {
		return nil, usageError("--server is another registry than that of --config or --address: give one of them")
	}
	if server == "" && !here {
		server = os.Getenv(serverVariable)
	}
	if server != "" {
		return remote(server)
	}
	api, err := local(command.Context(), place)
	if here || !errors.Is(err, ErrNoConfig) {
		return api, err
	}
	kept, keptErr := readLogins()
	if keptErr != nil {
		return nil, keptErr
	}
	if kept.Current == "" {
		return nil, usageError("%v: log in with \"berth login\", or name the registry with --server or --config", err)
	}
	return remote(kept.Current)
}

// remote is the way to a server, with the login that is kept for it or that the environment has.
func remote(address string) (*API, error) {
	base, err := serverAddress(address)
	if err != nil {
		return nil, err
	}
	kept, err := readLogins()
	if err != nil {
		return nil, err
	}
	known, found := kept.Servers[base]
	if name := os.Getenv(usernameVariable); name != "" {
		known.Username, known.Secret = name, os.Getenv(passwordVariable)
	} else if !found {
		return nil, &Refusal{Status: http.StatusUnauthorized, Message: fmt.Sprintf("not logged in to %s: use \"berth login %s\"", base, address)}
	}
	return reach(base, known)
}

func reach(base string, known login) (*API, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if known.CA != "" {
		pem, err := os.ReadFile(known.CA)
		if err != nil {
			return nil, fmt.Errorf("read the authority of %s: %w", base, err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("the authority of %s: %s has no certificate in it", base, known.CA)
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	return &API{
		Transport: transport, Base: base,
		Authorize: func(r *http.Request) { r.SetBasicAuth(known.Username, known.Secret) },
	}, nil
}

// serverAddress returns an address with its scheme, https unless it says otherwise.
func serverAddress(address string) (string, error) {
	if !strings.Contains(address, "://") {
		address = "https://" + address
	}
	parsed, err := url.Parse(address)
	if err != nil || parsed.Host == "" || parsed.Scheme != "https" && parsed.Scheme != "http" {
		return "", usageError("%q is no address of a registry, such as registry.example.com or https://localhost:8443", address)
	}
	return parsed.Scheme + "://" + parsed.Host, nil
}

func loginsFile() (string, error) {
	directory, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("find the directory for logins: %w", err)
	}
	return filepath.Join(directory, "berth", "logins.json"), nil
}

func readLogins() (logins, error) {
	kept := logins{Servers: map[string]login{}}
	file, err := loginsFile()
	if err != nil {
		return kept, nil //nolint:nilerr // an account without a home has no logins
	}
	content, err := os.ReadFile(file) //nolint:gosec // in the user's own directory
	if errors.Is(err, fs.ErrNotExist) {
		return kept, nil
	}
	if err != nil {
		return kept, fmt.Errorf("read logins: %w", err)
	}
	if err := json.Unmarshal(content, &kept); err != nil {
		return kept, fmt.Errorf("read logins: %s: %w", file, err)
	}
	if kept.Servers == nil {
		kept.Servers = map[string]login{}
	}
	return kept, nil
}

// write replaces the file in one step, so that an interrupted one loses no login.
func (l logins) write() error {
	file, err := loginsFile()
	if err != nil {
		return err
	}
	encoded, err := json.MarshalIndent(l, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return fmt.Errorf("keep login: %w", err)
	}
	fresh, err := os.CreateTemp(filepath.Dir(file), ".logins-") // mode 0600
	if err != nil {
		return fmt.Errorf("keep login: %w", err)
	}
	_, err = fresh.Write(append(encoded, '\n'))
	if err = errors.Join(err, fresh.Close()); err == nil {
		err = os.Rename(fresh.Name(), file)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("keep login: %w", err), os.Remove(fresh.Name()))
	}
	return nil
}
