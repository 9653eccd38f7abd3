"""The registry protocol as state machines without sockets (OCI distribution and image specifications).

`collect` says what to ask and what the answers mean; `http.exchange` says how one question is put over HTTP. Neither
opens anything: `verifier.adapters.registry` and `verifier.adapters.ocilayout` drive them, and tests do with a dict.
"""
