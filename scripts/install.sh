#!/bin/sh
# Makes the virtual environment (VENV, default .venv) ready and leaves a stamp, so that the next call costs nothing.
#
#   scripts/install.sh run    what `revet` needs to run
#   scripts/install.sh dev    all of that, and what tests, lint and the clustered mode need
#
# Every file is pinned by version and hash. Where packages come from is pip's configuration alone; no address is written here.
set -eu
cd "$(dirname "$0")/.."

set_name="${1:?which set: run or dev}"
venv="${VENV:-.venv}"
python="$venv/bin/python"

stamp_of() { # SET: what an up-to-date stamp of that set holds
    pwd -P
    cat pyproject.toml requirements/build.txt "requirements/$1.txt" | cksum
}

current() { # SET
    [ -f "$venv/.revet-$1" ] && [ "$(stamp_of "$1")" = "$(cat "$venv/.revet-$1")" ]
}

usable() { # the interpreter still runs (not a dangling link), is a supported one, and the checkout has not been moved
    "$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null || return 1
    for stamp in "$venv"/.revet-*; do
        [ ! -f "$stamp" ] || [ "$(head -n 1 "$stamp")" = "$(pwd -P)" ] || return 1
    done
}

if usable; then
    if current "$set_name" || { [ "$set_name" = run ] && current dev; }; then
        exit 0
    fi
else
    base="$(scripts/find-python.sh)"
    echo "Creating $venv with $base" >&2
    "$base" -m venv --clear "$venv"
fi

echo "Installing the $set_name set into $venv (pinned and hash-checked; only when something changed)" >&2
rm -f "$venv"/.revet-*
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1
if [ "$set_name" = run ]; then
    "$python" -m pip install --quiet --require-hashes -r requirements/run.txt -r requirements/build.txt
else
    "$python" -m pip install --quiet --require-hashes -r "requirements/$set_name.txt"
fi
"$python" -m pip install --quiet --no-deps --no-index --no-build-isolation --editable .
stamp_of "$set_name" >"$venv/.revet-$set_name"
