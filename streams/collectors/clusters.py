"""Where a watched cluster is and how to ask it: a kubeconfig read anew each time, or the credentials of this pod."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from streams.collectors.apiserver import Find
from streams.collectors.kubeconfig import Access, Login, read_kubeconfig
from verifier.errors import InputError

SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where a kubelet puts a pod's token and CA, and renews them (Kubernetes: projected service account tokens)."""

TOKEN: Final = SERVICE_ACCOUNT / "token"


def finder(kubeconfig: Path | None, context: str = "", setting: str = "pods.clusters") -> Find:
    """Reads an access whenever it is called. `kubeconfig` None: the cluster this runs in. `setting`: what names it."""

    def find() -> tuple[Access, Path]:
        if kubeconfig is None:
            return in_cluster(os.environ, SERVICE_ACCOUNT), SERVICE_ACCOUNT
        try:
            text = kubeconfig.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", "") or "not UTF-8 text"
            raise InputError(f"{kubeconfig}: {reason}; it is named by {setting}") from None
        return read_kubeconfig(text, str(kubeconfig), context), kubeconfig.parent

    return find


def in_cluster(environ: Mapping[str, str], folder: Path) -> Access:
    """The access of a pod with a service account.

    Raises:
        InputError: this is no pod, or it has no token.
    """
    host, port = environ.get("KUBERNETES_SERVICE_HOST", ""), environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host or not (folder / TOKEN.name).exists():
        raise InputError("in-cluster: this does not run in a pod with a service account; name a kubeconfig instead")
    shown = f"[{host}]" if ":" in host else host
    login = Login(token_file=TOKEN.name)
    return Access("in-cluster", f"https://{shown}:{port}", login, authority_file="ca.crt")
