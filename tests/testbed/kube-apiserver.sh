#!/usr/bin/env bash
# Builds a real kube-apiserver from Debian's source package into a cache outside the checkout, and installs etcd, and
# kubectl where there is none.
#
# Debian 12 ships etcd, and the complete Kubernetes tree as the source package `kubernetes`, but no server binary. The
# archive that this machine's apt already uses is asked for the source: its deb-src line is made for this run only.
# Root is needed for apt's packages alone. The first build takes some ten minutes; with a filled cache this is instant.
#
#   GPUDECK_TESTBED   the cache, default ${XDG_CACHE_HOME:-~/.cache}/gpudeck-testbed
#   GPUDECK_BUILD_JOBS   packages the Go compiler builds at once, default 2
set -euo pipefail

cache="${GPUDECK_TESTBED:-${XDG_CACHE_HOME:-$HOME/.cache}/gpudeck-testbed}"
jobs="${GPUDECK_BUILD_JOBS:-2}"
go_bin=/usr/lib/go-1.19/bin
recipe=3 # counted up when the server has to be built anew
packages=(golang-1.19-go etcd-server dpkg-dev make rsync
  golang-github-modern-go-reflect2-dev golang-github-modern-go-concurrent-dev)

say() { echo "testbed: $*"; }

usable() {
  [ "$(cat "$cache/kube-apiserver.recipe" 2>/dev/null)" = "$recipe" ] && "$cache/kube-apiserver" --version >/dev/null 2>&1
}

installed() { dpkg-query -W -f '${Status}' "$1" 2>/dev/null | grep -q 'install ok installed'; }

install_packages() {
  local missing=() package
  for package in "$@"; do installed "$package" || missing+=("$package"); done
  [ ${#missing[@]} -eq 0 ] && return
  say "installs the Debian packages ${missing[*]}"
  local sudo=()
  [ "$(id -u)" = 0 ] || sudo=(sudo)
  "${sudo[@]}" apt-get -o DPkg::Lock::Timeout=600 update -q
  # etcd is started by the tests alone: a service that starts at installation would hold its port.
  "${sudo[@]}" env RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive \
    apt-get -o DPkg::Lock::Timeout=600 install -y -q --no-install-recommends "${missing[@]}"
}

# The machine's own apt sources, asked for source packages, in a configuration that nothing else sees.
fetch_source() {
  local apt="$build/apt" file
  mkdir -p "$apt/parts" "$apt/lists/partial" "$apt/cache/archives/partial"
  : >"$apt/sources.list"
  for file in /etc/apt/sources.list.d/*.sources; do
    [ -e "$file" ] && sed 's/^Types:.*/Types: deb-src/' "$file" >"$apt/parts/$(basename "$file")"
  done
  for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
    [ -e "$file" ] && sed -n 's/^deb /deb-src /p' "$file" >>"$apt/sources.list"
  done
  local options=(-o "Dir::Etc::SourceList=$apt/sources.list" -o "Dir::Etc::SourceParts=$apt/parts"
    -o "Dir::State::Lists=$apt/lists" -o "Dir::Cache=$apt/cache" -o APT::Sandbox::User="")
  apt-get "${options[@]}" update -q
  (cd "$build" && apt-get "${options[@]}" source -q kubernetes)
}

build_server() {
  local tree
  tree="$(find "$build" -maxdepth 1 -type d -name 'kubernetes-*' | head -n 1)"
  if [ ! -d "$tree/cmd/kube-apiserver" ]; then
    say "this Debian's source package holds no cmd/kube-apiserver (Debian 12's does)" >&2
    exit 1
  fi
  # The vendored reflect2 1.0.1 crashes on Go 1.18 and later at the first custom resource; Debian's 1.0.2 does not.
  local reflect2=github.com/modern-go/reflect2
  rm -f "$tree/vendor/$reflect2"/*.go "$tree/vendor/$reflect2"/*.s
  find "/usr/share/gocode/src/$reflect2" -maxdepth 1 \( -name '*.go' -o -name '*.s' \) ! -name '*_test.go' \
    -exec cp -L '{}' "$tree/vendor/$reflect2/" ';'
  # The schema validators take an empty string, 0 and false for null there, because their zero values share an address.
  local validator zero='reflect.DeepEqual(reflect.Zero(reflect.TypeOf(data)), reflect.ValueOf(data))'
  for validator in github.com/go-openapi/validate k8s.io/kube-openapi/pkg/validation/validate; do
    sed -i "s/if data == nil || $zero {/if data == nil {/" "$tree/vendor/$validator/type.go"
    grep -q 'if data == nil {' "$tree/vendor/$validator/type.go"
  done
  mkdir -p "$tree/.go/src/k8s.io" "$build/tmp"
  ln -sfn ../../.. "$tree/.go/src/k8s.io/kubernetes"
  local environment=("GOPATH=$tree/.go" "PATH=$go_bin:$PATH" CGO_ENABLED=0 GOPROXY=off "GOFLAGS=-p=$jobs"
    "GOCACHE=$build/go-cache" "GOTMPDIR=$build/tmp" GO111MODULE=off)
  say "generates code"
  env "${environment[@]}" make -s -C "$tree" generated_files
  say "compiles kube-apiserver"
  env "${environment[@]}" make -s -C "$tree" WHAT=cmd/kube-apiserver
  install -m 0755 "$tree/_output/bin/kube-apiserver" "$cache/.kube-apiserver.new"
  mv "$cache/.kube-apiserver.new" "$cache/kube-apiserver"
  echo "$recipe" >"$cache/kube-apiserver.recipe"
}

command -v kubectl >/dev/null || install_packages kubernetes-client
if usable && installed etcd-server; then
  say "everything is there ($cache/kube-apiserver, etcd)"
  exit 0
fi
if usable; then
  install_packages etcd-server
  exit 0
fi
if [ ! -r /etc/debian_version ]; then
  say "builds kube-apiserver from Debian's source package, and this is no Debian: its tests will be skipped" >&2
  exit 1
fi
say "builds kube-apiserver into $cache: some ten minutes and 3 GB while it runs, 110 MB when it is done"
mkdir -p "$cache"
install_packages "${packages[@]}"
build="$(mktemp -d "$cache/build.XXXXXX")"
trap 'chmod -R u+w "$build" 2>/dev/null; rm -rf "$build"' EXIT
fetch_source
build_server
usable
say "kube-apiserver is built: $("$cache/kube-apiserver" --version)"
