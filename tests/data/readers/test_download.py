"""Downloads, from a server on this machine: found, fetched, gone on with, refused, broken, corrupt, two at once."""

import hashlib
import io
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlrun.config import components
from dlrun.config.schema import keys
from dlrun.data.readers import download
from dlrun.data.readers.download import Source
from dlrun.data.readers.paced import Pace
from dlrun.data.readers.transfer import File
from dlrun.errors import Unfit
from tests.loopback import Site

find = partial(download.find, pace=Pace(timeout=0.3))
BODY = bytes(range(256)) * 40 + b"the end"
OTHER = b"another file"
CORRUPT = BODY[:5000] + b"?" + BODY[5001:]


def published(name: str, body: bytes, *unpacked: str) -> File:
    return File(name, len(body), hashlib.sha256(body).hexdigest(), unpacked)


A, B = published("a.gz", BODY, "a"), published("b.gz", OTHER, "b")


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Where files are looked for: below this test's folder only."""
    for name in ("DLRUN_DATA", "DLRUN_MIRROR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_DATA_DIRS", f"{tmp_path / 'local'}:{tmp_path / 'system'}")
    monkeypatch.setenv("no_proxy", "*")
    return {name: tmp_path / name / "datasets/set" for name in ("home", "local", "system")}


@pytest.fixture
def site() -> Iterator[Site]:
    with Site({"/a.gz": BODY, "/b.gz": OTHER}) as site:
        yield site


@pytest.fixture
def second() -> Iterator[Site]:
    with Site({"/a.gz": BODY, "/b.gz": OTHER}) as site:
        yield site


def source(*mirrors: Site | str, files: tuple[File, ...] = (A,)) -> Source:
    return Source("set", files, tuple(m.url if isinstance(m, Site) else m for m in mirrors))


def refused(of: Source, folder: str | None = None, **how: bool) -> str:
    """The one line that says why files can't be had."""
    with pytest.raises(Unfit) as error:
        find(of, folder, **{"download": True, **how})
    line = error.value.at("data")
    assert "\n" not in line
    return line


def everything(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


# Found


def test_what_is_missing_is_fetched_once(
    site: Site, places: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    of = source(site, files=(A, B))
    found = find(of, None, download=True)
    assert found == [places["home"] / "a.gz", places["home"] / "b.gz"]
    assert [f.read_bytes() for f in found] == [BODY, OTHER]
    assert everything(places["home"]) == ["a.gz", "b.gz"]
    assert site.requests == [("/a.gz", None), ("/b.gz", None)]
    captured = capsys.readouterr()
    assert captured.err.splitlines() == [
        f"downloading a.gz (11 KiB) from {site.host}",
        f"downloading b.gz (1 KiB) from {site.host}",
    ]
    assert captured.out == ""

    assert find(of, None, download=True) == found
    assert len(site.requests) == 2, "nothing is fetched twice"
    (places["home"] / "b.gz").unlink()
    assert find(of, None, download=True) == found
    assert site.requests[2:] == [("/b.gz", None)], "only what is missing is fetched"


def test_files_at_hand_are_taken_where_they_lie(
    site: Site, tmp_path: Path, places: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    of = source(site)
    monkeypatch.setenv("DLRUN_DATA", str(tmp_path / "own"))
    own, given = tmp_path / "own/set", tmp_path / "given"
    for place in (places["system"], places["local"], places["home"], own):  # each wins over those before it
        place.mkdir(parents=True)
        (place / "a.gz").write_bytes(b"whatever the user put there")
        assert find(of, None, download=True) == [place / "a.gz"]
        (place / "a").write_bytes(b"unpacked")
        assert find(of, None, download=True) == [place / "a"]
    given.mkdir()
    (given / "a").touch()
    assert find(of, str(given), download=True) == [given / "a"]
    assert site.requests == []


def test_a_place_with_some_of_the_files_is_passed_over(site: Site, places: dict[str, Path]) -> None:
    for place in places.values():
        place.mkdir(parents=True)
    (places["local"] / "a.gz").touch()
    for name in ("a", "b.gz"):
        (places["system"] / name).touch()
    assert find(source(site, files=(A, B)), None, download=True) == [places["system"] / n for n in ("a", "b.gz")]
    assert site.requests == []


@pytest.mark.parametrize("variable", ["DLRUN_DATA", None])
def test_where_a_download_goes(
    site: Site, tmp_path: Path, places: dict[str, Path], monkeypatch: pytest.MonkeyPatch, variable: str | None
) -> None:
    if variable:
        monkeypatch.setenv(variable, str(tmp_path / "own"))
    expected = tmp_path / "own/set" if variable else places["home"]
    assert find(source(site), None, download=True) == [expected / "a.gz"]
    folder = tmp_path / "given"
    folder.mkdir()
    assert find(source(site), str(folder), download=True) == [folder / "a.gz"]


def test_without_download_nothing_is_asked_or_made(site: Site, tmp_path: Path, places: dict[str, Path]) -> None:
    of = replace(source(site, files=(A, B)), package="dataset-set")
    line = refused(of, download=False)
    assert line == (
        "data.folder=null: must hold a.gz, b.gz (unpacked will do); looked in "
        f"{places['home']}, {places['local']}, {places['system']}; "
        f"get them by apt install dataset-set, data.download=true or by hand from {site.url}"
    )
    (tmp_path / "b").touch()
    line = refused(source(site, files=(A, B)), str(tmp_path), download=False)
    assert f"must hold a.gz (unpacked will do); looked in {tmp_path}; get them by data.download=true" in line
    assert site.requests == []
    assert everything(tmp_path) == ["b"]


@pytest.mark.parametrize("name", ["nowhere", "file", "~nobody-of-that-name", "\0"])
def test_a_folder_that_does_not_exist_is_not_made(site: Site, tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    assert refused(source(site), name).endswith("must be a folder that exists")
    assert site.requests == []
    assert everything(tmp_path) == ["file"]


# Mirrors


def closed() -> str:
    """An address where nobody listens."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{s.getsockname()[1]}"


FAULTS = {
    "404": ({"status": 404}, "HTTP 404"),
    "500": ({"status": 500}, "HTTP 500"),
    "403": ({"status": 403}, "HTTP 403"),
    "corrupt": ({"files": {"/a.gz": CORRUPT}}, "wrong checksum"),
    "corrupt, size unknown": ({"files": {"/a.gz": CORRUPT}, "sized": False}, "wrong checksum"),
    "another page": ({"files": {"/a.gz": b"<html>"}}, f"has 6 bytes instead of {len(BODY)}"),
    "another page, size unknown": ({"files": {"/a.gz": b"<html>"}, "sized": False}, "broke off after 6 of"),
    "larger": ({"files": {"/a.gz": BODY + b"!"}}, f"has {len(BODY) + 1} bytes instead of"),
    "empty": ({"files": {"/a.gz": b""}}, "has 0 bytes"),
    "empty, size unknown": ({"files": {"/a.gz": b""}, "sized": False}, "broke off after 0 of"),
    "breaks off at once": ({"cuts": [0]}, "broke off after 0 of"),
    "always breaks off": ({"cuts": [9] * 9}, "broke off after 45 of"),
    "silent": ({"cuts": [0], "pause": 5}, "silent for 0.3 s"),
    "silent in between": ({"cuts": [7, 0], "pause": 5}, "silent for 0.3 s"),
    "a byte now and then": ({"trickle": "body"}, "sent only"),
    "a byte now and then, size unknown": ({"trickle": "body", "sized": False}, "sent only"),
    "a header's byte now and then": ({"trickle": "headers"}, "no answer within 0.3 s"),
    "goes round in circles": ({"moved": {"/a.gz": "/a.gz"}}, "HTTP 302"),
    "leads to a local file": ({"moved": {"/a.gz": "file:///etc/passwd"}}, "HTTP 302"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_next_mirror_is_asked(site: Site, second: Site, places: dict[str, Path], fault: str) -> None:
    for name, value in deepcopy(FAULTS[fault][0]).items():
        setattr(site, name, value)
    (path,) = find(source(site, second), None, download=True)
    assert path.read_bytes() == BODY
    assert site.requests
    assert second.requests
    assert everything(places["home"]) == ["a.gz"]


@pytest.mark.parametrize("fault", FAULTS)
def test_no_mirror_left(site: Site, tmp_path: Path, places: dict[str, Path], fault: str) -> None:
    for name, value in deepcopy(FAULTS[fault][0]).items():
        setattr(site, name, value)
    gone = closed()
    line = refused(source(gone, site, files=(A, B)))
    assert line.startswith("data.folder=null: must hold a.gz, b.gz (unpacked will do); downloading failed (")
    assert f"{gone.removeprefix('http://')}: Connection refused; {site.host}: {FAULTS[fault][1]}" in line
    assert line.endswith(f"put them by hand into {places['home']}, from {gone}/a.gz {gone}/b.gz")
    assert not list(tmp_path.rglob("a.gz"))
    part = places["home"] / "a.gz.part"
    assert not part.exists() or BODY.startswith(part.read_bytes()) or not site.sized
    if not part.exists():
        assert everything(tmp_path) == [], "nothing empty is left"


def test_how_slow_a_server_may_be_is_the_users_to_say(site: Site, tmp_path: Path) -> None:
    site.trickle = "body"
    slow = published("b.gz", OTHER)
    (path,) = download.find(source(site, files=(slow,)), str(tmp_path), download=True, pace=Pace(0.3, min_rate=0.001))
    assert path.read_bytes() == OTHER
    for option in ("mnist", "fashion_mnist", "cifar10", "cifar100"):
        assert {"timeout", "min_rate"} <= {*keys(components.resolve("data", option, ()))}


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("http://127.0.0.1:1/x y", r"127\.0\.0\.1:1: URL can't contain control characters"),
        ("http://.x", r"\.x: \w"),
    ],
)
def test_an_address_that_is_none(site: Site, tmp_path: Path, address: str, reason: str) -> None:
    (path,) = find(source(address, site), str(tmp_path), download=True)
    assert path.read_bytes() == BODY
    path.unlink()
    with pytest.raises(Unfit, match=reason):
        find(source(address), str(tmp_path), download=True)


def test_a_host_without_an_address(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def look_up(host: str, *args: Any, **kwargs: Any) -> Any:
        if host == "nowhere.example":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return known(host, *args, **kwargs)

    known = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    of = source("https://nowhere.example/a", site)
    site.status = 404
    assert "(nowhere.example: Name or service not known; 127.0.0.1" in refused(of, str(tmp_path))
    site.status = None
    assert find(of, str(tmp_path), download=True)[0].read_bytes() == BODY


def test_what_speaks_no_http(site: Site, tmp_path: Path) -> None:
    def answer() -> None:
        for _ in range(2):
            connection, _ = listening.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"220 smtp ready\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=answer)
        thread.start()
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        assert "220 smtp ready" in refused(source(address), str(tmp_path))
        (path,) = find(source(address, site), str(tmp_path), download=True)
        thread.join()
    assert path.read_bytes() == BODY


def test_the_users_mirror_comes_first(site: Site, second: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    second.files = {"/data/set/a.gz": BODY}
    monkeypatch.setenv("DLRUN_MIRROR", f"{second.url}/data/")
    (path,) = find(source(site), None, download=True)
    assert (site.requests, second.requests) == ([], [("/data/set/a.gz", None)])
    path.unlink()
    second.status = 503
    find(source(site), None, download=True)
    assert (len(site.requests), len(second.requests)) == (1, 2)


@pytest.mark.parametrize(
    "mirror", ["ftp://x", "file:///etc", "/home/data", "host:80", "http://", "http://[", "http:/x"]
)
def test_a_mirror_that_is_no_address(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mirror: str) -> None:
    monkeypatch.setenv("DLRUN_MIRROR", mirror)
    assert refused(source(site)) == f"DLRUN_MIRROR={mirror}: must be an address that begins with http:// or https://"
    assert everything(tmp_path) == []


def test_a_file_that_has_moved(site: Site, places: dict[str, Path]) -> None:
    site.moved, site.files = {"/a.gz": "/new/a.gz"}, {"/new/a.gz": BODY}
    site.cuts = [100]
    (path,) = find(source(site), None, download=True)
    assert path.read_bytes() == BODY
    assert site.requests[-1] == ("/new/a.gz", "bytes=100-")


# Gone on with


def test_a_download_that_breaks_off_goes_on(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.cuts = [1000, 500, 7000]
    (path,) = find(source(site), None, download=True)
    assert path.read_bytes() == BODY
    assert site.ranges_asked == [None, "bytes=1000-", "bytes=1500-", "bytes=8500-"]
    assert f"downloading a.gz (11 KiB, from 9 KiB on) from {site.host}" in capsys.readouterr().err


def test_another_mirror_goes_on(site: Site, second: Site) -> None:
    site.cuts = [1000, 0]
    (path,) = find(source(site, second), None, download=True)
    assert path.read_bytes() == BODY
    assert site.ranges_asked == [None, "bytes=1000-"]
    assert second.ranges_asked == ["bytes=1000-"]


def test_a_later_command_goes_on(site: Site, places: dict[str, Path]) -> None:
    site.cuts = [1000, 0]
    assert f"broke off after 1000 of {len(BODY)} bytes" in refused(source(site))
    assert everything(places["home"]) == ["a.gz.part"]
    (path,) = find(source(site), None, download=True)
    assert path.read_bytes() == BODY
    assert site.ranges_asked[2:] == ["bytes=1000-"]
    assert everything(places["home"]) == ["a.gz"]


KEPT = {
    # what an earlier command left, how the server is, what is asked of it
    "sound": (BODY[:700], {}, ["bytes=700-"]),
    "sound, the server sends no parts": (BODY[:700], {"ranges": False}, ["bytes=700-"]),
    "sound, size unknown": (BODY[:700], {"sized": False}, ["bytes=700-"]),
    "sound and whole": (BODY, {}, []),
    "of another file": (b"x" * 700, {}, ["bytes=700-", None]),
    "of another file, the server sends no parts": (b"x" * 700, {"ranges": False}, ["bytes=700-"]),
    "another file of that size": (CORRUPT, {}, [None]),
    "too long": (BODY + b"more", {}, [None]),
    "empty": (b"", {}, [None]),
    "of another file, breaks off": (b"x" * 700, {"cuts": [300]}, ["bytes=700-", "bytes=1000-", None]),
}


@pytest.mark.parametrize("case", KEPT)
def test_what_an_earlier_command_left(site: Site, places: dict[str, Path], case: str) -> None:
    part, how, asked = KEPT[case]
    for name, value in deepcopy(how).items():
        setattr(site, name, value)
    places["home"].mkdir(parents=True)
    (places["home"] / "a.gz.part").write_bytes(part)
    (path,) = find(source(site), None, download=True)
    assert path.read_bytes() == BODY
    assert site.ranges_asked == asked
    assert everything(places["home"]) == ["a.gz"]


def test_a_server_without_that_part_is_asked_for_all(site: Site, second: Site, places: dict[str, Path]) -> None:
    places["home"].mkdir(parents=True)
    (places["home"] / "a.gz.part").write_bytes(BODY[:700])
    site.files = {"/a.gz": BODY[:600]}  # answers 416
    (path,) = find(source(site, second), None, download=True)
    assert path.read_bytes() == BODY
    assert site.ranges_asked == ["bytes=700-", None]
    assert second.ranges_asked == ["bytes=700-"], "what was there is kept"


def test_a_server_that_sends_another_part(site: Site, second: Site, places: dict[str, Path]) -> None:
    places["home"].mkdir(parents=True)
    (places["home"] / "a.gz.part").write_bytes(BODY[:700])
    site.shift = 1
    assert f"{site.host}: sent a different part from the one asked for" in refused(source(site))
    (path,) = find(source(site, second), None, download=True)
    assert path.read_bytes() == BODY
    assert second.ranges_asked == ["bytes=700-"]


@settings(max_examples=40, deadline=None)
@given(
    cuts=st.lists(st.integers(0, len(BODY)), max_size=8),
    part=st.binary(max_size=50) | st.integers(0, len(BODY)).map(lambda n: BODY[:n]),
    ranges=st.booleans(),
    sized=st.booleans(),
    corrupt=st.booleans(),
)
def test_the_file_is_right_or_is_not_there(
    cuts: list[int], part: bytes, ranges: bool, sized: bool, corrupt: bool
) -> None:
    files = {"/a.gz": CORRUPT if corrupt else BODY}
    with tempfile.TemporaryDirectory() as folder, Site(files, cuts=cuts, ranges=ranges, sized=sized) as site:
        final = Path(folder, "a.gz")
        final.with_name("a.gz.part").write_bytes(part)
        try:
            find(source(site), folder, download=True)
        except Unfit:
            assert not final.exists()
        else:
            assert final.read_bytes() == BODY
            assert everything(Path(folder)) == ["a.gz"]


# Disk


@pytest.mark.parametrize(("place", "reason"), [("file", "Not a directory"), ("/proc", "No such file or directory")])
def test_a_folder_that_can_not_be_made(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, reason: str
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("DLRUN_DATA", str(tmp_path / place))
    line = refused(source(site))
    assert line.startswith("data.folder=null: must be a folder that a.gz (11 KiB) can be written to; ")
    assert line.endswith(f"{tmp_path / place / 'set'}: {reason}")
    assert everything(tmp_path) == ["file"]


def test_a_folder_that_is_read_only(site: Site, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        if os.access(tmp_path, os.W_OK):
            pytest.skip("root may write anywhere")
        line = refused(source(site), str(tmp_path))
    finally:
        tmp_path.chmod(0o700)
    assert line.endswith(f"can be written to; {tmp_path}: Permission denied")
    assert everything(tmp_path) == []


def test_a_full_disk(site: Site, second: Site, tmp_path: Path) -> None:
    body = bytes(300_000)
    site.files = second.files = {"/zeros": body}
    of = source(site, second, files=(published("zeros", body),))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))
    try:
        line = refused(of, str(tmp_path))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert line.endswith(f"must be a folder that zeros (293 KiB) can be written to; {tmp_path}: File too large")
    assert second.requests == [], "another mirror would not help"
    assert everything(tmp_path) == ["zeros.part"]
    find(of, str(tmp_path), download=True)
    assert site.ranges_asked == [None, "bytes=200000-"]
    assert (tmp_path / "zeros").read_bytes() == body


# Processes


def process(of: Source, folder: Path) -> subprocess.Popen[str]:
    code = (
        "import sys\nfrom dlrun.data.readers.transfer import File\n"
        "from dlrun.data.readers.download import Source, find\n"
        f"print(find({of!r}, {str(folder)!r}, download=True)[0].stat().st_size)"
    )
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", code], **pipes)


def wait_for(condition: Callable[[], object], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def test_two_processes_at_once(site: Site, tmp_path: Path) -> None:
    site.gate = threading.Event()
    of = source(site)
    first = process(of, tmp_path)
    wait_for(lambda: site.requests)
    other = process(of, tmp_path)
    line = other.stderr.readline()
    assert line == "waiting for another process that downloads a.gz\n"
    site.gate.set()
    for done in (first, other):
        out, err = done.communicate(timeout=30)
        assert (done.returncode, out) == (0, f"{len(BODY)}\n"), err
    assert len(site.requests) == 1
    assert (tmp_path / "a.gz").read_bytes() == BODY
    assert everything(tmp_path) == ["a.gz"]


def test_a_process_that_fails_while_another_waits(site: Site, tmp_path: Path) -> None:
    site.gate, site.files = threading.Event(), {"/a.gz": CORRUPT}
    of = source(site)
    first = process(of, tmp_path)
    wait_for(lambda: site.requests)
    other = process(of, tmp_path)
    assert other.stderr.readline().startswith("waiting")
    site.files = {"/a.gz": BODY}
    site.gate.set()
    assert "wrong checksum" in first.communicate(timeout=30)[1]
    out, err = other.communicate(timeout=30)
    assert (first.returncode, other.returncode, out) == (1, 0, f"{len(BODY)}\n"), err
    assert everything(tmp_path) == ["a.gz"]


def test_a_process_that_is_killed(site: Site, tmp_path: Path) -> None:
    site.gate = threading.Event()
    of, part = source(site), tmp_path / "a.gz.part"
    first = process(of, tmp_path)
    wait_for(lambda: part.exists() and part.stat().st_size == len(BODY) // 2)
    other = process(of, tmp_path)  # takes over where the first one ends
    assert other.stderr.readline().startswith("waiting")
    first.send_signal(signal.SIGKILL)
    first.communicate(timeout=30)
    site.gate.set()
    out, err = other.communicate(timeout=30)
    assert (other.returncode, out) == (0, f"{len(BODY)}\n"), err
    assert site.ranges_asked == [None, f"bytes={len(BODY) // 2}-"]
    assert (tmp_path / "a.gz").read_bytes() == BODY


# Terminal


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_on_a_terminal_only(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    for term, bar in (("dumb", False), ("xterm", True)):
        monkeypatch.setenv("TERM", term)
        find(source(site), str(tmp_path), download=True)[0].unlink()
        first, *rest = screen.getvalue().splitlines()
        assert first == f"downloading a.gz (11 KiB) from {site.host}"
        assert ("10.0 KiB" in "".join(rest)) == bar
        assert screen.getvalue().endswith("\x1b[2K" if bar else "\n"), "the bar is taken away"
        screen.seek(0)
        screen.truncate()
