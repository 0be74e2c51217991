"""Fetching one file: to ``.part``, resumed, held to its SHA-256, then renamed."""

from __future__ import annotations

import hashlib
import http.client
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from mambaseg.errors import Cancelled, DownloadError, OutputError
from mambaseg.version import VERSION

Progress = Callable[[int, int], None]
_BLOCK = 256 * 1024
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


class Response(Protocol):
    """An answer being read."""

    status: int
    headers: Mapping[str, str]

    def read(self, amount: int) -> bytes:
        """Up to ``amount`` further bytes; empty at the end."""
        ...

    def close(self) -> None:
        """Let the connection go."""
        ...


class Opener(Protocol):
    """Asks for a URL."""

    def __call__(self, url: str, headers: Mapping[str, str], timeout: float) -> Response:
        """Give the answer's beginning; ``timeout`` in seconds without a byte."""
        ...


class Clock(Protocol):
    """Waits between attempts."""

    def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class SystemClock:
    """The computer's own clock."""

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


def check_url(url: str) -> None:
    """Refuse what is neither https nor a file (http on this computer itself is for tests).

    Raises
    ------
    DownloadError
        If a file could be changed on its way, or the kind of URL is not known.
    """
    parts = urllib.parse.urlsplit(url)
    if parts.scheme == "http" and parts.hostname in _LOOPBACK:
        return
    if parts.scheme not in {"https", "file"}:
        raise DownloadError(f"'{url}' is refused: models are fetched by https or from a file only.")


class _CheckedRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect may not lead to where a first URL may not."""

    def redirect_request(self, *request: Any) -> Any:  # as urllib has it: req, fp, code, msg, headers, newurl
        req, newurl = request[0], request[-1]
        check_url(newurl)
        if urllib.parse.urlsplit(newurl).scheme == "file":
            raise DownloadError(
                f"'{req.full_url}' points to a file of this computer, which a server may not. It is refused."
            )
        return super().redirect_request(*request)


class _FileResponse:
    """A local file read like an answer, from where the Range header says."""

    def __init__(self, path: Path, start: int) -> None:
        self._file = path.open("rb")
        self._file.seek(start)
        self.status = 206 if start else 200
        self.headers: Mapping[str, str] = {"Content-Range": f"bytes {start}-"} if start else {}

    def read(self, amount: int) -> bytes:
        """Up to ``amount`` further bytes."""
        return self._file.read(amount)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def open_url(url: str, headers: Mapping[str, str], timeout: float) -> Response:
    """Ask for a URL with urllib: proxies from the environment, none for this computer itself."""
    check_url(url)
    parts = urllib.parse.urlsplit(url)
    if parts.scheme == "file":
        start = int(headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        return _FileResponse(Path(urllib.request.url2pathname(parts.path)), start)
    handlers: list[urllib.request.BaseHandler] = [_CheckedRedirects()]
    if parts.hostname in _LOOPBACK:
        handlers.append(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(url, headers={"User-Agent": f"mambaseg/{VERSION}", **headers})  # noqa: S310 - check_url saw it
    response: Response = urllib.request.build_opener(*handlers).open(request, timeout=timeout)
    return response


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, lower-case hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


class Download:
    """One file to fetch.

    Parameters
    ----------
    urls
        Mirrors, in order of preference.
    destination
        Where the whole file is to be; ``destination.part`` holds it until then.
    sha256, size
        What the file must be (lower-case hex, bytes).
    opener, clock
        How to ask and how to wait.
    timeout
        Seconds without a byte before a mirror is given up.
    attempts
        Rounds over all mirrors.
    """

    def __init__(
        self,
        urls: Sequence[str],
        destination: Path,
        sha256: str,
        size: int,
        *,
        opener: Opener = open_url,
        clock: Clock | None = None,
        timeout: float = 60.0,
        attempts: int = 3,
    ) -> None:
        self.urls = tuple(urls)
        self.destination = destination
        self.part = destination.with_name(destination.name + ".part")
        self.sha256, self.size = sha256, size
        self._opener, self._clock = opener, clock or SystemClock()
        self._timeout, self._attempts = timeout, attempts

    def run(self, progress: Progress | None = None, cancel: Callable[[], bool] | None = None) -> Path:
        """Fetch the file, unless it is there already.

        Parameters
        ----------
        progress
            Called with the bytes that are here and the bytes in all.
        cancel
            Asked before each block; True stops, and the ``.part`` is kept for the next time.

        Returns
        -------
        Path
            ``destination``, whole and of the promised SHA-256.

        Raises
        ------
        DownloadError
            If no mirror gave the promised file; a ``.part`` with the wrong contents is deleted.
        OutputError
            If it cannot be written.
        Cancelled
            If ``cancel`` said so.
        """
        for url in self.urls:
            check_url(url)
        try:
            if self.destination.is_file() and file_sha256(self.destination) == self.sha256:
                return self.destination
            self.destination.parent.mkdir(parents=True, exist_ok=True)
            return self._rounds(progress or _silent, cancel or _never)
        except OSError as error:
            raise OutputError(
                f"'{self.part}' cannot be written ({error.strerror or error}). Check the free space and the "
                "folder's rights; "
                "what was fetched so far is kept and the download goes on from there."
            ) from error

    def _rounds(self, progress: Progress, cancel: Callable[[], bool]) -> Path:
        reasons: dict[str, str] = {}
        for attempt in range(self._attempts):
            if attempt:
                self._clock.sleep(2.0**attempt)
            for url in self.urls:
                fault = self._fetch(url, progress, cancel) or self._finish()
                if not fault:
                    return self.destination
                reasons[url] = fault
        told = "; ".join(f"{url}: {fault}" for url, fault in reasons.items())
        raise DownloadError(
            f"'{self.destination.name}' could not be fetched. {told or 'There is no address to fetch it from'}. "
            "Check the network (a proxy is taken from HTTPS_PROXY) and try again, which goes on where it stopped; "
            "or fetch the file on another computer and import it."
        )

    def _finish(self) -> str:
        """Hold the ``.part`` to its SHA-256 and give it its name; what is wrong, or nothing."""
        found = file_sha256(self.part)
        if found != self.sha256:
            self.part.unlink()
            return f"it has the SHA-256 {found}, but {self.sha256} is promised, so it was deleted"
        self.part.replace(self.destination)
        return ""

    def _fetch(self, url: str, progress: Progress, cancel: Callable[[], bool]) -> str:
        """Bring the ``.part`` to its full size from one mirror; what is wrong, or nothing."""
        have = self.part.stat().st_size if self.part.is_file() else 0
        if have > self.size:
            self.part.unlink()
            have = 0
        if have == self.size:
            return ""
        if cancel():
            raise Cancelled("The download was stopped. What was fetched so far is kept.")
        try:
            response = self._opener(url, {"Range": f"bytes={have}-"} if have else {}, self._timeout)
        except urllib.error.HTTPError as error:
            if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                self.part.unlink(missing_ok=True)
            return f"the server answers {error.code} {error.reason}"
        except FileNotFoundError:
            return "there is no such file"
        except (PermissionError, IsADirectoryError) as error:
            return f"the file cannot be read ({error.strerror})"
        except (http.client.HTTPException, OSError) as error:
            return f"no answer ({getattr(error, 'reason', error)})"
        try:
            return self._copy(response, have, progress, cancel)
        finally:
            response.close()

    def _copy(self, response: Response, have: int, progress: Progress, cancel: Callable[[], bool]) -> str:
        resumed = response.status == http.HTTPStatus.PARTIAL_CONTENT and str(
            response.headers.get("Content-Range", "")
        ).startswith(f"bytes {have}-")
        if response.status == http.HTTPStatus.PARTIAL_CONTENT and not resumed:
            return "the server gives another part than the one asked for"
        done = have if resumed else 0
        with self.part.open("ab" if resumed else "wb") as file:
            while True:
                if cancel():
                    raise Cancelled("The download was stopped. What was fetched so far is kept.")
                try:
                    block = response.read(_BLOCK)
                except (http.client.HTTPException, OSError) as error:  # the network's: nothing is written here
                    return f"the connection broke after {done} of {self.size} bytes ({error or type(error).__name__})"
                if not block:
                    break
                done += len(block)
                if done > self.size:
                    break
                file.write(block)
                progress(done, self.size)
        if done > self.size:
            self.part.unlink()
            return f"it is larger than the promised {self.size} bytes, so it was deleted"
        return "" if done == self.size else f"it ended after {done} of {self.size} bytes"


def _silent(_done: int, _total: int) -> None:
    """No progress asked for."""


def _never() -> bool:
    return False
