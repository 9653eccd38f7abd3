"""How an etcd and a kube-apiserver are started on this machine alone: for recordings and for tests. Pure.

    etcd_command(program, data, client=2379, peer=2380)
    apiserver_command(program, "http://127.0.0.1:2379", 6443, Files(ca, certificate, key, tokens, accounts), *more)

No controller manager, no scheduler, no kubelet: what they do is done by requests.
"""

from pathlib import Path
from typing import NamedTuple


class Files(NamedTuple):
    """Of an API server."""

    ca: Path
    """Who issued the certificates of clients."""
    certificate: Path
    key: Path
    tokens: Path
    """`TOKEN,USER,UID,"GROUPS"` in each line."""
    accounts: Path
    """Private key that signs the tokens of service accounts."""


def etcd_command(program: Path, data: Path, client: int, peer: int) -> list[str]:
    """`client`, `peer`: ports. Nothing is waited for to be on the disk."""
    here, others = f"http://127.0.0.1:{client}", f"http://127.0.0.1:{peer}"
    return [
        str(program),
        f"--data-dir={data}",
        f"--listen-client-urls={here}",
        f"--advertise-client-urls={here}",
        f"--listen-peer-urls={others}",
        f"--initial-advertise-peer-urls={others}",
        f"--initial-cluster=default={others}",
        "--unsafe-no-fsync",
        "--log-level=error",
    ]


def apiserver_command(program: Path, etcd: str, port: int, files: Files, *more: str) -> list[str]:
    """`more`: who is believed (`--authorization-mode=…`), audit, admission."""
    return [
        str(program),
        f"--etcd-servers={etcd}",
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        f"--secure-port={port}",
        "--endpoint-reconciler-type=none",
        "--service-cluster-ip-range=10.0.0.0/24",
        f"--client-ca-file={files.ca}",
        f"--tls-cert-file={files.certificate}",
        f"--tls-private-key-file={files.key}",
        f"--token-auth-file={files.tokens}",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={files.accounts}",
        f"--service-account-signing-key-file={files.accounts}",
        "--disable-admission-plugins=ServiceAccount",
        "--profiling=false",
        *more,
    ]
