#!/bin/sh
# Make the recorded images, signatures and clusters again, with the real tools, into streams/demo_data (about 25 minutes).
#
#   REVET_ORACLES      folder with cosign, cosign2, crane, registry, etcd, kube-apiserver, kubectl (`make oracles`)
#   REVET_RECORD_DIR   where keys, certificates and databases go; keys that are there are used again
#   REVET_RECORD_PACE  1: about 25 minutes; 0: a rehearsal in about four, whose times lie close together
#   REVET_RECORD_RESULTS  where the results go instead
set -eu
cd "$(dirname "$0")"
export PYTHONDONTWRITEBYTECODE=1
exec "${PYTHON:-python3}" record.py
