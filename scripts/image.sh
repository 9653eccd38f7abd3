#!/bin/sh
# The contents of the image, in two steps; the Dockerfile and the test of the image run the same ones.
#
#   scripts/image.sh wheels FOLDER          what revet needs, as wheels: pinned, each file checked by its hash. Needs an index
#   scripts/image.sh tree FOLDER TARGET     TARGET = a virtual environment with these and revet. Touches no network
#   scripts/image.sh cached                 `wheels` into the user's cache unless it is there; prints the folder
#   scripts/image.sh where                  prints that folder
#
# The tree can be read-only: compiled modules are in it, and are not looked at again. There is no pip in it.
set -eu
cd "$(dirname "$0")/.."

python="${PYTHON:-python3}"
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 SOURCE_DATE_EPOCH=315532800 # archives know no earlier time

backend() { # WHEELS TARGET: a virtual environment that can build revet
    "$python" -m venv "$2"
    "$2/bin/python" -m pip install --quiet --no-index --no-deps "$1"/build/*.whl
}

wheels() { # FOLDER
    work="$(mktemp -d)"
    "$python" -m venv "$work/pip"
    "$work/pip/bin/python" -m pip download --quiet --require-hashes -r requirements/build.txt --dest "$1/build"
    backend "$1" "$work/backend"
    "$work/backend/bin/python" -m pip wheel --quiet --require-hashes --no-build-isolation --wheel-dir "$1" \
        -r requirements/cluster.txt
    rm -rf "$work"
}

tree() { # FOLDER TARGET
    work="$2.build" # named after the target: pip writes down where a package came from
    backend "$1" "$work/backend"
    pip="$work/backend/bin/python -m pip"
    $pip wheel --quiet --no-index --no-deps --no-build-isolation --wheel-dir "$work" .
    "$python" -m venv --without-pip "$2"
    $pip --python "$2/bin/python" install --quiet --no-index --no-deps --no-compile "$1"/*.whl "$work"/revet-*.whl
    "$2/bin/python" -m compileall -q --invalidation-mode unchecked-hash "$2/lib"
    rm -rf "$work"
}

where() {
    version="$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')"
    sum="$(cat requirements/cluster.txt requirements/build.txt | cksum | cut -d' ' -f1)"
    echo "${XDG_CACHE_HOME:-$HOME/.cache}/revet-wheels/$version-$sum"
}

cached() {
    folder="$(where)"
    if [ ! -d "$folder" ]; then
        mkdir -p "$(dirname "$folder")"
        part="$(mktemp -d "$folder.XXXXXX")"
        wheels "$part"
        mv "$part" "$folder"
    fi
    echo "$folder"
}

"$@"
