"""Parsing beside the process that writes: the same records, whole messages, and a stream that ends anywhere."""

import io

import msgspec
import pytest

from streams.collectors import Stream, read_stream, reduced_original
from streams.collectors.bodies import Bodies
from streams.engine.wire import WireRecord
from streams.serving.parsing import _ANSWER, _Asked, batch_records, work
from streams.serving.pipes import framed, frames_of, packed
from streams.serving.recordings import _STEP, _Given, tell_all
from tests.helpers.cluster import Recording, audit_batches, demo_images, write_recording

NOW = 1_795_000_000_000_000


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    return write_recording(tmp_path_factory.mktemp("r"), events=1_500, images=demo_images(), seed=6)


def plain(record: WireRecord) -> tuple[object, ...]:
    return record.topic, record.partition, record.key, record.value, tuple(map(tuple, record.headers)), record.written


def test_another_process_makes_the_same_records(recording):
    bodies = [*audit_batches(recording, 50), b"", b'{"kind":', b"\xff" * 9]
    asked = [_Asked("c1", NOW, body) for body in bodies]
    answers = io.BytesIO()
    work(io.BytesIO(b"".join(framed(msgspec.msgpack.encode(one)) for one in asked)), answers, Bodies(), 24)
    answers.seek(0)
    here = Bodies()
    told = [_ANSWER.decode(frame) for frame in frames_of(answers)]
    assert len(told) == len(bodies)
    for answer, body in zip(told, bodies, strict=True):
        batch = here.read("c1", body, NOW)
        assert list(map(plain, answer.records)) == list(map(plain, batch_records(batch, 24)))
        assert (answer.observed, answer.events) == (batch.observed, batch.events)
        assert (answer.ignored, answer.letters) == (dict(batch.ignored), dict(batch.letters))


def test_each_cluster_has_its_own_stream():
    bodies = Bodies()
    first = bodies.read("a", b"{", NOW)
    assert first.letters == {"json-truncated": 1}
    assert bodies.read("b", b"", NOW).observed == 0


def test_messages_are_whole_or_none():
    stream = b"".join(framed(message) for message in (b"", b"a", b"b" * 70_000))
    assert list(frames_of(io.BytesIO(stream))) == [b"", b"a", b"b" * 70_000]
    whole = {1: 0, 3: 0, 4: 1, 5: 1, 8: 1, 9: 2, len(stream) - 1: 2}
    for cut, count in whole.items():
        assert list(frames_of(io.BytesIO(stream[:cut]))) == [b"", b"a"][:count]


def test_a_record_is_the_same_in_its_shorter_form():
    record = WireRecord("t", 3, b"k", None, (("id", b"1"),), 5)
    again = msgspec.msgpack.decode(msgspec.msgpack.encode(packed(record)), type=type(packed(record)))
    assert plain(again) == plain(record)


def test_a_recording_is_told_step_by_step(recording):
    name = f"c1={recording.audit}"
    out = io.BytesIO()
    tell_all(_Given([("c1", str(recording.audit))], {name: ""}, 24), out)
    out.seek(0)
    steps = [_STEP.decode(frame) for frame in frames_of(out)]
    assert [step.last for step in steps] == [False] * (len(steps) - 1) + [True]
    assert sum(step.observed for step in steps) > 100
    kept = steps[0].progress
    rest = io.BytesIO()
    tell_all(_Given([("c1", str(recording.audit))], kept, 24), rest)
    rest.seek(0)
    again = [_STEP.decode(frame) for frame in frames_of(rest)]
    assert sum(s.observed for s in again) == sum(s.observed for s in steps[1:])


def test_a_recording_that_is_gone_is_told_in_the_end(tmp_path):
    out = io.BytesIO()
    tell_all(_Given([("c1", str(tmp_path / "gone"))], {}, 24), out)
    out.seek(0)
    (step,) = [_STEP.decode(frame) for frame in frames_of(out)]
    assert step.last
    assert "gone" in step.problem


def test_an_original_is_the_same_from_what_was_decoded_already(recording):
    stream = Stream(cluster="c1", source="audit:c1")
    for body in audit_batches(recording, 50):
        for raw in read_stream([body], kind="audit"):
            stream.observe(raw)
            assert reduced_original(raw, stream.decoded) == reduced_original(raw)
