package contract_test

import (
	"bytes"
	"io"
	"net/http"
	"sync"
	"testing"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/api/apitest"
)

// described is the server's own description, by which a validator that knows nothing of us judges answers.
type described struct {
	mu        sync.Mutex // the validator is not for many at once
	validator validator.Validator
	faults    []string
}

// describe reads the description of a server and has it judged itself.
func describe(t *testing.T, server *apitest.Server) *described {
	t.Helper()
	text := server.Anonymous().Must(t, http.StatusOK, http.MethodGet, "/openapi.json", nil).Body
	document, err := libopenapi.NewDocument([]byte(text))
	require.NoError(t, err)
	found, errs := validator.NewValidator(document)
	require.Empty(t, errs)
	valid, faults := found.ValidateDocument()
	require.True(t, valid, "%v", faults)
	return &described{validator: found}
}

// judge notes what an answer has that the description has not.
func (d *described) judge(request *http.Request, response *http.Response) error {
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if err := response.Body.Close(); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	response.Body = io.NopCloser(bytes.NewReader(body))
	if valid, faults := d.validator.ValidateHttpResponse(request, response); !valid {
		for _, fault := range faults {
			d.faults = append(d.faults, request.Method+" "+request.URL.Path+": "+fault.Error())
		}
	}
	response.Body = io.NopCloser(bytes.NewReader(body))
	return nil
}
