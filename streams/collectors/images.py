"""The images of a request: as the client submitted them and as the API server stored them.

The two differ: mutating webhooks pin digests and inject containers after the client spoke. What was stored stands in
`responseObject` (level RequestResponse) or can be rebuilt from the webhooks' patches (level Request); what was
submitted is a whole object, a part of one (merge patches), or a list of operations (JSON patch).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from streams.collectors import wire
from streams.collectors.reduce import PatchedEntry, patched_entries, webhook_patch
from streams.events import ContainerKind, ImageAsked

_KINDS: Final[dict[str, ContainerKind]] = {
    "containers": "main",
    "initContainers": "init",
    "ephemeralContainers": "ephemeral",
    "volumes": "image-volume",
}

_Entry = tuple[str, str, str, bool]
"""(group, name, image, sidecar)."""


def pod_spec_of(item: wire.Object | None) -> wire.PodSpec | None:
    """The pod spec inside a pod, a workload with a template, or a CronJob."""
    spec = item.spec if item else None
    if spec is None:
        return None
    if spec.template:
        return spec.template.spec
    if spec.job_template:
        job = spec.job_template.spec
        return job.template.spec if job and job.template else None
    return spec


def _entries(spec: wire.PodSpec | None) -> list[_Entry]:
    if spec is None:
        return []
    found: list[_Entry] = []
    if spec.init_containers:
        inits = ((entry, entry.image) for entry in spec.init_containers)
        found.extend(
            ("initContainers", e.name or "", image, e.restart_policy == "Always") for e, image in inits if image
        )
    if spec.containers:
        found.extend([("containers", e.name or "", e.image, False) for e in spec.containers if e.image])
    if spec.ephemeral_containers:
        found.extend(
            [("ephemeralContainers", e.name or "", e.image, False) for e in spec.ephemeral_containers if e.image]
        )
    if spec.volumes:
        images = ((volume.name or "", volume.image.reference) for volume in spec.volumes if volume.image)
        found.extend(("volumes", name, reference, False) for name, reference in images if reference)
    return found


def _kind(group: str, sidecar: bool) -> ContainerKind:
    return "sidecar" if sidecar else _KINDS[group]


def _named(entry: PatchedEntry, stored: list[_Entry]) -> _Entry:
    """A patched entry under its container's name. Without the stored object only its place is known: `#2`."""
    if entry.name or entry.index is None:
        return (entry.group, entry.name, entry.image, entry.sidecar)
    of_group = [e for e in stored if e[0] == entry.group]
    if entry.index < len(of_group):
        return (entry.group, of_group[entry.index][1], entry.image, of_group[entry.index][3])
    return (entry.group, f"#{entry.index}", entry.image, False)


def _submitted(request: wire.Object | list[wire.PatchOp] | None, stored: list[_Entry]) -> list[_Entry]:
    if isinstance(request, list):
        return [_named(entry, stored) for operation in request for entry in patched_entries(operation) if entry.image]
    return _entries(pod_spec_of(request))


def images_asked(
    request: wire.Object | list[wire.PatchOp] | None, response: wire.Object | None, patches: Iterable[str]
) -> tuple[ImageAsked, ...]:
    """Every image of a request, in the order of the stored object.

    Args:
        request: what the client sent.
        response: what was stored; None when nothing was, or when the audit level leaves it out.
        patches: values of the `patch.webhook…` annotations, in order of their calls; used when `response` has no
        images.
    """
    stored = _entries(pod_spec_of(response))
    submitted = _submitted(request, stored)
    if not stored:
        return _patched(submitted, patches)
    wanted = {entry[:2]: entry[2] for entry in submitted}
    return tuple(
        [
            ImageAsked(name, "sidecar" if sidecar else _KINDS[group], wanted.get((group, name), ""), image)
            for group, name, image, sidecar in stored
        ]
    )


def _patched(submitted: list[_Entry], patches: Iterable[str]) -> tuple[ImageAsked, ...]:
    """The submitted images with the webhooks' patches applied to them, group by group, as far as they set images."""
    asked = [ImageAsked(name, _kind(group, sidecar), image) for group, name, image, sidecar in submitted]
    groups: dict[str, list[ImageAsked]] = {}
    for (group, *_), image in zip(submitted, asked, strict=True):
        groups.setdefault(group, []).append(image)
    changed = False
    for text in patches:
        patch = webhook_patch(text)
        for operation in (patch.patch if patch else None) or ():
            for entry in patched_entries(operation):
                _apply(groups.setdefault(entry.group, []), entry)
                changed = True
    if not changed:
        return tuple(asked)
    return tuple(image for group in ("initContainers", "containers", "ephemeralContainers", "volumes")
                 for image in groups.get(group, ()))  # fmt: skip


def _apply(group: list[ImageAsked], entry: PatchedEntry) -> None:
    index = len(group) if entry.index is None else entry.index
    if entry.added:
        group.insert(index, ImageAsked(entry.name, _kind(entry.group, entry.sidecar), "", entry.image))
    elif index < len(group):
        old = group[index]
        group[index] = ImageAsked(old.container, old.kind, old.submitted, entry.image)
