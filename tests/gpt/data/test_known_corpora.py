"""gpt/data/known_corpora.py: names, and downloads that cannot go wrong silently. The only server is this machine."""

import hashlib
import http.server
import io
import socket
import threading
import zipfile

import pytest

from gpt.data import known_corpora
from gpt.data.corpus import open_corpus
from gpt.data.known_corpora import Download
from gpt.errors import RunError
from tests.support import ROOT

TEXT = "To be, or not to be: 生存还是毁灭\n".encode() * 100


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def zipped(data: bytes) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("member", data)
    return archive.getvalue()


class Server(http.server.ThreadingHTTPServer):
    """Gives `answers` {path: bytes}; counts what it was asked for."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers, self.requests = {}, 0


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests += 1
        body = self.server.answers.get(self.path)
        self.send_response(404 if body is None else 200)
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, *args):
        """Keep the test's stderr to the program's own words."""


@pytest.fixture
def server():
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NANOGRAD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "*")
    return tmp_path / "cache"


@pytest.fixture
def offer(server, monkeypatch):
    """Give the name "play" to something that the server has."""

    def offer(body, *, text=TEXT, sent=None, member=""):
        server.answers["/play"] = body if sent is None else sent
        url = f"http://127.0.0.1:{server.server_port}/play"
        download = Download(url, len(body), sha256(body), sha256(text), member)
        monkeypatch.setitem(known_corpora.DOWNLOADS, "play", download)

    return offer


def test_the_pins_are_whole():
    for name, download in known_corpora.DOWNLOADS.items():
        assert download.url.startswith("https://"), name
        for digest in (download.file_sha256 or download.text_sha256, download.text_sha256):
            assert len(bytes.fromhex(digest)) == 32, name
        assert bool(download.member or download.cut) == (download.file_sha256 != download.text_sha256), name


def test_tiny_shakespeare_is_the_one_that_everybody_measures_on():
    path = ROOT.parent / "shared" / "data" / "tinyshakespeare.txt"
    if not path.is_file():
        pytest.skip("needs ../shared/data/tinyshakespeare.txt")
    download = known_corpora.DOWNLOADS["tinyshakespeare"]
    data = path.read_bytes()
    assert (len(data), sha256(data)) == (download.n_bytes, download.text_sha256)


def test_aliases_lead_to_names():
    assert set(known_corpora.ALIASES.values()) <= set(known_corpora.names())
    assert known_corpora.find("tales-en") == known_corpora.find("tales")
    assert known_corpora.find("no such name") is None


def test_a_download_is_kept_and_the_network_left_alone(offer, server, cache, capsys):
    offer(TEXT)
    corpus = open_corpus(["play"])
    assert "".join(corpus.chunks()).encode() == TEXT
    assert corpus.label == "play"
    assert [path.name for path in (cache / "texts").iterdir()] == ["play.txt"]
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("downloading play (0.0 MB) from http://127.0.0.1:")
    open_corpus(["play"])
    assert server.requests == 1
    assert capsys.readouterr().err == ""


def test_an_archive_is_unpacked(offer, cache):
    offer(zipped(TEXT), member="member")
    assert "".join(open_corpus(["play"]).chunks()).encode() == TEXT
    assert [path.name for path in (cache / "texts").iterdir()] == ["play.txt"]


def test_a_damaged_copy_is_fetched_again(offer, server, cache):
    offer(TEXT)
    open_corpus(["play"])
    (cache / "texts" / "play.txt").write_bytes(b"damaged")
    assert "".join(open_corpus(["play"]).chunks()).encode() == TEXT
    assert server.requests == 2


def test_another_text_under_the_same_address_is_refused(offer, cache):
    offer(TEXT, sent=b"<html>please log in</html>")
    with pytest.raises(RunError, match=r"is not play: its SHA-256 is not .* not kept") as caught:
        open_corpus(["play"])
    assert "\n" not in str(caught.value)
    assert list((cache / "texts").iterdir()) == []


def test_another_text_in_the_archive_is_refused(offer, cache):
    offer(zipped(b"something else"), member="member")
    with pytest.raises(RunError, match=r"holds is not play: its SHA-256 is another; it was not kept"):
        open_corpus(["play"])
    assert list((cache / "texts").iterdir()) == []


def test_no_such_page_is_one_line(offer, server):
    offer(TEXT)
    server.answers.clear()
    with pytest.raises(RunError, match=r"cannot download play .*the server answered 404; without a network"):
        open_corpus(["play"])


def test_no_network_is_one_line(monkeypatch):
    monkeypatch.setitem(known_corpora.DOWNLOADS, "play", Download("http://127.0.0.1:9/play", 1, "0" * 64, "0" * 64))
    with pytest.raises(RunError, match=r"from http://127.0.0.1:9/play: no connection; .* --data FILE") as caught:
        open_corpus(["play"])
    assert "\n" not in str(caught.value)


def test_a_server_that_never_answers_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(known_corpora, "READ_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/play"
        monkeypatch.setitem(known_corpora.DOWNLOADS, "play", Download(url, 1, "0" * 64, "0" * 64))
        with pytest.raises(RunError, match=r"no answer in time"):
            open_corpus(["play"])


def test_a_cache_that_cannot_be_written_is_one_line(offer, cache):
    offer(TEXT)
    cache.write_bytes(b"a file in the way")
    with pytest.raises(RunError, match=r"cannot make .*NANOGRAD_CACHE"):
        open_corpus(["play"])


def test_alice_without_what_the_project_gutenberg_put_around_it():
    raw = (
        "\ufeffProject Gutenberg's Alice\r\n\r\n*** START OF THIS PROJECT GUTENBERG EBOOK ***\r\n\r\n\r\nALICE\r\n\r\n"
        "Lewis Carroll\r\n\r\nTHE MILLENNIUM FULCRUM EDITION 3.0\r\n\r\n\r\n\r\n\r\nCHAPTER I.  \r\n\r\nDown.\r\n\r\n"
        "  THE END\r\n\r\n\r\nEnd of Project Gutenberg's Alice\r\n\r\n*** END OF THIS PROJECT\r\n"
    )
    expected = "ALICE\n\nLewis Carroll\n\n\nCHAPTER I.\n\nDown.\n\n  THE END\n"
    assert known_corpora.without_gutenberg(raw) == expected
