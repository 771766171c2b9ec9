// Package caddymodules puts Berth into Caddy: configuration comes in as the `berth` app with its guest modules, services are
// wired from it, and HTTP handlers, admin routes and commands go out.
//
// Three things live for different times, and most of this package is about not confusing them:
//
//   - a configuration ([App], [Handler]) lives from one reload to the next;
//   - the core (services wired over a database and a storage) lives as long as a configuration or a request uses it, so that a
//     reload neither cuts an upload nor opens anything twice;
//   - the database and the storage under it live as long as a core uses them, so that a reload that changes one keeps the other.
package caddymodules
