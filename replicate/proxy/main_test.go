package proxy_test

import (
	"net/http"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(tests{m}) }

type tests struct{ *testing.M }

// Run runs the tests, and closes the connections to the registry that they share.
func (t tests) Run() int {
	defer http.DefaultClient.CloseIdleConnections()
	defer client.CloseIdleConnections()
	return t.M.Run()
}
