package ldap

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/go-ldap/ldap/v3"

	"github.com/berth-registry/berth/fault"
)

// maxIdle is how long a connection rests before it is given up: what is on the way may forget it without a word.
const maxIdle = time.Minute

// patience is how many times the timeout one piece of work may take in all, whatever it is made of.
const patience = 2

// pool keeps connections to a directory, a bounded number of them. One that was kept and turns out to be dead is replaced by a new
// one within the same call, so that a restarted server is no failure.
type pool struct {
	config    Config
	transport transport
	health    health
	slots     chan struct{}

	mu     sync.Mutex
	idle   []*connection
	closed bool
}

// connection is a connection to the directory.
type connection struct {
	*ldap.Conn
	raw net.Conn
	// searching tells that it is bound with what searches bind with.
	searching bool
	rested    time.Time
}

// newPool returns a pool without connections. The error is a [*fault.Error].
func newPool(config Config) (*pool, error) {
	if err := config.check(); err != nil {
		return nil, err
	}
	reached, err := config.transport()
	if err != nil {
		return nil, err
	}
	return &pool{config: config, transport: reached, slots: make(chan struct{}, cmp.Or(config.Connections, DefaultConnections))}, nil
}

// close gives the resting connections up; those at work are when they are done.
func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, c := range p.idle {
		c.end()
	}
	p.idle = nil
}

// do lends a connection that is bound for searching. The work may be done twice, on a second connection when the first has died
// while it rested. The error is of kind [fault.Unavailable] when the directory does not answer, else the work's.
func (p *pool) do(ctx context.Context, work func(*connection) error) error {
	if err := p.health.enter(); err != nil {
		return err
	}
	began := time.Now()
	working, cancel := context.WithTimeout(ctx, patience*p.config.Timeout)
	defer cancel()
	select {
	case p.slots <- struct{}{}:
	case <-working.Done():
		p.health.abandoned()
		return cmp.Or(ctx.Err(), error(unavailable(errors.New("all connections are busy"))))
	}
	defer func() { <-p.slots }()
	if err := p.health.failedSince(began); err != nil {
		return err // no use in waiting once more for what the one before has waited for
	}
	err := p.attempt(working, work)
	switch {
	case err == nil || answered(err):
		p.health.succeeded()
		return err
	case ctx.Err() != nil:
		p.health.abandoned()
		return ctx.Err()
	}
	refusal := unavailable(err)
	p.health.failed(refusal, time.Since(began))
	return refusal
}

// attempt works on a connection that has rested, and when that one is dead on a new one.
func (p *pool) attempt(ctx context.Context, work func(*connection) error) error {
	if c := p.take(); c != nil {
		began := time.Now()
		err := p.work(ctx, c, work)
		if err == nil || answered(err) || ctx.Err() != nil || time.Since(began) >= p.config.Timeout {
			return err
		}
		p.drop()
	}
	c, err := p.dial(ctx)
	if err != nil {
		return err
	}
	return p.work(ctx, c, work)
}

// work works on one connection, which it gives back or ends.
func (p *pool) work(ctx context.Context, c *connection, work func(*connection) error) error {
	stop := context.AfterFunc(ctx, func() { c.raw.Close() })
	err := c.bindForSearch(p.config)
	if err == nil {
		err = work(c)
	}
	if !stop() || err != nil && !answered(err) {
		c.end()
		return err
	}
	p.giveBack(c)
	return err
}

// take returns a connection that has rested, nil when there is none.
func (p *pool) take() *connection {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.idle) > 0 {
		c := p.idle[len(p.idle)-1]
		p.idle = p.idle[:len(p.idle)-1]
		if !c.IsClosing() && time.Since(c.rested) < maxIdle {
			return c
		}
		c.end()
	}
	return nil
}

func (p *pool) giveBack(c *connection) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || c.IsClosing() {
		c.end()
		return
	}
	c.rested = time.Now()
	p.idle = append(p.idle, c)
}

// drop gives up what rests: when one connection has died, so have the others.
func (p *pool) drop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.idle {
		c.end()
	}
	p.idle = nil
}

// dial connects, as encrypted as is configured.
func (p *pool) dial(ctx context.Context) (*connection, error) {
	ctx, cancel := context.WithTimeout(ctx, p.config.Timeout)
	defer cancel()
	raw, err := new(net.Dialer).DialContext(ctx, "tcp", p.transport.address)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", p.transport.address, err)
	}
	deadline, _ := ctx.Deadline()
	if err := raw.SetDeadline(deadline); err != nil {
		raw.Close()
		return nil, err
	}
	spoken := raw
	if p.transport.implicit {
		encrypted := tls.Client(raw, p.transport.tls)
		if err := encrypted.HandshakeContext(ctx); err != nil {
			raw.Close()
			return nil, fmt.Errorf("TLS with %s: %w", p.transport.address, err)
		}
		spoken = encrypted
	}
	c := &connection{Conn: ldap.NewConn(spoken, p.transport.implicit), raw: raw}
	c.Start()
	c.SetTimeout(p.config.Timeout)
	if p.transport.startTLS {
		if err := c.StartTLS(p.transport.tls); err != nil {
			c.end()
			return nil, fmt.Errorf("StartTLS with %s: %w", p.transport.address, err)
		}
	}
	if err := raw.SetDeadline(time.Time{}); err != nil {
		c.end()
		return nil, err
	}
	return c, nil
}

// end closes the connection, first beneath the protocol, which else would wait for a server that says nothing.
func (c *connection) end() {
	c.raw.Close()
	c.Close()
}

// errSearchAccount says that the directory refuses what searches bind with.
var errSearchAccount = errors.New("the directory refuses ldap_search_dn with ldap_search_password")

// bindForSearch makes the connection search with the rights of the search account.
func (c *connection) bindForSearch(config Config) error {
	if c.searching {
		return nil
	}
	var err error
	if config.SearchDN == "" {
		err = c.UnauthenticatedBind("")
	} else if config.SearchPassword == "" {
		return errSearchAccount
	} else {
		err = c.Bind(config.SearchDN, config.SearchPassword)
	}
	if err != nil && answered(err) {
		return fmt.Errorf("%w: %w", errSearchAccount, unanswered{err})
	}
	c.searching = err == nil
	return err
}

// unanswered hides that the server has answered: what is wrong is the configuration, and no caller's question was answered.
type unanswered struct{ error }

// prove binds as somebody, and reports whether the directory believes them.
func (c *connection) prove(dn, password string) (bool, error) {
	c.searching = false
	err := c.Bind(dn, password)
	switch {
	case err == nil:
		return true, nil
	case ldap.IsErrorAnyOf(err, ldap.LDAPResultInvalidCredentials, ldap.LDAPResultNoSuchObject, ldap.LDAPResultInappropriateAuthentication,
		ldap.LDAPResultConstraintViolation, ldap.LDAPResultUnwillingToPerform, ldap.LDAPResultInsufficientAccessRights,
		ldap.LDAPResultInvalidDNSyntax, ldap.ErrorEmptyPassword):
		return false, nil
	}
	return false, err
}

// answered reports whether an error is the server's answer to a request, or the caller's own, and not a failure to get one.
func answered(err error) bool {
	if refusal, ok := errors.AsType[*fault.Error](err); ok {
		return refusal.Kind != fault.Unavailable
	}
	answer, ok := errors.AsType[*ldap.Error](err)
	if !ok || answer.ResultCode >= ldap.ErrorNetwork {
		return false
	}
	switch answer.ResultCode {
	case ldap.LDAPResultBusy, ldap.LDAPResultUnavailable, ldap.LDAPResultTimeLimitExceeded, ldap.LDAPResultOperationsError, ldap.LDAPResultOther:
		return false
	}
	return true
}

// unavailable is what callers are told when the directory does not answer, unless the error says more already.
func unavailable(err error) *fault.Error {
	if refusal, ok := errors.AsType[*fault.Error](err); ok && refusal.Kind == fault.Unavailable {
		return refusal
	}
	return fault.Because(err, fault.Unavailable, "the directory (LDAP) does not answer for the moment: try again later")
}
