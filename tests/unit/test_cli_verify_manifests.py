"""`revet verify -f`: every container of realistic manifests, each in its own scope."""

import json
from pathlib import Path

import pytest

from streams.cli.manifests import MAX_NESTING, ManifestDefaults, Manifests, read_manifests
from tests.helpers.command import LAYOUT, key, revet
from verifier.errors import InputError

HOST = "registry.example.com"
DEPLOYMENT = f"""\
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web, namespace: shop, labels: {{app: not-this-one}}}}
spec:
  replicas: 2
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata:
      labels: {{app: web, pod-template-hash: 7d4b9c6f5d}}
    spec:
      serviceAccountName: deployer
      initContainers:
        - {{name: migrate, image: "{HOST}/payments/migrate:7"}}
        - {{name: proxy, image: "{HOST}/platform/edge-proxy:1.8", restartPolicy: Always}}
      containers:
        - name: app
          image: {HOST}/payments/api:1.4.2
          env: [{{name: PASSWORD, value: hunter2}}]
          args: [--token=hunter2]
      volumes:
        - {{name: data, emptyDir: {{}}}}
        - {{name: model, image: {{reference: "{HOST}/inventory/scraper:0.3", pullPolicy: IfNotPresent}}}}
"""
CRON_JOB = f"""\
apiVersion: batch/v1
kind: CronJob
metadata: {{name: settle}}
spec:
  schedule: "*/5 * * * *"
  jobTemplate:
    spec:
      template:
        metadata: {{labels: {{app: settle}}}}
        spec:
          restartPolicy: Never
          containers: [{{name: settle, image: "{HOST}/payments/fx-rates:1.0"}}]
"""
POD = f"""\
apiVersion: v1
kind: Pod
metadata: {{name: debug, namespace: ops, labels: {{team: sre}}}}
spec:
  containers: [{{name: main, image: "{HOST}/payments/api:1.4.2"}}]
  ephemeralContainers: [{{name: shell, image: "{HOST}/platform/busybox:1.36", targetContainerName: main}}]
"""


def read(tmp_path: Path, text: str, defaults: ManifestDefaults | None = None) -> Manifests:
    (tmp_path / "m.yaml").write_text(text)
    return read_manifests([str(tmp_path / "m.yaml")], defaults)


def images(found: Manifests) -> list[str]:
    return [container.image.removeprefix(f"{HOST}/") for container in found.containers]


# ------------------------------------------------------------------------------------------------------- what is found


def test_every_kind_of_container_is_found_with_its_scope(tmp_path):
    found = read(tmp_path, DEPLOYMENT)
    assert [(c.kind, c.name) for c in found.containers] == [
        ("init", "migrate"),
        ("sidecar", "proxy"),
        ("main", "app"),
        ("image-volume", "model"),
    ]
    assert {(c.namespace, c.service_account, c.labels) for c in found.containers} == {
        ("shop", "deployer", (("app", "web"),))  # of the template, without what differs per rollout
    }
    assert found.containers[2].where == "shop/Deployment/web: app"
    assert found.containers[2].source.endswith("m.yaml:17")


def test_nothing_but_images_and_scope_is_turned_into_values(tmp_path):
    assert "hunter2" not in repr(read(tmp_path, DEPLOYMENT))


def test_ephemeral_containers_and_the_default_service_account(tmp_path):
    found = read(tmp_path, POD)
    assert [(c.kind, c.name, c.service_account) for c in found.containers] == [
        ("main", "main", "default"),
        ("ephemeral", "shell", "default"),
    ]


@pytest.mark.parametrize(
    "kind",
    ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController", "Job", "Rollout", "Service"],
)
def test_kinds_with_a_pod_template_in_the_usual_place(tmp_path, kind):
    """Also kinds nobody told us of: an Argo Rollout, a Knative Service."""
    assert len(read(tmp_path, DEPLOYMENT.replace("kind: Deployment", f"kind: {kind}")).containers) == 4


def test_a_pod_template(tmp_path):
    text = "kind: PodTemplate\nmetadata: {name: t}\ntemplate: {spec: {containers: [{name: a, image: x/y:1}]}}\n"
    assert images(read(tmp_path, text)) == ["x/y:1"]


def test_several_documents_lists_and_typed_lists(tmp_path):
    pods = json.dumps(
        {"kind": "PodList", "items": [{"metadata": {"name": "p"}, "spec": {"containers": [{"image": "b:2"}]}}]}
    )
    inner = json.dumps(
        {
            "apiVersion": "v1",
            "kind": "List",
            "items": [json.loads(pods), {"kind": "ConfigMap", "metadata": {"name": "c"}}],
        }
    )
    found = read(tmp_path, f"{CRON_JOB}---\n---\n# nothing\n---\n{inner}\n---\n{POD}")
    assert images(found) == ["payments/fx-rates:1.0", "b:2", "payments/api:1.4.2", "platform/busybox:1.36"]
    assert found.containers[1].object_kind == "Pod"
    assert found.without == ("ConfigMap/c",)


def test_defaults_hold_where_the_manifest_says_nothing(tmp_path):
    defaults = ManifestDefaults("given", "robot", (("app", "given"), ("tier", "web")))
    cron = read(tmp_path, CRON_JOB, defaults).containers[0]
    assert (cron.namespace, cron.service_account, dict(cron.labels)) == (
        "given",
        "robot",
        {"app": "settle", "tier": "web"},
    )
    assert read(tmp_path, DEPLOYMENT, defaults).containers[0].namespace == "shop"


def test_anchors_and_merge_keys_mean_what_they_mean_to_kubernetes_tools(tmp_path):
    text = f"""\
kind: Pod
metadata: {{name: p}}
spec:
  containers:
    - &base {{name: a, image: "{HOST}/a:1"}}
    - <<: *base
      name: b
    - <<: [{{image: first:1}}, {{image: second:1, name: c}}]
"""
    found = read(tmp_path, text)
    assert [(c.name, c.image.removeprefix(HOST)) for c in found.containers] == [
        ("a", "/a:1"),
        ("b", "/a:1"),
        ("c", "first:1"),
    ]


def test_a_directory_is_read_below_without_hidden_folders_and_other_files(tmp_path):
    for name in ("b.yml", "a.yaml", "sub/c.json", ".git/d.yaml", "sub/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(json.dumps({"kind": "Pod", "spec": {"containers": [{"image": name}]}}))
    assert images(read_manifests([str(tmp_path)])) == ["a.yaml", "b.yml", "sub/c.json"]


def test_objects_without_containers_are_named(tmp_path):
    found = read(tmp_path, "kind: ConfigMap\nmetadata: {name: settings}\n---\njust: values\n---\n- a\n- b\n")
    assert (found.containers, found.without) == ((), ("ConfigMap/settings", "(no kind)/(no name)"))


# ------------------------------------------------------------------------------------------------------- what is wrong


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("kind: Pod\nspec: {containers: [{image: a, image: b}]}\n", 2, "'image' stands here twice"),
        ("kind: Pod\nkind: ConfigMap\n", 2, "'kind' stands here twice"),
        ("kind: Deployment\nspec:\n  template: nothing\n", 3, "expected members"),
        ("kind: Pod\nspec:\n  containers: {a: b}\n", 3, "expected a list"),
        ("kind: Pod\nspec:\n  containers: [{image: [a]}]\n", 3, "expected text"),
        ("kind: Pod\nspec: {{ .Values.spec }}\n", 2, "a member name is text"),
        ("image: {{ .Values.image }}:{{ .Values.tag }}\n", 1, "has to be rendered first"),
        ("a: [\n", 2, "not YAML or JSON"),
    ],
)
def test_what_cannot_be_read_is_told_with_file_and_line(tmp_path, text, line, message):
    with pytest.raises(InputError) as caught:
        read(tmp_path, text)
    assert f"m.yaml:{line}:" in str(caught.value)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 5_000,
        "kind: List\nitems: " + "[" * (MAX_NESTING + 1) + "]" * (MAX_NESTING + 1),
        '{"kind":"List","items":[' * 9 + "]}" * 9,
        "a: \x1b[31m",
        "kind: Pod\nspec: &s {<<: *s, containers: 1}",
        "a0: &a0 {k: v}\n"
        + "".join(f"a{n}: &a{n} {{<<: *a{n - 1}}}\n" for n in range(1, 3_000))
        + "kind: Pod\nspec: *a2999\n",
    ],
    ids=["deep", "deep-list", "lists-in-lists", "escape", "merges-itself", "chain-of-merges"],
)
def test_hostile_text_is_refused_and_nothing_breaks(tmp_path, text):
    with pytest.raises(InputError):
        read(tmp_path, text)


def test_a_bomb_of_aliases_costs_nothing(tmp_path):
    text = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))
    assert read(tmp_path, text + "kind: ConfigMap\nmetadata: {name: b}\n").without == ("ConfigMap/b",)


def test_kubernetes_says_null_and_revet_takes_it_for_absent(tmp_path):
    text = "kind: Pod\nmetadata: null\nspec: {containers: [{name: null, image: a}], initContainers: null, volumes: ~}\n"
    assert images(read(tmp_path, text)) == ["a"]


def test_json_escapes_that_yaml_does_not_have(tmp_path):
    pod = {
        "kind": "Pod",
        "metadata": {"name": "\U0001f600"},
        "spec": {"containers": [{"name": "a\\\\ud83d", "image": "a"}]},
    }
    (container,) = read(tmp_path, json.dumps(pod)).containers
    assert (container.object_name, container.name) == ("\U0001f600", "a\\\\ud83d")


def test_half_a_character_is_an_error(tmp_path):
    with pytest.raises(InputError, match="Unicode"):
        read(tmp_path, json.dumps({"kind": "Pod", "metadata": {"name": "\ud800"}}))


def test_files_that_are_not_there_or_not_text(tmp_path):
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    for name in (str(tmp_path / "none.yaml"), str(tmp_path / "binary.yaml")):
        with pytest.raises(InputError, match=r"\.yaml"):
            read_manifests([name])


# --------------------------------------------------------------------------------------------------------- the command

BY_DEV = ("--key", key("dev"), "--evidence", LAYOUT)


def test_each_container_is_judged_and_located(tmp_path):
    (tmp_path / "m.yaml").write_text(DEPLOYMENT + "---\n" + CRON_JOB)
    ran = revet("verify", "-f", tmp_path, *BY_DEV, "-o", "json")
    found = [(r["container"], r["verdict"]) for r in ran.json["results"]]
    assert (ran.code, found) == (
        1,
        [
            ("shop/Deployment/web: migrate (init)", "valid"),
            ("shop/Deployment/web: proxy (sidecar)", "valid"),
            ("shop/Deployment/web: app", "valid"),
            ("shop/Deployment/web: model (image-volume)", "violates"),
            ("CronJob/settle: settle", "violates"),
        ],
    )
    assert ran.json["results"][4]["source"] == f"{tmp_path}/m.yaml:35"


def test_standard_input():
    ran = revet("verify", "-f", "-", *BY_DEV, "-o", "json", stdin=POD)
    assert (ran.code, [r["verdict"] for r in ran.json["results"]]) == (0, ["valid", "valid"])
    assert ran.json["results"][0]["source"] == "(standard input):5"


def test_images_and_manifests_together_and_the_table_says_where():
    ran = revet("verify", f"{HOST}/inventory/search:4.1.0", "-f", "-", *BY_DEV, stdin=POD)
    assert ran.code == 1
    assert ran.out.splitlines()[0].split() == ["CONTAINER", "IMAGE", "DIGEST", "VERDICT", "WHY"]
    assert "ops/Pod/debug: shell (ephemeral)" in ran.out


POLICY = """\
apiVersion: revet/v1
kind: Policy
metadata: {name: scoped}
spec:
  match: [{namespaces: [shop], labels: {app: web}, serviceAccounts: [deployer], clusterLabels: {env: prod}}]
  attestors: {dev: {keys: [dev]}}
  require: {signedBy: dev}
"""


def test_a_policy_sees_the_scope_of_each_object(tmp_path):
    (tmp_path / "policy.yaml").write_text(POLICY)
    options = ("--policy", tmp_path / "policy.yaml", "--trust", key("dev"), "--evidence", LAYOUT, "-o", "json")
    ran = revet("verify", "-f", "-", *options, "--cluster-label", "env=prod", stdin=DEPLOYMENT + "---\n" + POD)
    assert [r["verdict"] for r in ran.json["results"]] == ["valid"] * 3 + ["violates"] + ["ungoverned"] * 2
    ran = revet("verify", "-f", "-", *options, stdin=DEPLOYMENT)
    assert (ran.code, {r["verdict"] for r in ran.json["results"]}) == (3, {"ungoverned"})


@pytest.mark.parametrize("image", ["", "{{ image }}", "Capital/Letters", "a" * 2_000, "x@sha512:" + "0" * 128])
def test_a_container_whose_image_is_no_reference_is_could_not_tell(image):
    text = json.dumps(
        {"kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": image}]}}
    )
    ran = revet("verify", "-f", "-", *BY_DEV, "--allow-ungoverned", "-o", "json", stdin=text)
    (result,) = ran.json["results"]
    assert (ran.code, result["verdict"], result["reasons"][0]["code"]) == (3, "unverifiable", "reference-unparsable")


def test_a_container_without_image_is_could_not_tell():
    ran = revet("verify", "-f", "-", *BY_DEV, "-o", "json", stdin="kind: Pod\nspec: {containers: [{name: c}]}")
    assert (ran.code, ran.json["results"][0]["image"]) == (3, "")


@pytest.mark.parametrize("text", ["", "kind: ConfigMap\nmetadata: {name: c}\n"])
def test_manifests_without_any_container_never_pass(text):
    ran = revet("verify", "-f", "-", *BY_DEV, stdin=text)
    assert ran.code == 2
    assert "no container in -: nothing was verified" in ran.err


def test_an_empty_directory_never_passes(tmp_path):
    assert revet("verify", "-f", tmp_path, *BY_DEV).code == 2


def test_what_had_no_containers_is_told():
    maps = "".join(f"kind: ConfigMap\nmetadata: {{name: c{n}}}\n---\n" for n in range(7))
    ran = revet("verify", "-f", "-", *BY_DEV, stdin=maps + POD)
    assert "no containers in ConfigMap/c0, ConfigMap/c1" in ran.err
    assert "and 2 more" in ran.err


@pytest.mark.parametrize("output", ["table", "json"])
def test_hostile_names_in_manifests_never_reach_the_terminal_raw(output):
    name = "a\x1b[31m\u202e\u200b\n\r\x9b"
    pod = {"kind": name, "metadata": {"name": name, "namespace": name}, "spec": {}}
    pod["spec"] = {
        "template": {"metadata": {"labels": {name: name}}, "spec": {"containers": [{"name": name, "image": name}]}}
    }
    text = json.dumps({"kind": "List", "items": [pod, {"kind": name, "metadata": {"name": name}}]})
    ran = revet("verify", "-f", "-", *BY_DEV, "-o", output, stdin=text)
    assert ran.code == 3
    assert not any(raw in ran.out + ran.err for raw in ("\x1b", "\u202e", "\u200b", "\r", "\x9b"))
