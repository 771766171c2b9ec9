.DEFAULT_GOAL := help
SHELL := bash
.SHELLFLAGS := -euo pipefail -c

export CGO_ENABLED ?= 0
version  := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
ldflags  := -s -w -X github.com/caddyserver/caddy/v2.CustomVersion=$(version)
postgres  = $(lastword $(sort $(wildcard /usr/lib/postgresql/*/bin)))
with_tools = PATH="$$(e2e/install.sh path):$(postgres):$$PATH"
lint_version := v2.15.0
FUZZTIME ?= 60s

.PHONY: build
build: ## build bin/berth
	go build -trimpath -ldflags '$(ldflags)' -o bin/berth ./cmd/berth

.PHONY: run
run: build ## build and serve https://localhost:8443, data in ./data
	exec ./bin/berth run

# SQLite's engine, C that was translated to Go, is left to itself: under the race detector it takes most of the tests' time.
race := -race -gcflags=modernc.org/sqlite/lib=-race=false

.PHONY: test
test: tools ## everything: unit, integration and end-to-end tests, with the race detector
	$(with_tools) CGO_ENABLED=1 go test $(race) -timeout 30m ./...

.PHONY: unit
unit: ## the packages' own tests, without the end-to-end ones
	$(with_tools) go test -timeout 15m $$(go list ./... | grep -v -e /e2e -e /bench)

.PHONY: e2e
e2e: tools ## the real binary with real clients, over TLS
	$(with_tools) go test -timeout 30m -count=1 ./e2e/...

.PHONY: bench
bench: build tools ## ratios against other registries, see bench/README.md
	$(with_tools) go run ./bench -berth bin/berth

.PHONY: fuzz
fuzz: ## each fuzz test for FUZZTIME (60s)
	for package in $$(go list ./...); do \
		for target in $$(go test -list '^Fuzz' $$package | grep '^Fuzz' || true); do \
			echo "$$package $$target"; \
			go test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) $$package; \
		done; \
	done

.PHONY: lint
lint: ## formatting, go vet and golangci-lint
	unformatted=$$(gofmt -l $$(git ls-files '*.go')); \
	if [ -n "$$unformatted" ]; then echo "gofmt these files: $$unformatted"; exit 1; fi
	go vet ./...
	bin=$$(e2e/install.sh path)/golangci-lint-$(lint_version); \
	if [ ! -x "$$bin" ]; then \
		directory=$$(mktemp -d); \
		GOBIN=$$directory go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(lint_version); \
		mkdir -p "$$(dirname "$$bin")" && mv "$$directory/golangci-lint" "$$bin"; \
	fi; \
	"$$bin" run

.PHONY: fmt
fmt: ## format Go files and the Caddyfile
	gofmt -w $$(git ls-files '*.go')
	go run ./cmd/berth fmt --overwrite Caddyfile

.PHONY: tools
tools: ## install the programs that the tests need
	e2e/install.sh

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
