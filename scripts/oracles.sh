#!/usr/bin/env bash
# Builds the real tools that tests compare revet with, and that recordings are made with. The product never calls them.
#
#   scripts/oracles.sh                  crane, registry, cosign, cosign2, notation, compose-check, axe: what `make test` uses
#   scripts/oracles.sh kube             etcd, kube-apiserver, kubectl: what scripts/record and the tests marked kube use
#   scripts/oracles.sh sigstore         timestamp-server, fulcio, rekor-posix: a private keyless stack
#   scripts/oracles.sh policy           tester, kubectl-kyverno, syft: other verifiers' answers, asked by hand
#   scripts/oracles.sh NAME...          single ones
#   scripts/oracles.sh --list           what is there, and what would be built
#
# Results go to REVET_ORACLES (default ~/.cache/revet-oracles) and are built again when the version below changes.
# Modules come from wherever `go` is configured to find them, packages from wherever `npm` is. Without the one or the other
# what needs it is skipped, with a message and exit 0; with CI=true that is a failure. Cold, on two cores: crane and registry
# seconds, cosign and cosign2 about six minutes each, kube about ten, notation half a minute, sigstore five, policy almost
# half an hour.
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
cache="${REVET_ORACLES:-${HOME}/.cache/revet-oracles}"
default=(crane registry cosign cosign2 notation compose-check axe)
kube=(etcd kube-apiserver kubectl)
sigstore=(timestamp-server fulcio rekor-posix)
policy=(tester kubectl-kyverno syft)

# name | how | package | version. `install`: go install. `module`: a module of our own, for what go install refuses
# (replace directives, or requirements that only a main module can satisfy). `kubernetes`: the same with its staging replaces.
# `program`: scripts/oracles.d/NAME/main.go, a few lines of ours around that module. `npm`: a file of a package, whose whole
# archive has to have the integrity named behind it.
table() {
    cat <<'TABLE'
crane           install     github.com/google/go-containerregistry/cmd/crane        v0.22.1
registry        install     github.com/google/go-containerregistry/cmd/registry     v0.22.1
cosign          install     github.com/sigstore/cosign/v3/cmd/cosign                v3.1.3
cosign2         install     github.com/sigstore/cosign/v2/cmd/cosign                v2.6.5
notation        module      github.com/notaryproject/notation/cmd/notation          v1.3.2
compose-check   program     github.com/compose-spec/compose-go/v2                   v2.16.2
etcd            module      go.etcd.io/etcd/server/v3                               v3.6.15
kube-apiserver  kubernetes  k8s.io/kubernetes/cmd/kube-apiserver                    v1.36.3
kubectl         kubernetes  k8s.io/kubernetes/cmd/kubectl                           v1.36.3
timestamp-server install    github.com/sigstore/timestamp-authority/v2/cmd/timestamp-server v2.1.3
fulcio          install     github.com/sigstore/fulcio                              v1.8.8
rekor-posix     install     github.com/sigstore/rekor-tiles/v2/cmd/rekor-server/posix v2.3.0
tester          module      github.com/sigstore/policy-controller/cmd/tester        v0.15.1
kubectl-kyverno module      github.com/kyverno/kyverno/cmd/cli/kubectl-kyverno      v1.19.1
syft            install     github.com/anchore/syft/cmd/syft                        v1.52.0
axe             npm         axe-core/axe.min.js                                     4.14.1 sha512-FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ==
TABLE
}

# What a tool's own go.mod replaces, and a module that only requires it has to say again.
replaces() { # NAME
    case "$1" in
    tester)
        local keychain=github.com/google/go-containerregistry/pkg/authn version=v0.0.0-20250225234217-098045d5e61f
        echo github.com/golang/glog=github.com/jdolitsky/glog@v0.0.0-20220729172235-78744e90d087
        echo k8s.io/code-generator=k8s.io/code-generator@v0.29.4
        echo "$keychain/k8schain=$keychain/k8schain@$version"
        echo "$keychain/kubernetes=$keychain/kubernetes@$version"
        ;;
    kubectl-kyverno)
        echo k8s.io/pod-security-admission=github.com/kyverno/pod-security-admission@v0.0.0-20251031094455-46f20778634f
        ;;
    esac
}

field() { table | awk -v name="$1" -v column="$2" '$1 == name { print $column }'; }

# The stamp beside a binary tells what it was built from. A binary without one was put there by hand and is kept.
current() { # NAME
    local source="$here/oracles.d/$1/main.go"
    [ -x "$cache/$1" ] && [ ! "$source" -nt "$cache/$1" ] && { [ ! -f "$cache/$1.version" ] || [ "$(cat "$cache/$1.version")" = "$(field "$1" 4)" ]; }
}

flags=(-trimpath)
ldflags="-s -w"

build_install() { # PACKAGE VERSION OUTPUT
    GOBIN="$work" go install "${flags[@]}" -ldflags="$ldflags" "$1@$2"
    mv "$work/$(basename "$1")" "$3"
}

build_module() { # PACKAGE VERSION OUTPUT
    go mod init revet.test/oracle
    local replacement
    for replacement in $(replaces "$name"); do
        go mod edit -replace="$replacement"
    done
    go get -tool "$1@$2"
    go build -mod=mod "${flags[@]}" -ldflags="$ldflags" -o "$3" "$1"
}

build_program() { # MODULE VERSION OUTPUT
    cp "$here/oracles.d/$name/main.go" .
    go mod init revet.test/oracle
    go get "$1@$2"
    go build -mod=mod "${flags[@]}" -ldflags="$ldflags" -o "$3" .
}

build_npm() { # PACKAGE/FILE VERSION OUTPUT
    local package="${1%%/*}" file="${1#*/}" found
    npm pack --silent --ignore-scripts "$package@$2" >/dev/null
    found="sha512-$(openssl dgst -sha512 -binary "$package-$2.tgz" | base64 -w0)"
    [ "$found" = "$(field "$name" 5)" ] || { echo "oracles: $package@$2 is not what it was: $found" >&2; return 1; }
    tar -xzOf "$package-$2.tgz" "package/$file" >"$3"
    chmod +x "$3" # as everything here: that is how what is there is told
}

build_kubernetes() { # PACKAGE VERSION OUTPUT
    local staging="v0.${2#v1.}" gomod module number="${2#v}"
    go mod init revet.test/oracle
    go mod edit -require="k8s.io/kubernetes@$2"
    gomod="$(go mod download -json "k8s.io/kubernetes@$2" | sed -n 's/.*"GoMod": "\(.*\)".*/\1/p')"
    for module in $(awk '$1 ~ /^k8s\.io\// && $2 == "v0.0.0" { print $1 }' "$gomod"); do
        go mod edit -replace="$module=$module@$staging"
    done
    go get -tool "$1"
    local version=k8s.io/component-base/version
    ldflags="$ldflags -X $version.gitVersion=$2 -X $version.gitMajor=${number%%.*} -X $version.gitMinor=$(echo "$number" | cut -d. -f2)"
    go build -mod=mod "${flags[@]}" -ldflags="$ldflags" -o "$3" "$1"
}

build() ( # NAME; a subshell: its folder, directory and variables end with it
    name="$1"
    work="$(mktemp -d)"
    trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
    cd "$work"
    export CGO_ENABLED=0
    "build_$(field "$1" 2)" "$(field "$1" 3)" "$(field "$1" 4)" "$work/result"
    cp "$work/result" "$cache/.$1.new" # into place at once: never half a binary under the right name
    mv "$cache/.$1.new" "$cache/$1"
    field "$1" 4 >"$cache/$1.version"
)

list() {
    table | while read -r name _ package version _; do
        if current "$name"; then state="there"; else state="to build"; fi
        printf '%-15s %-9s %s@%s\n' "$name" "$state" "$package" "$version"
    done
}

names=()
for argument in "$@"; do
    case "$argument" in
        --list) list && exit 0 ;;
        kube) names+=("${kube[@]}") ;;
        sigstore) names+=("${sigstore[@]}") ;;
        policy) names+=("${policy[@]}") ;;
        *)
            [ -n "$(field "$argument" 1)" ] || { echo "oracles: unknown: $argument (see --list)" >&2; exit 2; }
            names+=("$argument")
            ;;
    esac
done
[ "${#names[@]}" -gt 0 ] || names=("${default[@]}")

wanted=()
for name in "${names[@]}"; do
    current "$name" || wanted+=("$name")
done
if [ "${#wanted[@]}" -eq 0 ]; then
    echo "oracles: ${names[*]}: there, in $cache"
    exit 0
fi
lacking=() buildable=()
for name in "${wanted[@]}"; do
    with=go
    [ "$(field "$name" 2)" != npm ] || with=npm
    if command -v "$with" >/dev/null; then buildable+=("$name"); else lacking+=("$name (no $with)"); fi
done
if [ "${#lacking[@]}" -gt 0 ]; then
    echo "oracles: skipped: ${lacking[*]}. Tests that need them will be skipped too." >&2
    [ "${CI:-}" != true ] || exit 1
fi

mkdir -p "$cache"
failed=()
for name in "${buildable[@]}"; do
    echo "oracles: building $name $(field "$name" 4)"
    # Not `build || ...` alone: bash switches `set -e` off inside a function called that way.
    set +e
    (set -e; build "$name")
    status=$?
    set -e
    [ "$status" -eq 0 ] || failed+=("$name")
done
if [ "${#failed[@]}" -gt 0 ]; then
    echo "oracles: not built: ${failed[*]}" >&2
    exit 1
fi
