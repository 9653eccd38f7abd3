"""scripts/servers: what it says when something is missing, and that it touches nothing that is not its own."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scripts.servers import __main__ as servers
from scripts.servers import base, elasticsearch, kafka
from scripts.servers.base import Java, Trouble

JDK = frozenset({"java.base", "jdk.compiler", *elasticsearch.MODULES})


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    """An empty cache, and no Java but those the test makes."""
    monkeypatch.setenv("REVET_SERVERS", str(tmp_path / "cache"))
    monkeypatch.setattr(base, "javas", list)
    return monkeypatch


def java(major: int, modules: frozenset[str] = JDK) -> Java:
    return Java(Path(f"/jdk{major}"), major, f"{major}.0.1", modules)


def test_without_java_both_finders_say_what_to_install(fresh):
    for kind in (kafka, elasticsearch):
        reason = kind.absent()
        assert reason is not None
        assert kafka.home().parent.name == "cache"
    with pytest.raises(Trouble, match=r"found: none\. Install one .*REVET_JAVA_HOME"):
        kafka.prepare()


def test_a_java_that_is_too_old_or_a_jre_is_named(fresh):
    fresh.setattr(base, "javas", lambda: [java(17), java(25, frozenset({"java.base"}))])
    with pytest.raises(Trouble, match=r"full JDK \(not a JRE\), 21 or newer; found: 17\.0\.1 in /jdk17, 25\.0\.1"):
        base.find_java(21, *elasticsearch.MODULES)
    assert base.find_java(17).major == 17


def test_without_maven_it_says_so(fresh, tmp_path):
    fresh.setattr(base, "javas", lambda: [java(25)])
    fresh.setenv("PATH", str(tmp_path))
    with pytest.raises(Trouble, match="needs Maven"):
        kafka.prepare()
    assert not kafka.home().exists()  # and no half of it either
    assert [path for path in base.cache().iterdir() if path.is_dir()] == []


@pytest.mark.parametrize(
    ("arguments", "ci", "code"),
    [(["prepare"], "", 1), (["prepare", "--if-possible"], "", 0), (["prepare", "--if-possible"], "true", 1)],
)
def test_prepare_fails_where_it_was_promised(fresh, capsys, arguments, ci, code):
    fresh.setenv("CI", ci)
    fresh.setattr(elasticsearch, "_fetch_java", lambda _work, why: (_ for _ in ()).throw(Trouble(why)))
    assert servers.main(arguments) == code
    assert "no kafka: needs a Java, 17 or newer" in capsys.readouterr().err


def test_up_says_what_is_missing(fresh, capsys):
    fresh.setenv("REVET_UP", "jars")
    assert servers.main(["up"]) == 2
    assert "Install one" in capsys.readouterr().err


def test_up_is_docker_compose_where_that_answers(fresh, tmp_path, capfd):
    docker = tmp_path / "docker"
    docker.write_text('#!/bin/sh\necho "docker $*"\n')
    docker.chmod(0o755)
    fresh.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert servers.main(["up"]) == 0
    assert "docker compose up --detach --build --wait" in capfd.readouterr().out
    assert servers.main(["down", "--wipe"]) == 0
    assert "docker compose down --volumes" in capfd.readouterr().out
    docker.write_text("#!/bin/sh\n[ $1 = info ] && exit 1\nexit 0\n")  # the client is there, the daemon is not
    assert servers.main(["up"]) == 2


def test_a_release_file_is_read_as_java_writes_it(tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "java").write_text("")
    (tmp_path / "bin" / "java").chmod(0o755)
    (tmp_path / "release").write_text('IMPLEMENTOR="X"\nJAVA_VERSION="21-ea"\nMODULES="java.base jdk.jlink"\n')
    found = base.read_java(tmp_path)
    assert found == Java(tmp_path.resolve(), 21, "21-ea", frozenset({"java.base", "jdk.jlink"}))
    (tmp_path / "release").write_text("rubbish")
    assert base.read_java(tmp_path) is None


def test_a_process_id_that_somebody_else_has_now_is_left_alone(tmp_path):
    """After a restart of the machine the numbers in the files belong to others."""
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    try:
        while b"time.sleep" not in Path(f"/proc/{stranger.pid}/cmdline").read_bytes():
            time.sleep(0.01)
        server = base.Server(tmp_path, "it", f"-Drevet.folder={tmp_path}")
        (tmp_path / "server.pid").write_text(str(stranger.pid))
        assert server.pid is None
        assert not server.stop()
        assert not server.kill()
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_server_that_ends_at_once_is_told_with_its_last_words(tmp_path):
    server = base.Server(tmp_path, "It", f"-Drevet.folder={tmp_path}")
    server.launch([sys.executable, "-c", "print('no such setting'); raise SystemExit(1)"], os.environ)
    with pytest.raises(Trouble, match=r"It ended while starting\. Log: .*\n.*no such setting"):
        server.wait_until(lambda: False, 30)


def test_a_server_that_never_answers_is_ended(tmp_path):
    server = base.Server(tmp_path, "It", f"-Drevet.folder={tmp_path}")
    server.launch([sys.executable, "-c", "import time; time.sleep(60)"], os.environ)
    with pytest.raises(Trouble, match="did not answer within 0 s"):
        server.wait_until(lambda: False, 0.3)
    assert server.pid is None


def test_what_failed_to_build_leaves_nothing_behind(tmp_path):
    def build(work: Path) -> None:
        (work / "half").write_text("")
        raise Trouble("no network")

    with pytest.raises(Trouble, match="no network"):
        base.prepared(tmp_path / "thing", build)
    assert [path.name for path in tmp_path.iterdir()] == [".thing.lock"]
    assert base.prepared(tmp_path / "thing", lambda work: (work / "whole").touch()).joinpath("whole").exists()


def test_passwords_stay_in_a_file_that_only_its_owner_reads(tmp_path):
    secure = kafka.Secure("SASL_PLAINTEXT", {"revet": "kafka-secret"}, port=2)
    properties = kafka._properties(1, 3, secure, {})
    kafka._write_properties(tmp_path, properties)
    path = tmp_path / "server.properties"
    assert "kafka-secret" in path.read_text()
    assert path.stat().st_mode & 0o077 == 0
