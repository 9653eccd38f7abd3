#!/bin/sh
# Prints the path of a Python 3.11 - 3.13 that truly runs and can make virtual environments; exits 2 when there is none.
# REVET_PYTHON names one and ends the search. Version managers leave `python3.13` shims that only fail when called,
# and some distributions ship Python without `venv`, so each candidate is tried, not just looked up.
set -eu

probe='
import sys
assert (3, 11) <= sys.version_info[:2] <= (3, 13)
import ensurepip, sqlite3, ssl, venv
print(sys.executable)
'

for candidate in ${REVET_PYTHON:-python3.13 python3.12 python3.11 python3 python}; do
    if path="$("$candidate" -c "$probe" 2>/dev/null)"; then
        printf '%s\n' "$path"
        exit 0
    fi
done

if [ -n "${REVET_PYTHON:-}" ]; then
    echo "REVET_PYTHON=$REVET_PYTHON is not a Python 3.11 - 3.13 with venv, ssl and sqlite3." >&2
else
    echo "revet needs Python 3.11, 3.12 or 3.13 with venv, ssl and sqlite3, and none of these is one:" >&2
    echo "python3.13, python3.12, python3.11, python3, python (on PATH)." >&2
    echo "Debian and Ubuntu: apt install python3 python3-venv. Elsewhere: make REVET_PYTHON=/path/to/python ..." >&2
fi
exit 2
