"""The live page as text: where names lead, what hostile ones do, and whom it names."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from urllib.parse import parse_qs, urlsplit

import pytest

from dashboards.live import Shown, Written, composer, page
from dashboards.live.pages import NAV, leads
from dashboards.markup import PLACES, rendered
from streams.cli.composing import written_yaml
from streams.cli.paging import _FIXED, _VIEWS
from streams.queries.conditions import full_name, matches
from streams.queries.kql import parse
from streams.queries.questions import QUESTIONS
from streams.queries.report import Wanted, report, views
from streams.queries.report.model import Graph, Node, Part, Report, Section, Sentences, Table, as_json
from streams.queries.report.people import PERSONS, People
from streams.queries.subjects import resolve
from streams.settings import Settings
from streams.settings.page import UiSettings
from tests.helpers.hostilereport import NAMES, hostile
from tests.helpers.questionday import API, at, played
from verifier.errors import InputError
from verifier.policy.documents import PolicyDocument, load_documents


@pytest.fixture(scope="module")
def world():
    return played("memory")


@pytest.fixture(scope="module")
def wanted(world):
    return Wanted(at(0), at(51), world.now, world.now)


class Read(HTMLParser):
    """Elements with their attributes, and what is never closed."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.shape: list[str] = []
        self.addresses: list[str] = []
        self.names: list[str] = []
        self.scripts: list[dict[str, str | None]] = []
        self.open: list[str] = []
        self.mistakes: list[str] = []
        self.feed(text)
        self.close()
        self.mistakes += self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.shape.append(tag)
        self.names += named
        self.addresses += [str(named[name]) for name in ("href", "src", "action") if name in named]
        if tag == "script":
            self.scripts.append(named)
        if tag not in ("meta", "link", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self.open[-1:] != [tag]:
            self.mistakes.append(f"</{tag}> closes {self.open[-1:]}")
        else:
            self.open.pop()


def test_hostile_names_change_nothing_but_the_text(world, wanted):
    whole = report(world.reader, wanted)
    found = Read(page(Shown(NAMES[0], "/", hostile(whole).sections, notes=NAMES, about=NAMES[1], query=NAMES[2])))
    assert found.mistakes == []
    plain = Read(
        page(Shown("x", "/", hostile(whole, ("x",)).sections, notes=("x",) * len(NAMES), about="x", query="x"))
    )
    assert [tag for tag in found.shape if tag != "a"] == [tag for tag in plain.shape if tag != "a"]
    assert not [name for name in found.names if name.startswith("on") or name in ("style", "srcset", "formaction")]
    assert {"script", "style"} & set(found.shape) == {"script"}
    assert found.scripts == [{"src": "/live.js", "defer": None}]
    assert all(PLACES.fullmatch(address) or address in _FIXED for address in found.addresses), found.addresses


def test_every_page_of_the_list_is_there_and_what_pages_ask_for_too():
    assert {path for path, _ in NAV} <= _VIEWS.keys()
    asked = [address for address in Read(page(Shown("x", "/"))).addresses if not address.startswith("#")]
    assert set(asked) <= _VIEWS.keys() | _FIXED.keys()


@pytest.mark.parametrize("text", [*NAMES, 'a "b" \\ c', "and", "a*b", "x:y"])
def test_a_link_to_a_search_finds_that_very_name(text):
    address = leads("policy", text)
    if len(text) > 500 or not text.isprintable():
        assert address == ""
        return
    (query,) = parse_qs(urlsplit(address).query)["q"]
    assert matches(parse(query), {full_name("policy"): [text]})


@pytest.mark.parametrize("text", ["registry.example.com/a/b", "unknown", "-", "x" * 501])
def test_what_has_no_page_leads_nowhere(text):
    assert leads("image", text) == ""


# ------------------------------------------------------------------------------------------------------------- views


def cells(sections: tuple[Section, ...], caption: str) -> list[dict[str, object]]:
    tables = [b for s in sections for p in s.parts for b in p.blocks if isinstance(b, Table) and caption in b.caption]
    (table,) = tables
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


def test_an_image_has_its_places_and_what_happened_newest_first(world, wanted):
    subject = resolve(world.reader, API)
    sections = views.image(world.reader, wanted, subject)
    assert [section.id for section in sections] == ["provenance", "evidence", "happened"]
    happened = cells(sections, "newest first")
    times = [int(str(row["time"])) for row in happened]
    assert times == sorted(times, reverse=True)
    assert {"signed", "admitted", "started", "verdict"} <= {row["what"] for row in happened}
    assert cells(sections, "Places that were asked")


def test_a_signer_has_the_images_that_it_signed(world, wanted):
    rows = cells(views.signer(world.reader, wanted, "build"), "Images")
    assert [str(row["image"]).partition("@")[0] for row in rows] == ["r.example/pay/slow", "r.example/pay/api"]
    with pytest.raises(InputError, match="signed by 'nobody'"):
        views.signer(world.reader, wanted, "nobody")


def test_an_incident_has_what_was_told_of_it(world, wanted):
    listed = cells(views.incident_list(world.reader, wanted), "Open incidents")
    name = str(listed[0]["incident"])
    sections = views.incident(world.reader, wanted, name.lower())
    assert name in sections[0].title
    assert cells(sections, "How it stands")[0]["kind"] == listed[0]["kind"]
    assert cells(sections, "Timeline")
    with pytest.raises(InputError, match="INC-0"):
        views.incident(world.reader, wanted, "INC-0")


def test_a_search_shows_what_the_command_shows(world, wanted):
    rows = cells(views.found(world.reader, wanted, "verdict:violates", "containers"), "containers")
    assert {row["verdict"] for row in rows} == {"violates"}
    assert cells(views.found(world.reader, wanted, "", "trust"), "trust")[0]["time"]


# ------------------------------------------------------------------------------------------------------------- people


def everything(sections: tuple[Section, ...]) -> str:
    return str(as_json(Report("", "", at(0), at(0), at(1), sections)))


def test_nobody_of_the_day_is_named(world, wanted):
    """alice revoked, bob exempted with carol's approval, and both wrote why."""
    people = People()
    names = ("alice", "bob", "carol", "stolen", "until the new build")
    made = (*report(world.reader, wanted).sections, *views.found(world.reader, wanted, "", "trust"))
    assert all(name in everything(made) for name in names)
    hidden = everything(tuple(map(people.hidden, made)))
    assert [name for name in names if re.search(rf"\b{name}\b", hidden)] == []
    assert "person 1" in hidden
    assert people.name(people.called("alice")) == "alice"


def test_an_address_is_hidden_wherever_it_stands_and_images_are_not():
    people = People()
    mail, image = "jo.doe+x@corp.example", "r.example/a/b@sha256:" + "0" * 64
    others = (image, "https://github.com/a/b/.github/workflows/r.yml@refs/tags/v1.2", "git@github.com:a/b", "a@v1.2.3")
    section = Section(
        "x",
        f"by {mail}",
        "",
        (
            Part((Table("t", ("signer", "image"), ((mail, image),)), Sentences((f"signed by {mail}.", *others))), mail),
            Part((Graph("g", ("a",), (Node("a", mail, f"<{mail}>"),)),)),
        ),
    )
    hidden = str(people.hidden(section).parts)
    assert mail not in hidden
    assert all(text in hidden for text in others)
    assert people.name("person 1") == mail
    assert people.name("person 2") == "person 2"


def test_a_name_in_a_sentence_is_hidden_but_no_part_of_a_word():
    people = People()
    table = Table(
        "t", ("time", "author", "sentence", "why"), ((1, "al", "al put policy always al/x: for al", "for al"),)
    )
    (block,) = people.hidden(Section("x", "", "", (Part((table,)),))).parts[0].blocks
    assert isinstance(block, Table)
    assert block.columns == ("time", "author", "sentence")
    assert block.rows == ((1, "person 1", "person 1 put policy always al/x: …"),)


def test_every_column_with_a_person_is_known():
    """A new question with a column for somebody has to be thought of here."""
    told = {column for question in QUESTIONS for column in question.columns}
    looks = {c for c in told if c in ("who", "user", "by") or c.endswith(("_by", "author", "approver"))}
    assert looks - PERSONS == {"signed_by", "exempted_by", "existed_by", "stated_by", "told_by"}


# ----------------------------------------------------------------------------------------------------------- composer


def test_fields_become_a_policy_that_is_sound():
    written = Written(
        name="pay", images="r.example/pay/**\n\n r.example/x:* ", namespaces="a, b", mode="enforce", keys="dev, ops",
        issuer="https://token.example", subject="https://git.example/*", predicate="slsaprovenance1",
    )  # fmt: skip
    text, problems = written_yaml(written)
    assert problems == []
    (document,), errors = load_documents("x", text)
    assert errors == ()
    assert isinstance(document.body, PolicyDocument)
    spec = document.body.spec
    assert spec.match[0].images == ("r.example/pay/**", "r.example/x:*")
    assert {leaf.attested_by for leaf in spec.require.any or ()} == {"keys", "identity"}


@pytest.mark.parametrize(("written", "said"), [
    (Written(), "name"),
    (Written(name="x"), "images"),
    (Written(name="x", images="a/**"), "who signs"),
    (Written(name="x", images="a/**", subject="s"), "issuer"),
])  # fmt: skip
def test_what_is_missing_has_a_name(written, said):
    text, problems = written_yaml(written)
    assert text == ""
    assert any(problem.startswith(said) for problem in problems)


@pytest.mark.parametrize("name", NAMES)
def test_what_was_filled_in_comes_back_whole_and_as_text(name):
    """And a hostile field makes a document that is refused, or one whose text it is; never another document."""
    name = name.encode("utf-8", "replace").decode()  # as it comes from a browser
    written = Written(name=name, images=name, keys=name, yaml=name)
    found = Read(rendered(composer(written, (name,), (name,)), PLACES))
    assert found.mistakes == []
    assert found.shape == Read(rendered(composer(Written(yaml="x"), ("x",), ("x",)), PLACES)).shape
    text, _ = written_yaml(written)
    documents, _ = load_documents("x", text)
    assert len(documents) <= 1


# ----------------------------------------------------------------------------------------------------------- settings


@pytest.mark.parametrize("address", ["127.0.0.1:8090", "[::1]:8090", "localhost:0", "127.8.8.8:1"])
def test_addresses_of_this_machine_need_no_word(address):
    assert UiSettings(address=address).address == address


@pytest.mark.parametrize(
    "address", ["0.0.0.0:8090", "[::]:8090", "10.0.0.1:80", "revet.example.com:80", "localhost.x:1"]
)
def test_any_other_address_has_to_be_said(address):
    with pytest.raises(ValueError, match="--ui-host"):
        Settings.model_validate({"ui": {"address": address}})
    assert UiSettings(address=address, hosts=("Revet.example.com:8443",)).hosts == ("revet.example.com:8443",)


@pytest.mark.parametrize("host", ["*", "http://a", "a/b", "a b", "", "a:b"])
def test_a_host_is_a_name(host):
    with pytest.raises(ValueError, match="no HOST"):
        UiSettings(hosts=(host,))
