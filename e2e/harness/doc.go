// Package harness runs the real binary and what it stands on: gateways over TLS on free loopback ports, with their directory or
// their PostgreSQL and S3 server; a small client of the distribution API; and programs of others. Everything it starts ends with
// the test that asked for it.
package harness
