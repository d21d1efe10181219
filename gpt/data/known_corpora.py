"""Texts that have a name: the two written for this project, and a few that everybody measures on.

A text of the second kind is downloaded once, through pooch, into the user's cache, and is always compared
with the SHA-256 kept here: the address pins what is asked for, the hash pins what is got.
"""

import hashlib
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gpt.data.cache import cache_folder, make_cache_folder
from gpt.errors import RunError
from gpt.files import atomic_file, shipped, write_text
from gpt.utf8 import shown

EMBEDDED = {"tales": "tales.txt", "tales-zh": "tales-zh.txt"}  # in the repository's data/
DEFAULT = "tales"

CONNECT_SECONDS, READ_SECONDS = 10, 30  # how long a silent server is waited for


@dataclass(frozen=True)
class Download:
    """A file on the web that never changes. `member` is the text's name when the file is a zip archive."""

    url: str
    n_bytes: int  # of what is downloaded
    file_sha256: str | None  # of what is downloaded; None where only the text that is made of it is compared
    text_sha256: str  # of the text in it
    member: str = ""
    cut: Callable[[str], str] | None = None  # what is done to the file's text


def without_gutenberg(text: str) -> str:
    """A book of Project Gutenberg without what is not the book: header, licence, edition line, Windows line ends.

    Lines end at their last letter, and no more than two empty lines follow one another.
    """
    text = text.removeprefix("\ufeff").replace("\r", "")
    text = re.split(r"\*\*\* ?START OF TH[^\n]*\n", text, maxsplit=1)[-1]
    text = re.split(r"\n(?:End of (?:the )?Project Gutenberg|\*\*\* ?END OF TH)", text, maxsplit=1)[0]
    text = re.sub(r"\n[^\n]*FULCRUM EDITION[^\n]*\n", "\n", text)
    text = re.sub(r"[ \t]+\n", "\n", text)
    return re.sub(r"\n{4,}", "\n\n\n", text).strip() + "\n"


_CHAR_RNN = "https://raw.githubusercontent.com/karpathy/char-rnn/6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e"
_WORD_CLOUD = "https://raw.githubusercontent.com/amueller/word_cloud/6561fc48d4fc670eec31d4e9b0ab40155ac0d978"
_TINYSHAKESPEARE = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"

DOWNLOADS = {
    # 1.1 MB of Shakespeare's plays; 65 different characters
    "tinyshakespeare": Download(
        f"{_CHAR_RNN}/data/tinyshakespeare/input.txt", 1_115_394, _TINYSHAKESPEARE, _TINYSHAKESPEARE
    ),
    # Lewis Carroll's Alice's Adventures in Wonderland, Project Gutenberg's book 11; 69 different characters
    "alice": Download(
        f"{_WORD_CLOUD}/examples/alice.txt",
        148_567,
        None,
        "e25bdc71812c3d775fef31cc932514d36519c5f9b317981c9a0f03e2ff2f655b",
        cut=without_gutenberg,
    ),
    # the first 100 MB of English Wikipedia in March 2006, markup and all
    "enwik8": Download(
        "https://mattmahoney.net/dc/enwik8.zip",
        36_445_475,
        "547994d9980ebed1288380d652999f38a14fe291a6247c157c3d33d4932534bc",
        "2b49720ec4d78c3c9fabaee6e4179a5e997302b3a70029f30f2d582218c024a8",
        member="enwik8",
    ),
    # the same as plain words: 27 different characters, one line of 100 MB
    "text8": Download(
        "https://mattmahoney.net/dc/text8.zip",
        31_344_016,
        "a6640522afe85d1963ad56c05b0ede0a0c000dddc9671758a6cc09b7a38e5232",
        "6e890197040d37d85beb962ae1f041ff1d9a9ca8d20c7d99c85027eebf51dca7",
        member="text8",
    ),
}

ALIASES = {
    "tales-en": "tales",
    "shakespeare": "tinyshakespeare",
    "tiny-shakespeare": "tinyshakespeare",
    "tiny_shakespeare": "tinyshakespeare",
    "shakespeare_char": "tinyshakespeare",
}


def names() -> list[str]:
    """The names there are, aliases left out."""
    return [*EMBEDDED, *DOWNLOADS]


def is_known(name: str) -> bool:
    return ALIASES.get(name, name) in names()


def find(name: str) -> Path | None:
    """The file of a name's text, downloaded if need be; None when there is no such name.

    Raises RunError when an embedded text is not where it should be, or a download fails.
    """
    name = ALIASES.get(name, name)
    if name in EMBEDDED:
        return _embedded(name)
    if name in DOWNLOADS:
        return _downloaded(name, DOWNLOADS[name])
    return None


def _embedded(name):
    folder = shipped("data")
    path = folder / EMBEDDED[name]
    if not path.is_file():
        raise RunError(
            f"the embedded corpus {EMBEDDED[name]} is not in {shown(folder)}: install the package again, "
            "or name a text of your own with --data FILE"
        )
    return path


def _downloaded(name, download):
    path = cache_folder() / "texts" / f"{name}.txt"
    if path.is_file() and _sha256(path) == download.text_sha256:
        return path
    make_cache_folder(path.parent)
    print(
        f"downloading {name} ({download.n_bytes / 1e6:.1f} MB) from {download.url}",
        file=sys.stderr,
        flush=True,
    )
    fetched = _fetch(name, download, path.parent)
    if download.member:
        _unzip(fetched, download.member, path)
        fetched.unlink()
    if download.cut:
        write_text(path, download.cut(fetched.read_text(encoding="utf-8", errors="replace")))
        fetched.unlink()
    if _sha256(path) != download.text_sha256:
        path.unlink()
        raise RunError(f"what {download.url} holds is not {name}: its SHA-256 is another; it was not kept")
    return path


def _fetch(name, download, folder):
    """Download to `folder`, unless the right file is there; -> its path."""
    import pooch
    import requests

    pooch.get_logger().setLevel("ERROR")  # its log lines are for developers
    suffix = ".zip" if download.member else ".whole" if download.cut else ".txt"
    large = download.n_bytes > 5e6 and sys.stderr.isatty()
    try:
        fetched = pooch.retrieve(
            download.url,
            known_hash=f"sha256:{download.file_sha256}" if download.file_sha256 else None,
            fname=name + suffix,
            path=folder,
            downloader=pooch.HTTPDownloader(progressbar=large, timeout=(CONNECT_SECONDS, READ_SECONDS)),
        )
    except requests.exceptions.RequestException as error:
        raise RunError(
            f"cannot download {name} from {download.url}: {_network_reason(error)}; "
            "without a network, train on a file of your own with --data FILE"
        ) from error
    except ValueError as error:  # pooch's word for a hash that differs
        raise RunError(
            f"what came from {download.url} is not {name}: its SHA-256 is not {download.file_sha256}; "
            "it was not kept; try again, and look for a proxy that answers in its place"
        ) from error
    except OSError as error:
        raise RunError(f"cannot write {shown(folder)}: {error.strerror or error}") from error
    return Path(fetched)


def _network_reason(error):
    from requests import exceptions as known

    if isinstance(error, known.HTTPError) and error.response is not None:
        return f"the server answered {error.response.status_code}"
    if isinstance(error, known.Timeout):
        return "no answer in time"
    if isinstance(error, known.ProxyError):
        return "the proxy refused"
    if isinstance(error, known.SSLError):
        return "no secure connection"
    if isinstance(error, known.ConnectionError):
        return "no connection"
    return type(error).__name__


def _unzip(archive, member, path):
    import zipfile

    with zipfile.ZipFile(archive) as files, files.open(member) as source, atomic_file(path) as target:
        shutil.copyfileobj(source, target, 1 << 20)


def _sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
