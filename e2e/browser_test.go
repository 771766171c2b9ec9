package e2e_test

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/e2e/harness"
	"github.com/berth-registry/berth/identity/oidc/oidctest"
)

// browserPatience is how long a browser may take for everything that it does in one test.
const browserPatience = 3 * time.Minute

// startBrowser starts a Chromium that believes the given certificates, and no others.
func startBrowser(t *testing.T, certificates ...*x509.Certificate) context.Context {
	t.Helper()
	var keys []string
	for _, certificate := range certificates {
		sum := sha256.Sum256(certificate.RawSubjectPublicKeyInfo)
		keys = append(keys, base64.StdEncoding.EncodeToString(sum[:]))
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(harness.Tool(t, "chromium")),
		chromedp.NoSandbox, // as root there is none
		chromedp.Flag("ignore-certificate-errors-spki-list", strings.Join(keys, ",")),
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Env("HOME="+t.TempDir()),
		chromedp.WSURLReadTimeout(browserPatience),
	)
	allocator, release := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(release)
	browser, closeBrowser := chromedp.NewContext(allocator)
	t.Cleanup(closeBrowser)
	patient, cancel := context.WithTimeout(browser, browserPatience)
	t.Cleanup(cancel)
	return patient
}

// certificateIn reads the certificate of a PEM file.
func certificateIn(t *testing.T, file string) *x509.Certificate {
	t.Helper()
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	block, _ := pem.Decode(content)
	require.NotNil(t, block, file)
	certificate, err := x509.ParseCertificate(block.Bytes)
	require.NoError(t, err)
	return certificate
}

// TestBrowser_logsInThroughAProvider goes the whole way in a browser: through the login form of a provider that speaks TLS with an
// authority of its own, a name to choose, and out again.
func TestBrowser_logsInThroughAProvider(t *testing.T) {
	stack := harness.Directory(t)
	gateway := harness.Start(t, stack)
	provider := oidctest.Start(t, true, gateway.URL()+"/c/oidc/callback", gateway.URL()+"/", oidctest.User{
		ID: "id-clara", Name: "clara", Email: "clara@example.org", Claims: map[string]any{"groups": []string{"team"}},
	})
	ca := filepath.Join(t.TempDir(), "provider.crt")
	require.NoError(t, os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: provider.Server.Certificate().Raw}), 0o600))
	gateway.Write(stack.Block + fmt.Sprintf(`
auth oidc {
	endpoint %s
	client_id %s
	client_secret %s
	groups_claim groups
	admin_group team
	logout true
	ca_file %s
}`, provider.Issuer, oidctest.ClientID, oidctest.ClientSecret, ca))
	require.NoError(t, gateway.Reload())

	browser := startBrowser(t, certificateIn(t, gateway.Certificate()), provider.Server.Certificate())
	const current = "/api/v2.0/users/current"
	var page, address string
	require.NoError(t, chromedp.Run(browser,
		chromedp.Navigate(gateway.URL()+"/c/oidc/login?redirect_url="+current),
		chromedp.SendKeys("#username", "clara"),
		chromedp.SendKeys("#password", oidctest.Password),
		chromedp.Submit("#password"),
		chromedp.WaitVisible("#choose"),
		chromedp.Location(&address),
	))
	require.Equal(t, gateway.URL()+"/c/oidc/onboard?username=clara", address)
	require.NoError(t, chromedp.Run(browser,
		chromedp.SetValue("#username", "admin"),
		chromedp.Click("#choose"),
		chromedp.WaitVisible(`[role="alert"]`),
		chromedp.Text(`[role="alert"]`, &page),
	))
	require.Contains(t, page, "taken")
	require.NoError(t, chromedp.Run(browser, chromedp.SetValue("#username", "clara-b")))
	_, err := chromedp.RunResponse(browser, chromedp.Click("#choose"))
	require.NoError(t, err)
	require.NoError(t, chromedp.Run(browser, chromedp.TextContent("body", &page), chromedp.Location(&address)))
	require.Equal(t, gateway.URL()+current, address)
	require.Contains(t, page, `"username":"clara-b"`)
	require.NoError(t, chromedp.Run(browser, chromedp.Navigate(gateway.URL()+"/api/v2.0/configurations"), chromedp.TextContent("body", &page)))
	require.Contains(t, page, `"oidc_endpoint":{"value":"`+provider.Issuer+`","editable":false}`, "what an administrator sees: the group makes one")
	cookie := requireGuardedCookie(browser, t)
	var token string
	require.NoError(t, chromedp.Run(browser, chromedp.Evaluate(makeToken, &token, awaited)))

	require.NoError(t, chromedp.Run(browser,
		chromedp.Navigate(gateway.URL()+"/c/oidc/logout"),
		chromedp.Location(&address),
		chromedp.Text("body", &page),
	))
	require.Equal(t, gateway.URL()+"/", address, "by way of the provider")
	require.Contains(t, page, "Berth")
	require.NoError(t, chromedp.Run(browser, chromedp.Navigate(gateway.URL()+current), chromedp.TextContent("body", &page)))
	require.Contains(t, page, "UNAUTHORIZED")

	// The token that they made outlives the session, and spares docker what the provider asks.
	home := shortDirectory(t)
	docker := &session{
		T: t, gateway: gateway, directory: home, user: "clara-b", password: token,
		environ: []string{"HOME=" + home, "DOCKER_CONFIG=" + filepath.Join(home, "docker")},
	}
	docker.startDocker()
	docker.dockerPush("library/browser")

	// Nothing is asked the second time, and scripts of the registry's own pages end all sessions with the token that they are told.
	require.NoError(t, chromedp.Run(browser,
		chromedp.Navigate(gateway.URL()+"/c/oidc/login?redirect_url="+current),
		chromedp.SendKeys("#username", "clara"),
		chromedp.SendKeys("#password", oidctest.Password),
	))
	_, err = chromedp.RunResponse(browser, chromedp.Submit("#password"))
	require.NoError(t, err)
	var statuses []int
	require.NoError(t, chromedp.Run(browser, chromedp.Evaluate(endSessions, &statuses, awaited)))
	require.Equal(t, []int{200, 403, 200, 401}, statuses)
	for _, secret := range []string{cookie, oidctest.ClientSecret, token} {
		require.NotContains(t, gateway.Process().Log(), secret)
	}
}

// awaited has a script's promise kept before its value is taken.
func awaited(p *runtime.EvaluateParams) *runtime.EvaluateParams { return p.WithAwaitPromise(true) }

// makeToken makes a personal access token, by the token against forgery that the browser is told, and returns its secret.
const makeToken = `(async () => {
	const me = await fetch("/api/v2.0/users/current")
	const headers = {"Content-Type": "application/json", "X-Harbor-CSRF-Token": me.headers.get("X-Harbor-CSRF-Token")}
	const body = JSON.stringify({name: "docker", scopes: ["pull", "push"], duration: 1})
	const made = await fetch("/api/v2.0/users/current/tokens", {method: "POST", headers, body})
	return (await made.json()).secret
})()`

// endSessions asks who is logged in, ends their sessions without and with the token, and asks again.
const endSessions = `(async () => {
	const me = await fetch("/api/v2.0/users/current")
	const end = headers => fetch("/api/v2.0/users/current/sessions", {method: "DELETE", headers})
	const refused = await end({})
	const ended = await end({"X-Harbor-CSRF-Token": me.headers.get("X-Harbor-CSRF-Token")})
	const after = await fetch("/api/v2.0/users/current")
	return [me.status, refused.status, ended.status, after.status]
})()`

// requireGuardedCookie looks at the session's cookie as the browser has it, and returns its value.
func requireGuardedCookie(browser context.Context, t *testing.T) (session string) {
	t.Helper()
	require.NoError(t, chromedp.Run(browser, chromedp.ActionFunc(func(ctx context.Context) error {
		cookies, err := network.GetCookies().Do(ctx)
		if err != nil {
			return err
		}
		for _, cookie := range cookies {
			if cookie.Name != "sid" {
				continue
			}
			session = cookie.Value
			require.True(t, cookie.HTTPOnly)
			require.True(t, cookie.Secure)
			require.Equal(t, network.CookieSameSiteLax, cookie.SameSite)
		}
		return nil
	})))
	require.NotEmpty(t, session)
	return session
}
