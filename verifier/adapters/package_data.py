"""Files that come with the package, wherever it is installed (also inside a zip file).

    public_good_root()          text of the shipped trusted root of Sigstore's public-good instance
    public_good_tuf_root()      the TUF root to fetch a newer one with

A file that is not the one that was reviewed is refused: an installation that was tampered with, or put together by
hand, must not decide what is believed.
"""

from __future__ import annotations

import hashlib
from importlib.resources import files

from verifier.errors import PlaceRefused
from verifier.trust.publicgood import ROOT_FILE, SHA256, TUF_ROOT_FILE


def public_good_root() -> str:
    """Sigstore's public-good `trusted_root.json` as it was when this version was made.

    Raises:
        PlaceRefused: `root-refused`, the installed file is missing or is another one.
    """
    return _read(ROOT_FILE).decode()


def public_good_tuf_root() -> bytes:
    """The TUF root metadata of the public-good repository from which a client starts.

    Raises:
        PlaceRefused: `root-refused`, the installed file is missing or is another one.
    """
    return _read(TUF_ROOT_FILE)


def _read(name: str) -> bytes:
    try:
        data = files("verifier.trust").joinpath(name).read_bytes()
    except OSError as error:
        raise PlaceRefused("root-refused", f"{name} is not part of this installation; install revet again") from error
    if hashlib.sha256(data).hexdigest() != SHA256[name]:
        raise PlaceRefused("root-refused", f"the installed {name} is not the one of this version; install revet again")
    return data
