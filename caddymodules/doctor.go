package caddymodules

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/spf13/cobra"

	"github.com/berth-registry/berth/api"
	"github.com/berth-registry/berth/caddymodules/command"
	"github.com/berth-registry/berth/metadata"
)

// doctorPatience bounds each examination.
const doctorPatience = 30 * time.Second

func doctorCommand(doctor *cobra.Command) {
	command.PlaceFlags(doctor)
	doctor.Flags().String("url", "", "the registry's address, to look at its certificate and clock (default: that of the configuration's first site)")
	doctor.RunE = func(doctor *cobra.Command, _ []string) error {
		doctor.SilenceUsage = true
		return runDoctor(doctor)
	}
}

// finding is the outcome of one examination.
type finding struct {
	Check  string `json:"check"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
}

func runDoctor(doctor *cobra.Command) error {
	var findings []finding
	note := func(check, detail string, err error) bool {
		if err != nil {
			detail = err.Error()
		}
		findings = append(findings, finding{Check: check, OK: err == nil, Detail: detail})
		return err == nil
	}
	target, err := findTarget(command.PlaceOf(doctor))
	var settings settings
	if err == nil {
		settings, err = readSettings(target.app)
	}
	if note("configuration", "understood", err) {
		ctx := doctor.Context()
		running := checkServer(ctx, target)
		note("server", running, nil)
		detail, err := checkDatabase(ctx, settings, running == serverRuns)
		note("database", detail, err)
		detail, err = checkStorage(ctx, settings)
		note("storage", detail, err)
		detail, err = checkQueue(ctx, settings)
		note("queue", detail, err)
		checkSite(doctor, running == serverRuns, note)
	}
	return printFindings(doctor, findings)
}

func printFindings(doctor *cobra.Command, findings []finding) error {
	failed := 0
	for _, f := range findings {
		if !f.OK {
			failed++
		}
	}
	if doctor.Flags().Lookup("output").Value.String() == "json" {
		encoder := json.NewEncoder(doctor.OutOrStdout())
		encoder.SetIndent("", "  ")
		if err := encoder.Encode(findings); err != nil {
			return err
		}
	} else {
		for _, f := range findings {
			verdict := "ok  "
			if !f.OK {
				verdict = "FAIL"
			}
			_, _ = fmt.Fprintf(doctor.OutOrStdout(), "%s  %-13s  %s\n", verdict, f.Check, f.Detail)
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d checks failed", failed, len(findings))
	}
	return nil
}

const (
	serverRuns    = "running"
	serverStopped = "not running"
)

func checkServer(ctx context.Context, t target) string {
	ctx, cancel := context.WithTimeout(ctx, doctorPatience)
	defer cancel()
	way, err := t.throughAdmin(ctx)
	if errors.Is(err, errNotRunning) {
		return serverStopped
	}
	if err == nil {
		err = ping(ctx, way)
	}
	if err != nil {
		return "running, but it does not answer commands: its log says why"
	}
	return serverRuns
}

// ping asks the registry for what only one that is ready and has its database can answer.
func ping(ctx context.Context, way *command.API) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, way.Base+api.Prefix+"/projects?page_size=1", nil)
	if err != nil {
		return err
	}
	response, err := way.Transport.RoundTrip(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("the server answered %s", response.Status)
	}
	return nil
}

// checkDatabase opens the database and compares schemas, without changing it. An embedded one that the running server holds has
// been checked by asking that server.
func checkDatabase(ctx context.Context, settings settings, running bool) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, doctorPatience)
	defer cancel()
	if err := makeDataDir(settings); err != nil {
		return "", err
	}
	store, err := settings.database.OpenDatabase(ctx, settings.dataDir, newLogger())
	if running && errors.Is(err, metadata.ErrLocked) {
		return "in use by the running server, which answers", nil
	}
	if err != nil {
		return "", fmt.Errorf("%w: check the database option, that the server runs and that the user may connect", err)
	}
	defer store.Close()
	if err := store.Ping(ctx); err != nil {
		return "", err
	}
	found, known, err := store.SchemaVersion(ctx)
	switch {
	case err != nil:
		return "", err
	case found > known:
		return "", &metadata.NewerSchemaError{Found: found, Known: known}
	case found < known:
		return fmt.Sprintf("%s answers; the next start migrates its schema from version %d to %d", store.Engine(), found, known), nil
	}
	return fmt.Sprintf("%s answers, schema version %d", store.Engine(), found), nil
}

// checkStorage writes, reads and deletes an object.
func checkStorage(ctx context.Context, settings settings) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, doctorPatience)
	defer cancel()
	backend, err := settings.storage.OpenStorage(ctx, settings.dataDir, newLogger())
	if err != nil {
		return "", fmt.Errorf("%w: check the storage option", err)
	}
	defer func() {
		if closer, ok := backend.(io.Closer); ok {
			_ = closer.Close()
		}
	}()
	start := time.Now()
	if err := backend.Check(ctx); err != nil {
		return "", fmt.Errorf("%w: check the storage option, free space and permissions", err)
	}
	return fmt.Sprintf("wrote, read and deleted an object in %s", time.Since(start).Round(time.Millisecond)), nil
}

// checkQueue asks Redis, where the configuration has one.
func checkQueue(ctx context.Context, settings settings) (string, error) {
	queue, err := settings.queue.OpenQueue(slog.New(slog.DiscardHandler))
	if err != nil {
		return "", fmt.Errorf("%w: check the queue option", err)
	}
	if queue == nil {
		return "the database is it", nil
	}
	if closer, ok := queue.(io.Closer); ok {
		defer closer.Close()
	}
	if err := queue.Ping(ctx); err != nil {
		return "", fmt.Errorf("%w: until it answers, work in the background begins some seconds later", err)
	}
	return "Redis answers", nil
}

// maxClockError is how far the clocks of two gateways may be apart before tokens of one are refused by the other.
const maxClockError = 30 * time.Second

// checkSite looks at the registry as a client would.
func checkSite(command *cobra.Command, running bool, note func(check, detail string, err error) bool) {
	address, err := siteAddress(command)
	if err != nil {
		note("certificate", "", err)
		return
	}
	if !running && !command.Flags().Changed("url") {
		note("certificate", "not looked at, as the server does not run", nil)
		note("clock", "not looked at, as the server does not run", nil)
		return
	}
	response, err := askSite(command.Context(), address) //nolint:bodyclose // askSite closes it
	if err != nil {
		note("certificate", "", fmt.Errorf("%s: %w", address, err))
		return
	}
	if response.TLS != nil {
		detail, err := judgeCertificate(address, response.TLS.PeerCertificates)
		note("certificate", detail, err)
	} else {
		note("certificate", "", fmt.Errorf("%s is not HTTPS: clients must be told that the registry is insecure", address))
	}
	note("clock", "agrees with the registry's", judgeClock(response.Header.Get("Date")))
}

// askSite does not verify the certificate, which is judged afterwards with more words than an error has.
func askSite(ctx context.Context, address string) (*http.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, doctorPatience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address+"/v2/", nil)
	if err != nil {
		return nil, err
	}
	client := http.Client{Transport: &http.Transport{
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // see judgeCertificate
		DisableKeepAlives: true,
	}}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	return response, response.Body.Close()
}

func judgeCertificate(address string, chain []*x509.Certificate) (string, error) {
	parsed, err := url.Parse(address)
	if err != nil {
		return "", err
	}
	leaf := chain[0]
	if err := leaf.VerifyHostname(parsed.Hostname()); err != nil {
		return "", fmt.Errorf("%w: give the site that name, or its certificate", err)
	}
	now := time.Now()
	if now.After(leaf.NotAfter) || now.Before(leaf.NotBefore) {
		return "", fmt.Errorf("certificate is good from %s to %s only: renew it, or set the clock", leaf.NotBefore.Format("2006-01-02 15:04"), leaf.NotAfter.Format("2006-01-02 15:04"))
	}
	intermediates := x509.NewCertPool()
	for _, certificate := range chain[1:] {
		intermediates.AddCert(certificate)
	}
	until := leaf.NotAfter.Format("2006-01-02 15:04")
	if _, err := leaf.Verify(x509.VerifyOptions{Intermediates: intermediates}); err != nil {
		return fmt.Sprintf("good until %s, of an authority that this machine does not know: clients need it from %s%s", until, address, certificatePath), nil
	}
	return "trusted, good until " + until, nil
}

func judgeClock(date string) error {
	theirs, err := http.ParseTime(date)
	if err != nil {
		return fmt.Errorf("the registry does not tell the time: %w", err)
	}
	if apart := time.Since(theirs).Abs(); apart > maxClockError {
		return fmt.Errorf("this machine and the registry are %s apart: synchronize their clocks, or tokens are refused", apart.Round(time.Second))
	}
	return nil
}

// siteAddress finds the registry's address in the configuration: the first host of the first server.
func siteAddress(command *cobra.Command) (string, error) {
	if given := command.Flags().Lookup("url").Value.String(); given != "" {
		return given, nil
	}
	flags := command.Flags()
	loaded, err := loadConfig(flags.Lookup("config").Value.String(), flags.Lookup("adapter").Value.String(), true)
	if err != nil {
		return "", err
	}
	var config struct {
		Apps struct {
			HTTP struct {
				Servers map[string]struct {
					Listen []string `json:"listen"`
					Routes []struct {
						Match []struct {
							Host []string `json:"host"`
						} `json:"match"`
					} `json:"routes"`
				} `json:"servers"`
			} `json:"http"`
		} `json:"apps"`
	}
	if err := json.Unmarshal(loaded, &config); err != nil {
		return "", fmt.Errorf("read configuration: %w", err)
	}
	for _, server := range config.Apps.HTTP.Servers {
		for _, listen := range server.Listen {
			address, err := caddy.ParseNetworkAddress(listen)
			if err != nil || address.IsUnixNetwork() {
				continue
			}
			for _, route := range server.Routes {
				for _, match := range route.Match {
					for _, host := range match.Host {
						return "https://" + net.JoinHostPort(host, fmt.Sprint(address.StartPort)), nil
					}
				}
			}
		}
	}
	return "", errors.New("the configuration names no site: name the registry's address with --url")
}
