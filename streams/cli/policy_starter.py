"""`revet policy starter`: policies for Kubernetes' own images and other public signers, to read and to start from.

They are files of the distribution; nothing is fetched. Every one names the page its identity was read on, and is in
trial: what others sign may change, and a person decides what to ask for.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Final, NamedTuple

import click

from alerting.text import count
from streams.cli.common import EXIT_OK, output_option, print_json, print_table, say
from verifier.errors import InputError
from verifier.policy.documents import PolicyDocument, load_documents

SCHEMA: Final = "revet.policy-starter/v1"
PACKAGE: Final = "streams.starter"


class StarterSet(NamedTuple):
    """One file of the set."""

    name: str
    text: str
    policy: str
    about: str
    images: tuple[str, ...]
    """Patterns."""
    sources: tuple[str, ...]
    """Pages it was read on."""


def starter_sets() -> dict[str, StarterSet]:
    """Every file, by name.

    Raises:
        InputError: a file of the distribution is damaged.
    """
    files = sorted(f.name for f in resources.files(PACKAGE).iterdir() if f.name.endswith(".yaml"))
    return {name.removesuffix(".yaml"): _read(name) for name in files}


def _read(file: str) -> StarterSet:
    text = resources.files(PACKAGE).joinpath(file).read_text(encoding="utf-8")
    documents, errors = load_documents(file, text)
    policies = [d.body for d in documents if isinstance(d.body, PolicyDocument)]
    if errors or len(policies) != 1:
        raise InputError(f"{PACKAGE}/{file} is damaged: {errors[0] if errors else 'it holds no policy'}")
    policy = policies[0]
    marked = (line.partition("http") for line in text.splitlines() if line.startswith("# Source"))
    return StarterSet(
        name=file.removesuffix(".yaml"),
        text=text,
        policy=policy.metadata.name,
        about=policy.metadata.description,
        images=tuple(pattern for rule in policy.spec.match for pattern in rule.images),
        sources=tuple(f"http{rest.split()[0]}" for _, found, rest in marked if found),
    )


@click.command(
    epilog="Examples:\n\n\b\n"
    "  $ revet policy starter --list\n"
    "  $ revet policy starter kubernetes cilium --dir policies/\n"
    "  $ revet policy starter > starter.yaml",
)
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--list", "listing", is_flag=True, help="Say what there is, and where it was read.")
@click.option(
    "--dir",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Write one file each there; a file that is there already is never replaced.",
)
@output_option
def starter(names: tuple[str, ...], listing: bool, directory: Path | None, output: str) -> int:
    """Print or write policies in trial for Kubernetes' own images and other public signers."""
    sets = starter_sets()
    unknown = [name for name in names if name not in sets]
    if unknown:
        raise click.UsageError(f"no starter policy {unknown[0][:80]!a}; there are {', '.join(sets)}")
    chosen = [sets[name] for name in (dict.fromkeys(names) or sets)]
    if listing or output == "json":
        _list(chosen, output)
    elif directory is None:
        click.echo("---\n".join(one.text for one in chosen), nl=False)
    if directory is not None:
        _write(chosen, directory)
    return EXIT_OK


def _list(chosen: list[StarterSet], output: str) -> None:
    if output == "json":
        print_json({"schema": SCHEMA, "policies": [one._asdict() for one in chosen]})
        return
    rows = [(one.name, ", ".join(one.images), one.about, ", ".join(one.sources)) for one in chosen]
    print_table(("NAME", "IMAGES", "", "READ ON"), rows)


def _write(chosen: list[StarterSet], directory: Path) -> None:
    there = [one.name for one in chosen if (directory / f"{one.name}.yaml").exists()]
    if there:
        raise InputError(
            f"{directory}: {there[0]}.yaml is there already, and may have been edited; nothing was written"
        )
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for one in chosen:
            with (directory / f"{one.name}.yaml").open("x", encoding="utf-8") as file:
                file.write(one.text)
    except OSError as error:
        raise InputError(f"{directory}: {error.strerror or error}") from error
    say(f"revet: wrote {count(len(chosen), 'policy', 'policies')} into {directory}; all in trial")
