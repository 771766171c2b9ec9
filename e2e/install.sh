#!/usr/bin/env bash
# Installs what the tests need and is not Berth itself: Debian packages (as root on Debian; elsewhere it names what is
# missing) and pinned Go programs, built once into a cache that survives `git clean`.
#
#   e2e/install.sh            everything
#   e2e/install.sh path       only prints the directory of the built programs
set -euo pipefail

cache="${BERTH_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/berth-tools}"
bin="$cache/bin"
if [ "${1:-}" = path ]; then echo "$bin"; exit 0; fi
mkdir -p "$bin" "$cache/stamps"

# program or file that must exist -> Debian package that brings it
packages=(
	/usr/bin/dockerd=docker.io
	/usr/bin/docker=docker.io
	/usr/bin/containerd=containerd
	/usr/sbin/runc=runc
	/usr/bin/podman=podman
	/usr/bin/skopeo=skopeo
	/usr/bin/chromium=chromium
	/usr/bin/busybox=busybox-static
	/usr/lib/postgresql=postgresql
	/usr/sbin/nginx=nginx-light
	/usr/bin/wrk=wrk
	/usr/bin/openssl=openssl
	/usr/bin/gcc=gcc
	/usr/sbin/slapd=slapd
	/usr/bin/ldapadd=ldap-utils
	/usr/bin/redis-server=redis-server
	/usr/bin/redis-sentinel=redis-sentinel
	/usr/bin/redis-cli=redis-tools
	/usr/sbin/runuser=util-linux
	/usr/bin/setpriv=util-linux
	/usr/bin/zsh=zsh
	/usr/bin/fish=fish
)
missing=()
for entry in "${packages[@]}"; do
	[ -e "${entry%%=*}" ] || missing+=("${entry##*=}")
done
if [ "${#missing[@]}" -gt 0 ]; then
	mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort -u)
	if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
		apt-get update -qq
		# A package's service must not start here: the tests start their own on free ports.
		printf '#!/bin/sh\nexit 101\n' >"$cache/policy-rc.d" && chmod +x "$cache/policy-rc.d"
		if [ ! -e /usr/sbin/policy-rc.d ]; then
			cp "$cache/policy-rc.d" /usr/sbin/policy-rc.d
			trap 'rm -f /usr/sbin/policy-rc.d' EXIT
		fi
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
	else
		echo "missing Debian packages; run as root: apt-get install --no-install-recommends ${missing[*]}" >&2
		exit 1
	fi
fi

# go_program NAME MODULE/PACKAGE@VERSION: installs with `go install`; the program keeps the last element of the package path
# unless NAME differs, in which case it is renamed.
go_program() {
	local name="$1" target="$2" stamp
	stamp="$cache/stamps/$(echo "$name $target" | tr '/ ' '__')"
	[ -e "$stamp" ] && [ -x "$bin/$name" ] && return 0
	echo "building $target" >&2
	local tmp
	tmp="$(mktemp -d)"
	(cd "$tmp" && CGO_ENABLED=0 GOFLAGS=-trimpath GOBIN="$tmp" go install "$target")
	mv "$tmp"/"$(basename "${target%%@*}" | sed -E 's/^v[0-9]+$//')" "$bin/$name" 2>/dev/null || mv "$tmp"/* "$bin/$name"
	rm -rf "$tmp"
	touch "$stamp"
}

# go_source NAME MODULE@VERSION PACKAGE: for modules that `go install` refuses because of replace directives.
go_source() {
	local name="$1" module="$2" package="$3" stamp
	stamp="$cache/stamps/$(echo "$name $module" | tr '/ ' '__')"
	[ -e "$stamp" ] && [ -x "$bin/$name" ] && return 0
	echo "building $module $package" >&2
	local dir tmp
	dir="$(cd / && go mod download -json "$module" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')"
	tmp="$(mktemp -d)"
	cp -r "$dir" "$tmp/src" && chmod -R u+w "$tmp/src"
	(cd "$tmp/src" && CGO_ENABLED=0 go build -mod=mod -trimpath -o "$bin/$name" "$package")
	rm -rf "$tmp"
	touch "$stamp"
}

go_program conformance github.com/opencontainers/distribution-spec/conformance@v0.0.0-20260831232431-97274622c111
go_program crane github.com/google/go-containerregistry/cmd/crane@v0.22.1
go_program versitygw github.com/versity/versitygw/cmd/versitygw@v1.8.0
go_program oras oras.land/oras/cmd/oras@v1.3.6
go_program regctl github.com/regclient/regclient/cmd/regctl@v0.11.7
go_source crictl sigs.k8s.io/cri-tools@v1.30.0 ./cmd/crictl
go_program minio github.com/minio/minio@v0.0.0-20260212201848-7aac2a2c5b7c
go_program registry github.com/distribution/distribution/v3/cmd/registry@v3.1.2
go_program toxiproxy github.com/Shopify/toxiproxy/v2/cmd/server@v2.5.0
go_program cosign github.com/sigstore/cosign/v3/cmd/cosign@v3.1.3
go_program helm helm.sh/helm/v4/cmd/helm@v4.3.1
