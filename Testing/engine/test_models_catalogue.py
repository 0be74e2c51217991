"""Downloads from a real server on this computer: interrupted, resumed, altered, without ranges or lengths."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from engine.models_helpers import make_plans, make_results
from mambaseg.errors import Cancelled, DownloadError, ModelError, OutputError
from mambaseg.models import Entry, Store, download_model, install, load_catalogue, load_model
from mambaseg.models.catalogue import Catalogue
from mambaseg.models.downloads import Download, check_url

DATA = bytes(range(256)) * 4096
SHA = hashlib.sha256(DATA).hexdigest()


class NoWait:
    def sleep(self, seconds: float) -> None:
        assert seconds > 0


@dataclass
class Server:
    """What the server gives, how it fails, and what it was asked for."""

    url: str = ""
    data: bytes = DATA
    breaks: list[int] = field(default_factory=list)  # cut the connection after so many bytes, once each
    ranges: bool = True
    length: bool = True
    status: int = 200
    redirect: str = ""
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range", "")
            state.asked.append(asked)
            if state.redirect or state.status != 200:
                self.send_response(302 if state.redirect else state.status)
                if state.redirect:
                    self.send_header("Location", state.redirect)
                self.end_headers()
                return
            start = int(asked[6:-1]) if asked and state.ranges else 0
            body = state.data[start:]
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(state.data) - 1}/{len(state.data)}")
            if state.length:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: state.breaks.pop(0)] if state.breaks else body)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        state.url = f"http://127.0.0.1:{http.server_address[1]}/model"
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        yield state
        http.shutdown()
        thread.join()


def _download(tmp_path: Path, *urls: str, sha: str = SHA, size: int = len(DATA), attempts: int = 3) -> Download:
    return Download(urls, tmp_path / "it.mambaseg", sha, size, clock=NoWait(), timeout=5, attempts=attempts)


def test_a_file_arrives_whole_with_progress(tmp_path: Path, server: Server) -> None:
    seen: list[tuple[int, int]] = []
    path = _download(tmp_path, server.url).run(lambda done, total: seen.append((done, total)))
    assert path.read_bytes() == DATA
    assert [total for _, total in seen] == [len(DATA)] * len(seen)
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert seen[-1][0] == len(DATA)
    assert list(tmp_path.iterdir()) == [path]


def test_it_is_not_fetched_again(tmp_path: Path, server: Server) -> None:
    (tmp_path / "it.mambaseg").write_bytes(DATA)
    _download(tmp_path, server.url).run()
    assert server.asked == []


@pytest.mark.parametrize("length", [True, False])
def test_an_interrupted_download_goes_on_where_it_stopped(tmp_path: Path, server: Server, length: bool) -> None:
    server.breaks, server.length = [300_000, 400_000], length
    assert _download(tmp_path, server.url).run().read_bytes() == DATA
    assert server.asked == ["", "bytes=300000-", "bytes=700000-"]


def test_a_part_left_by_an_earlier_run_is_used(tmp_path: Path, server: Server) -> None:
    server.breaks = [300_000]
    with pytest.raises(DownloadError, match=r"300000 of 1048576 bytes.*goes on where it stopped"):
        _download(tmp_path, server.url, attempts=1).run()
    assert (tmp_path / "it.mambaseg.part").stat().st_size == 300_000
    assert _download(tmp_path, server.url).run().read_bytes() == DATA
    assert server.asked[-1] == "bytes=300000-"


def test_a_server_without_ranges_starts_again(tmp_path: Path, server: Server) -> None:
    server.breaks, server.ranges = [300_000], False
    assert _download(tmp_path, server.url).run().read_bytes() == DATA
    assert server.asked == ["", "bytes=300000-"]


def test_a_wrong_hash_deletes_the_part_and_says_so(tmp_path: Path, server: Server) -> None:
    server.data = b"x" + DATA[1:]
    with pytest.raises(DownloadError, match=r"SHA-256.*deleted"):
        _download(tmp_path, server.url).run()
    assert list(tmp_path.iterdir()) == []


def test_a_part_of_another_version_is_replaced(tmp_path: Path, server: Server) -> None:
    (tmp_path / "it.mambaseg.part").write_bytes(b"old" * 1000)
    assert _download(tmp_path, server.url).run().read_bytes() == DATA


def test_a_larger_file_and_a_longer_part_are_refused(tmp_path: Path, server: Server) -> None:
    (tmp_path / "it.mambaseg.part").write_bytes(DATA + b"more")
    server.data = DATA + b"more"
    with pytest.raises(DownloadError, match="larger than the promised"):
        _download(tmp_path, server.url).run()
    assert list(tmp_path.iterdir()) == []


def test_the_next_mirror_is_tried(tmp_path: Path, server: Server) -> None:
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / "file").write_bytes(DATA)
    server.status = 503
    mirror = (tmp_path / "mirror" / "file").as_uri()
    path = _download(tmp_path, server.url, "http://127.0.0.1:9/closed", mirror).run()
    assert path.read_bytes() == DATA
    assert server.asked == [""]


def test_all_mirrors_failing_names_each(tmp_path: Path, server: Server) -> None:
    server.status = 404
    absent = (tmp_path / "absent").as_uri()
    with pytest.raises(DownloadError, match=r"answers 404.*no such file.*import it"):
        _download(tmp_path, server.url, absent).run()


def test_cancel_keeps_the_part(tmp_path: Path, server: Server) -> None:
    done: list[int] = []
    with pytest.raises(Cancelled):
        _download(tmp_path, server.url).run(lambda now, _: done.append(now), lambda: bool(done))
    assert (tmp_path / "it.mambaseg.part").stat().st_size == done[-1]
    assert _download(tmp_path, server.url).run().read_bytes() == DATA


@pytest.mark.parametrize("target", ["http://example.org/model", "ftp://example.org/model", "file:///etc/hostname"])
def test_a_redirect_to_elsewhere_is_refused(tmp_path: Path, server: Server, target: str) -> None:
    server.redirect = target
    with pytest.raises(DownloadError, match=r"refused|answers 302"):
        _download(tmp_path, server.url).run()


@pytest.mark.parametrize("url", ["http://example.org/m", "ftp://example.org/m", "/m", "http://127.0.0.1.example.org/m"])
def test_other_addresses_are_refused(url: str) -> None:
    with pytest.raises(DownloadError, match="refused"):
        check_url(url)


def test_an_unwritable_place_is_a_sentence(tmp_path: Path, server: Server) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(OutputError, match="cannot be written"):
        _download(tmp_path / "taken", server.url).run()


@pytest.fixture
def package(tmp_path: Path) -> Path:
    install(make_results(tmp_path / "results", make_plans("old")), Store(tmp_path / "elsewhere"))
    store = Store(tmp_path / "elsewhere")
    return store.export(store.list()[0].id, tmp_path / "tiny.mambaseg")


def _entry(package: Path, url: str, model_id: str = "dataset777_tiny-umamba_bot-3d_fullres") -> Entry:
    data = package.read_bytes()
    return Entry(
        model_id,
        "1",
        "Tiny",
        "",
        "CT",
        ("liver",),
        "umamba_bot",
        len(data),
        hashlib.sha256(data).hexdigest(),
        (url,),
        "MIT",
    )


def test_a_model_is_downloaded_installed_and_not_fetched_again(tmp_path: Path, package: Path, server: Server) -> None:
    server.data = package.read_bytes()
    store, entry = Store(tmp_path / "store"), _entry(package, server.url)
    item = download_model(entry, store)
    assert item.id == entry.id
    assert list(store.downloads.iterdir()) == []
    assert download_model(entry, store) == item
    assert len(server.asked) == 1
    assert Catalogue((entry,)).identify(package) == entry
    assert Catalogue((entry,)).find("other") is None


def test_another_models_file_is_not_installed(tmp_path: Path, package: Path) -> None:
    store = Store(tmp_path / "store")
    with pytest.raises(ModelError, match="not 'other'"):
        download_model(_entry(package, package.as_uri(), "other"), store)
    assert store.list() == ()


def _catalogue(tmp_path: Path, **changes: Any) -> Path:
    entry = {
        "id": "a", "version": "1", "title": "A", "text": "", "modality": "CT", "structures": ["liver"],
        "network": "umamba_bot", "bytes": 1, "sha256": "0" * 64, "urls": ["https://example.org/a"], "licence": "MIT",
    }  # fmt: skip
    entry.update(changes)
    file = tmp_path / "catalogue.json"
    file.write_text(json.dumps({"schema_version": 1, "models": [entry, {**entry, "id": "b"}]}))
    return file


def test_a_catalogue_is_read_and_faults_are_named(tmp_path: Path) -> None:
    entry = load_catalogue(_catalogue(tmp_path, superseded_by="b")).find("a")
    assert entry is not None
    assert (entry.licence, entry.superseded_by) == ("MIT", "b")
    for changes, words in (
        ({"sha256": "no"}, r"'models\.0\.sha256'"),
        ({"urls": ["http://example.org/a"]}, "refused"),
        ({"id": "b"}, "'b' twice"),
        ({"extra": 1}, "'extra'"),
    ):
        with pytest.raises(ModelError, match=words):
            load_catalogue(_catalogue(tmp_path, **changes))


def test_the_shipped_catalogue_is_valid() -> None:
    for entry in load_catalogue().entries:
        assert entry.urls
        with pytest.raises(ModelError, match="Download it with"):
            load_model(entry.id)
