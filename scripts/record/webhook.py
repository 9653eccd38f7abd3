"""The verifying webhook of cluster prod-eu: a program of its own, so that the story can end it and let admission fail.

usage: webhook.py PORT CERTIFICATE KEY REGISTRY_ADDRESS

/verify denies an image of our registry that carries no signature at all (it asks the registry; whose signature it is,
is not its business), /warn only warns of it, /pin appends the digest that a tag has now. Images of other registries
pass: the cluster's admission policy looks at those.
"""

import base64
import json
import ssl
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cosign_matrix import HOST, Registry
from signing import tag_of


def images(spec: dict[str, Any]) -> list[tuple[str, str]]:
    """(JSON pointer, image) of every container."""
    return [
        (f"/spec/{kind}/{position}/image", container["image"])
        for kind in ("initContainers", "containers", "ephemeralContainers")
        for position, container in enumerate(spec.get(kind) or [])
    ]


def locate(registry: Registry, image: str) -> tuple[str, str] | None:
    """Repository and digest of an image of our registry; None for any other, or when it is not there."""
    if not image.startswith(f"{HOST}/"):
        return None
    name, _, digest = image.removeprefix(f"{HOST}/").partition("@")
    repository, _, tag = name.partition(":")
    found = registry.digest(repository, digest or tag or "latest")
    return (repository, found) if found else None


def unsigned(registry: Registry, spec: dict[str, Any]) -> list[str]:
    bad = []
    for _, image in images(spec):
        if not image.startswith(f"{HOST}/"):
            continue
        found = locate(registry, image)
        if found is None or not any(registry.digest(found[0], tag_of(found[1], suffix)) for suffix in (".sig", "")):
            bad.append(image)
    return bad


def review(registry: Registry, path: str, request: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = {"uid": request["uid"], "allowed": True}
    spec = request["object"]["spec"]
    if path == "/pin":
        patch = [
            {"op": "replace", "path": pointer, "value": f"{image}@{found[1]}"}
            for pointer, image in images(spec)
            if "@" not in image and (found := locate(registry, image))
        ]
        if patch:
            answer |= {"patchType": "JSONPatch", "patch": base64.b64encode(json.dumps(patch).encode()).decode()}
        return answer
    bad = [f"{image}: no signatures found" for image in unsigned(registry, spec)]
    if bad and path == "/verify":
        message = "image verification failed: " + "; ".join(bad)
        answer |= {"allowed": False, "status": {"code": 403, "reason": "Forbidden", "message": message}}
    elif bad:
        answer["warnings"] = bad
    return answer | {"auditAnnotations": {"result": "unsigned" if bad else "signed"}}


def handler(registry: Registry) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            response = review(registry, self.path.partition("?")[0], body["request"])
            data = json.dumps(
                {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}
            ).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    return Handler


def main() -> None:
    port, certificate, key, address = sys.argv[1:]
    server = ThreadingHTTPServer(("127.0.0.1", int(port)), handler(Registry(address)))
    server.daemon_threads = True
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
