package identity

import (
	"net/netip"
	"strings"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
)

// How many failed logins are let through: at once, and then one per interval. An address may have many accounts behind it, so
// it gets more.
const (
	accountFailures        = 10
	accountFailureInterval = 6 * time.Second
	addressFailures        = 60
	addressFailureInterval = time.Second
)

// countedNames is how many accounts, and how many addresses, have their failures counted; about 150 bytes each.
const countedNames = 65536

// throttle counts failed logins in token buckets. An attempt takes a token before it is checked, so that many at once get no
// further than many in a row, and gets it back when it did not fail.
type throttle struct {
	mu        sync.Mutex
	accounts  *lru.Cache[string, *bucket]
	addresses *lru.Cache[netip.Prefix, *bucket]
}

type bucket struct {
	tokens float64
	at     time.Time
}

func newThrottle() (*throttle, error) {
	accounts, err := lru.New[string, *bucket](countedNames)
	if err != nil {
		return nil, err
	}
	addresses, err := lru.New[netip.Prefix, *bucket](countedNames)
	if err != nil {
		return nil, err
	}
	return &throttle{accounts: accounts, addresses: addresses}, nil
}

// attempt is a login on trial.
type attempt struct {
	throttle *throttle
	name     string
	address  *bucket // nil when the address is not known
	account  *bucket
}

// begin takes a token for the account and one for the address; wait is how long there is none.
func (t *throttle) begin(credentials Credentials, now time.Time) (a attempt, wait time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	a = attempt{throttle: t, name: strings.ToLower(credentials.Name)}
	a.account = find(t.accounts, a.name, accountFailures, now)
	a.account.refill(now, accountFailures, accountFailureInterval)
	wait = a.account.wait(accountFailureInterval)
	if prefix, known := network(credentials.Address); known {
		a.address = find(t.addresses, prefix, addressFailures, now)
		a.address.refill(now, addressFailures, addressFailureInterval)
		wait = max(wait, a.address.wait(addressFailureInterval))
	}
	if wait > 0 {
		return attempt{}, wait
	}
	a.account.tokens--
	if a.address != nil {
		a.address.tokens--
	}
	return a, 0
}

// succeeded forgives the account its failures and gives the address its token back.
func (a attempt) succeeded() {
	a.throttle.mu.Lock()
	defer a.throttle.mu.Unlock()
	a.throttle.accounts.Remove(a.name)
	if a.address != nil {
		a.address.tokens++
	}
}

// untold gives both tokens back: nobody could tell whether the credentials are right.
func (a attempt) untold() {
	a.throttle.mu.Lock()
	defer a.throttle.mu.Unlock()
	a.account.tokens++
	if a.address != nil {
		a.address.tokens++
	}
}

func find[K comparable](buckets *lru.Cache[K, *bucket], key K, capacity float64, now time.Time) *bucket {
	if b, found := buckets.Get(key); found {
		return b
	}
	b := &bucket{tokens: capacity, at: now}
	buckets.Add(key, b)
	return b
}

func (b *bucket) refill(now time.Time, capacity float64, interval time.Duration) {
	if elapsed := now.Sub(b.at); elapsed > 0 {
		b.tokens = min(capacity, b.tokens+float64(elapsed)/float64(interval))
	}
	b.at = now
}

func (b *bucket) wait(interval time.Duration) time.Duration {
	if b.tokens >= 1 {
		return 0
	}
	return time.Duration((1 - b.tokens) * float64(interval))
}

// network returns the address as what one subscriber holds: an IPv4 address, an IPv6 network of 64 bits.
func network(address string) (netip.Prefix, bool) {
	parsed, err := netip.ParseAddr(address)
	if err != nil {
		withPort, err := netip.ParseAddrPort(address)
		if err != nil {
			return netip.Prefix{}, false
		}
		parsed = withPort.Addr()
	}
	parsed = parsed.Unmap().WithZone("")
	bits := 64
	if parsed.Is4() {
		bits = 32
	}
	prefix, err := parsed.Prefix(bits)
	return prefix, err == nil
}
