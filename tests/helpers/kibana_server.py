"""A Kibana as far as its published APIs go that the installer uses: what it refuses, it refuses here too.

    kibana = FakeKibana(version="9.5.0", password="secret")
    kibana.answer("PUT", "/s/revet/api/dashboards/x", headers, body)       (status, body), without a socket
    with serving(kibana) as url: ...                                       the same over HTTP, on loopback

Held by it: `kbn-xsrf` on writes (400), credentials (401), spaces that have to exist, strict bodies of dashboards (400),
201 for made and 200 for replaced, data views that need `override`, saved objects whose references have to be there, a
rule that is made once (409), versions. `faults` are answers to give instead, in turn.
"""

import base64
import copy
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.helpers.kibana_contract import violations

Json = dict[str, Any]
Reply = tuple[int, object]


class Refused(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.reply: Reply = (status, {"statusCode": status, "error": "refused", "message": message})


class FakeKibana:
    def __init__(self, version: str = "9.5.0", password: str = "", *, rules: bool = True, roles: bool = True) -> None:
        self.version, self.password, self.rules, self.roles = version, password, rules, roles
        self.spaces: dict[str, Json] = {"default": {"id": "default"}}
        self.kept: dict[str, dict[str, dict[str, Json]]] = {}
        """Space -> kind -> id -> object."""
        self.role: dict[str, Json] = {}
        self.faults: list[tuple[str, Reply]] = []
        """("PUT /s/revet/api/dashboards", reply): given to the first request that begins so, then forgotten."""
        self.warn = False
        """Leave a panel out of answers, and say so, as a Kibana does that does not know its type."""
        self.requests: list[tuple[str, str]] = []

    @property
    def writes(self) -> list[tuple[str, str]]:
        return [(m, p) for m, p in self.requests if m in ("PUT", "DELETE") or (m == "POST" and "_export" not in p)]

    def of(self, kind: str, space: str = "revet") -> dict[str, Json]:
        return self.kept.setdefault(space, {}).setdefault(kind, {})

    def answer(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Reply:
        self.requests.append((method, path))
        for number, (beginning, reply) in enumerate(self.faults):
            if f"{method} {path}".startswith(beginning):
                del self.faults[number]
                return reply
        try:
            return self._answered(method, path, {name.lower(): value for name, value in headers.items()}, body)
        except Refused as refused:
            return refused.reply

    def _answered(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Reply:
        if self.password:
            wanted = "Basic " + base64.b64encode(f"installer:{self.password}".encode()).decode()
            if headers.get("authorization") != wanted:
                raise Refused(401, "[security_exception]: unable to authenticate user for REST request")
        if method != "GET" and "kbn-xsrf" not in headers:
            raise Refused(400, "Request must contain a kbn-xsrf header.")
        parts = urlsplit(path)
        found = re.fullmatch(r"(?:/s/(?P<space>[^/]+))?(?P<rest>/api/.*)", parts.path)
        if found is None:
            raise Refused(404, "Not Found")
        space, rest = found["space"] or "default", found["rest"]
        if space not in self.spaces:
            raise Refused(404, "Not Found")
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        for pattern, handler in _ROUTES.items():
            matched = re.fullmatch(pattern, f"{method} {rest}")
            if matched is not None:
                return handler(self, space, matched.groupdict(), query, _parsed(headers, body))
        raise Refused(404, "Not Found")

    # ------------------------------------------------------------------------------------------------- the routes

    def status(self, *_: object) -> Reply:
        return 200, {
            "name": "kibana",
            "version": {"number": self.version},
            "status": {"overall": {"level": "available"}},
        }

    def get_space(self, _space: str, named: Json, *_: object) -> Reply:
        if named["id"] not in self.spaces:
            raise Refused(404, "Not Found")
        return 200, self.spaces[named["id"]]

    def make_space(self, _space: str, _named: Json, _query: Json, body: Json) -> Reply:
        if body["id"] in self.spaces:
            raise Refused(409, f"A space with the identifier {body['id']} already exists.")
        if set(body) - {"id", "name", "description", "color", "initials", "disabledFeatures", "imageUrl", "solution"}:
            raise Refused(400, "definition for this key is missing")
        self.spaces[body["id"]] = body
        return 200, body

    def get_view(self, space: str, named: Json, *_: object) -> Reply:
        return 200, {"data_view": self._there("view", space, named["id"], "data-view")}

    def put_view(self, space: str, _named: Json, _query: Json, body: Json) -> Reply:
        view = body["data_view"]
        if view["id"] in self.of("view", space) and not body.get("override"):
            raise Refused(400, f"Duplicate data view: {view['title']}")
        self.of("view", space)[view["id"]] = view | {"version": "WzEsMV0=", "sourceFilters": [], "fieldFormats": {}}
        return 200, {"data_view": view}

    def get_dashboard(self, space: str, named: Json, *_: object) -> Reply:
        data = self._there("dashboard", space, named["id"], "dashboard")
        body: Json = {
            "id": named["id"],
            "data": _with_defaults(data),
            "meta": {"managed": False, "version": "WzEsMV0="},
        }
        if self.warn:
            body["data"]["panels"] = body["data"]["panels"][1:]
            body["warnings"] = [{"type": "dropped_panel", "message": "Panel type is not supported", "panel_type": "x"}]
        return 200, body

    def put_dashboard(self, space: str, named: Json, _query: Json, body: Json) -> Reply:
        wrong = violations(body)
        if wrong:
            raise Refused(400, f"[request body]: {wrong[0]}")
        made = named["id"] not in self.of("dashboard", space)
        self.of("dashboard", space)[named["id"]] = body
        return (201 if made else 200), {"id": named["id"], "data": _with_defaults(body), "meta": {}}

    def import_objects(self, space: str, _named: Json, query: Json, body: str) -> Reply:
        errors = []
        for one in map(json.loads, filter(None, body.splitlines())):
            missing = [r for r in one["references"] if r["id"] not in self.of("view", space)]
            if missing:
                errors.append({"id": one["id"], "error": {"type": "missing_references", "references": missing}})
            elif one["id"] in self.of(one["type"], space) and query.get("overwrite") != "true":
                errors.append({"id": one["id"], "error": {"type": "conflict"}})
            else:
                self.of(one["type"], space)[one["id"]] = one
        count = len(body.splitlines()) - len(errors)
        return 200, {"success": not errors, "successCount": count, **({"errors": errors} if errors else {})}

    def export_objects(self, space: str, _named: Json, _query: Json, body: Json) -> Reply:
        wanted = [(one["type"], one["id"]) for one in body["objects"]]
        absent = [id_ for kind, id_ in wanted if id_ not in self.of(kind, space)]
        if absent:
            raise Refused(400, "Error fetching objects to export")
        return 200, "\n".join(json.dumps(self.of(kind, space)[id_] | {"managed": False}) for kind, id_ in wanted)

    def get_rule(self, space: str, _named: Json, query: Json, _body: object) -> Reply:
        self._detection()
        if query["rule_id"] not in self.of("rule", space):
            return 404, {"message": f'rule_id: "{query["rule_id"]}" not found', "status_code": 404}
        return 200, self.of("rule", space)[query["rule_id"]]

    def make_rule(self, space: str, _named: Json, _query: Json, body: Json) -> Reply:
        self._detection()
        if body["rule_id"] in self.of("rule", space):
            raise Refused(409, f'rule_id: "{body["rule_id"]}" already exists')
        return self._rule(space, body)

    def change_rule(self, space: str, _named: Json, _query: Json, body: Json) -> Reply:
        self._detection()
        if body["rule_id"] not in self.of("rule", space):
            raise Refused(404, f'rule_id: "{body["rule_id"]}" not found')
        return self._rule(space, body)

    def _rule(self, space: str, body: Json) -> Reply:
        needed = {"rule_id", "name", "description", "type", "query", "severity", "risk_score", "language", "index"}
        if (
            needed - set(body)
            or body["type"] != "query"
            or body["severity"] not in ("low", "medium", "high", "critical")
        ):
            raise Refused(400, f"[request body]: {sorted(needed - set(body))}")
        defaults = {
            "actions": [],
            "exceptions_list": [],
            "version": 1,
            "immutable": False,
            "author": [],
            "references": [],
        }
        self.of("rule", space)[body["rule_id"]] = defaults | body
        return 200, self.of("rule", space)[body["rule_id"]]

    def _detection(self) -> None:
        if not self.rules:
            raise Refused(403, "API [GET /api/detection_engine/rules] is unauthorized for user")

    def get_role(self, _space: str, named: Json, *_: object) -> Reply:
        if not self.roles:
            raise Refused(403, "unauthorized")
        if named["id"] not in self.role:
            raise Refused(404, "Not Found")
        return 200, {
            "name": named["id"],
            "metadata": {},
            "transient_metadata": {"enabled": True},
            **self.role[named["id"]],
        }

    def put_role(self, _space: str, named: Json, _query: Json, body: Json) -> Reply:
        if set(body) - {"description", "elasticsearch", "kibana", "metadata"}:
            raise Refused(400, "[request body]: definition for this key is missing")
        if any(one["spaces"] != ["*"] and set(one["spaces"]) - set(self.spaces) for one in body["kibana"]):
            raise Refused(400, "a space that is not there")
        self.role[named["id"]] = body
        return 204, None

    def _there(self, kind: str, space: str, id_: str, called: str) -> Json:
        if id_ not in self.of(kind, space):
            raise Refused(404, f"Saved object [{called}/{id_}] not found")
        return self.of(kind, space)[id_]


_ID = "(?P<id>[^/]+)"
_ROUTES: dict[str, Any] = {
    "GET /api/status": FakeKibana.status,
    f"GET /api/spaces/space/{_ID}": FakeKibana.get_space,
    "POST /api/spaces/space": FakeKibana.make_space,
    f"GET /api/data_views/data_view/{_ID}": FakeKibana.get_view,
    "POST /api/data_views/data_view": FakeKibana.put_view,
    f"GET /api/dashboards/{_ID}": FakeKibana.get_dashboard,
    f"PUT /api/dashboards/{_ID}": FakeKibana.put_dashboard,
    "POST /api/saved_objects/_import": FakeKibana.import_objects,
    "POST /api/saved_objects/_export": FakeKibana.export_objects,
    "GET /api/detection_engine/rules": FakeKibana.get_rule,
    "POST /api/detection_engine/rules": FakeKibana.make_rule,
    "PUT /api/detection_engine/rules": FakeKibana.change_rule,
    f"GET /api/security/role/{_ID}": FakeKibana.get_role,
    f"PUT /api/security/role/{_ID}": FakeKibana.put_role,
}


def _with_defaults(data: Json) -> Json:
    """As Kibana gives it back: with what it fills in."""
    full = copy.deepcopy(data)
    full["options"] = {
        "hide_panel_titles": False,
        "auto_apply_filters": True,
        "sync_tooltips": False,
        **full["options"],
    }
    for block in full["panels"]:
        for panel in block.get("panels", [block]):
            config = panel["config"]
            if panel["type"] == "vis":
                config |= {
                    "sampling": 1,
                    **({} if config["type"] == "xy" else {"ignore_global_filters": False} | config),
                }
                for number, one in enumerate(config.get("metrics", ())):
                    filled = {"empty_as_null": False, "filter": {"expression": "", "language": "kql"}}
                    config["metrics"][number] = filled | one
    return full


def _parsed(headers: Mapping[str, str], body: bytes) -> Any:
    kind = headers.get("content-type", "")
    if kind.startswith("multipart/form-data"):
        message = message_from_bytes(f"content-type: {kind}\r\n\r\n".encode() + body, policy=policy.HTTP)
        (part,) = message.iter_parts()
        if not (part.get_filename() or "").endswith(".ndjson"):
            raise Refused(415, "Invalid file extension")
        content = part.get_content()
        return content if isinstance(content, str) else content.decode()
    if not body:
        return {}
    try:
        return json.loads(body)
    except ValueError:
        raise Refused(400, "Invalid request payload JSON format") from None


# ---------------------------------------------------------------------------------------------------------- over HTTP


@contextmanager
def serving(kibana: FakeKibana) -> Iterator[str]:
    """It listens on loopback."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _handle(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            status, reply = kibana.answer(self.command, self.path, dict(self.headers), body)
            data = b"" if reply is None else reply.encode() if isinstance(reply, str) else json.dumps(reply).encode()
            self.send_response(status)
            if status == 302:
                self.send_header("location", "http://127.0.0.1:9/elsewhere")
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_PUT = do_POST = do_DELETE = _handle  # noqa: N815  # names of the base class

        def log_message(self, *args: object) -> None:
            """Nothing on the terminal."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
