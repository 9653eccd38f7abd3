"""A kubeconfig is read strictly: what would ask the wrong server, or as nobody, is refused; no secret is repeated."""

from base64 import b64encode

import pytest
import yaml

from streams.collectors.kubeconfig import MAX_CHARACTERS, Secret, read_credential, read_kubeconfig
from verifier.errors import InputError

TOKEN = "eyJ-a-secret-token"


def config(cluster: dict | None = None, user: dict | None = None, current: str = "here", **whole: object) -> str:
    return yaml.safe_dump(
        {
            "kind": "Config",
            "current-context": current,
            "contexts": [
                {"name": "here", "context": {"cluster": "c", "user": "u"}},
                {"name": "other", "context": {"cluster": "c2", "user": "u"}},
            ],
            "clusters": [
                {"name": "c", "cluster": cluster or {"server": "https://203.0.113.7:6443/"}},
                {"name": "c2", "cluster": {"server": "https://203.0.113.8"}},
            ],
            "users": [{"name": "u", "user": user or {}}],
            **whole,
        }
    )


def test_the_current_context_and_a_named_one():
    here = read_kubeconfig(config(user={"token": TOKEN}), "k")
    assert (here.context, here.server, here.user.token) == ("here", "https://203.0.113.7:6443", Secret(TOKEN))
    assert read_kubeconfig(config(), "k", "other").server == "https://203.0.113.8"


def test_data_wins_over_files():
    pem = b64encode(b"PEM").decode()
    access = read_kubeconfig(
        config(
            {"server": "https://h", "certificate-authority-data": pem, "certificate-authority": "ca.crt"},
            {"client-certificate-data": pem, "client-certificate": "c", "client-key-data": pem, "client-key": "k"},
        ),
        "k",
    )
    assert (access.authority, access.authority_file) == ("PEM", "")
    login = access.user
    assert (login.certificate, login.certificate_file, login.key, login.key_file) == ("PEM", "", Secret("PEM"), "")


def test_an_exec_command_is_read_whole():
    user = {
        "exec": {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": "aws",
            "args": ["eks", "get-token"],
            "env": [{"name": "AWS_PROFILE", "value": "prod"}],
            "provideClusterInfo": True,
            "interactiveMode": "Never",
        }
    }
    found = read_kubeconfig(config(user=user), "k").user.exec
    assert found is not None
    assert (found.command, found.args, found.env, found.cluster_info) == (
        "aws",
        ("eks", "get-token"),
        (("AWS_PROFILE", "prod"),),
        True,
    )


def test_secrets_print_nothing():
    access = read_kubeconfig(config(user={"token": TOKEN}), "k")
    assert TOKEN not in f"{access} {access!r} {access.user.token}"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not a kubeconfig"),
        ("[]", "not a kubeconfig"),
        ("kind: Pod", "not a kubeconfig"),
        ("a: [", "no YAML"),
        ("&a [*a]", "not a kubeconfig"),
        ("a: &a 1\nb: *a", "not a kubeconfig"),
        (config(current=""), "no current-context"),
        (config(current="elsewhere"), "no context named 'elsewhere'"),
        (config(clusters=[]), "no cluster named 'c'"),
        (config(users=[]), "no user named 'u'"),
        (config(contexts="x"), "expected a list"),
        (config({"server": ""}), "no server"),
        (config({"server": "ftp://h"}), "no server"),
        (config({"server": "https://user:pw@h"}), "no server"),
        (config({"server": ["https://h"]}), "expected text"),
        (config({"server": "https://h", "proxy-url": "http://p"}), "proxy-url is not supported"),
        (config({"server": "https://h", "certificate-authority-data": "*"}), "expected PEM in base64"),
        (config(user={"auth-provider": {"name": "gcp"}}), "auth-provider was removed"),
        (config(user={"username": "admin", "password": TOKEN}), "username was removed"),
        (config(user={"exec": {"apiVersion": "client.authentication.k8s.io/v1alpha1", "command": "x"}}), "apiVersion"),
        (config(user={"exec": {"apiVersion": "client.authentication.k8s.io/v1"}}), "names no command"),
        (config(user={"exec": "x"}), "expected members"),
        (" " * (MAX_CHARACTERS + 1), "the limit is"),
    ],
)
def test_what_is_refused(text, says):
    with pytest.raises(InputError, match=says) as caught:
        read_kubeconfig(text, "config")
    assert TOKEN not in str(caught.value)
    assert str(caught.value).startswith("config:")


def test_a_bomb_of_nesting_is_an_error_and_no_crash():
    with pytest.raises(InputError, match="not a kubeconfig"):
        read_kubeconfig("[" * 100_000, "config")


# ---------------------------------------------------------------------------------------------------------- credential


def test_a_credential():
    found = read_credential(b'{"kind":"ExecCredential","status":{"token":"t","expirationTimestamp":"x"}}', "aws")
    assert (found.token, found.certificate, found.key) == (Secret("t"), "", None)
    pair = b'{"status":{"clientCertificateData":"C","clientKeyData":"K"}}'
    assert read_credential(pair, "aws") == (None, "C", Secret("K"), None)
    ends = b'{"status":{"token":"t","expirationTimestamp":"2026-11-21T13:31:20Z"}}'
    assert read_credential(ends, "aws").expires == 1_795_267_880_000_000


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"secret-thing",
        b"[]",
        b'{"status":{}}',
        b'{"status":{"clientCertificateData":"C"}}',
        b'{"status":{"token":5}}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_credential_is_not_repeated(data):
    with pytest.raises(InputError, match=r"^aws ") as caught:
        read_credential(data, "aws")
    assert "secret-thing" not in str(caught.value)
