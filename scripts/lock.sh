#!/usr/bin/env bash
# Rewrites requirements/*.txt from pyproject.toml: exact versions and hashes of every file, for every supported Python and
# platform at once. Needs the network and a package index (the one pip and uv are configured for; no address is written down).
#
#   scripts/lock.sh              keep the versions that are locked, add and remove what pyproject.toml asks for
#   scripts/lock.sh --upgrade    newest versions that pyproject.toml allows (or: --upgrade-package NAME)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

tool="${XDG_CACHE_HOME:-$HOME/.cache}/revet-lock"
if [ ! -x "$tool/bin/uv" ]; then
    "$(scripts/find-python.sh)" -m venv "$tool"
    "$tool/bin/python" -m pip install --quiet uv
fi

compile() { # OUTPUT [--extra NAME]...
    local output="$1"
    shift
    "$tool/bin/uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes \
        --no-emit-index-url --no-emit-find-links --no-header "${upgrade[@]}" "$@" --output-file "$output"
}

upgrade=("$@")
compile requirements/dev.txt pyproject.toml --extra cluster --extra slack --extra dev --group build
# Subsets of the same versions, so that `make demo` and `make test` can share one environment in any order, and the image
# (cluster.txt) runs what was tested.
compile requirements/run.txt pyproject.toml --constraint requirements/dev.txt
compile requirements/cluster.txt pyproject.toml --extra cluster --extra slack --constraint requirements/dev.txt
compile requirements/build.txt --group build --constraint requirements/dev.txt
