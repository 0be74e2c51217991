"""Each way in which pip fails is recognised in what it printed, and comes with what to do."""

from __future__ import annotations

import pytest

from UMambaSegmentLib.install.causes import end_of_log, find_cause

RETRY = "WARNING: Retrying (Retry(total=0, connect=None, read=None, status=None)) after connection broken by "
NONE = "ERROR: Could not find a version that satisfies the requirement click (from versions: none)\n"
NONE += "ERROR: No matching distribution found for click"

LOGS = {
    "no_network": [
        RETRY
        + "'NewConnectionError('<pip._vendor.urllib3.connection.HTTPSConnection object>: Failed to establish a new "
        "connection: [Errno -3] Temporary failure in name resolution')': /simple/click/\n" + NONE,
        RETRY + "'NameResolutionError(...: Failed to resolve ([Errno 11001] getaddrinfo failed)')'\n" + NONE,
        "pip._vendor.urllib3.exceptions.ReadTimeoutError: HTTPSConnectionPool(...): Read timed out.",
        "ConnectionResetError: [WinError 10054] An existing connection was forcibly closed by the remote host",
    ],
    "proxy": [RETRY + "'ProxyError('Cannot connect to proxy.', NewConnectionError('...'))': /simple/click/\n" + NONE],
    "certificate": [
        RETRY + "'SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: "
        "self-signed certificate in certificate chain (_ssl.c:1006)'))': /simple/click/\n" + NONE
    ],
    "no_space": [
        "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device",
        "OSError: [WinError 112] There is not enough space on the disk",
    ],
    "permission": ["ERROR: Could not install packages due to an OSError: [Errno 13] Permission denied: 'lib/click'"],
    "in_use": [
        "ERROR: Could not install packages due to an OSError: [WinError 5] Access is denied: 'c10.dll'\n"
        "Consider using the `--user` option or check the permissions.",
        "PermissionError: [WinError 32] The process cannot access the file because it is being used by another process",
    ],
    "long_path": [
        "ERROR: Could not install packages due to an OSError: [Errno 2] No such file or directory\n"
        "HINT: This error might have occurred since this system does not have Windows Long Path support enabled.",
        "FileNotFoundError: [WinError 206] The filename or extension is too long",
    ],
    "no_distribution": [
        "ERROR: Could not find a version that satisfies the requirement torch>=2.10 (from versions: 2.0.0, 2.2.2)\n"
        "ERROR: No matching distribution found for torch>=2.10"
    ],
    "conflict": [
        "ERROR: Cannot install numba because these package versions have conflicting dependencies.\n"
        "The conflict is caused by:\n    numba 0.60.0 depends on numpy<2.1\n"
        "    The user requested (constraint) numpy==2.4\n"
        "ERROR: ResolutionImpossible: for help visit the documentation"
    ],
    "interrupted": ["ERROR: Operation cancelled by user", "Command died with <Signals.SIGINT: 2>."],
    "memory": ["Command '...' died with <Signals.SIGKILL: 9>.", "MemoryError"],
    "library": [
        'OSError: [WinError 126] The specified module could not be found. Error loading "c10.dll"',
        "ImportError: libcudart.so.12: cannot open shared object file: No such file or directory",
    ],
    "damaged_download": ["ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE."],
    "server": ["ERROR: HTTP error 403 while getting a file", "requests.HTTPError: 503 Server Error: Unavailable"],
    "no_pip": ["RuntimeError: PythonSlicer executable not found"],
    "unknown": ["CalledProcessError: Command 'pip install' returned non-zero exit status 1.", ""],
}


@pytest.mark.parametrize(("kind", "log"), [(kind, log) for kind, logs in LOGS.items() for log in logs])
def test_recognised(kind, log):
    cause = find_cause(log)
    assert cause.kind == kind
    assert cause.text
    assert not cause.text.endswith(".")
    assert cause.remedy.endswith(".")


def test_the_logs_end_is_kept_without_passwords():
    lines = [f"line {number}" for number in range(500)]
    text = end_of_log("\n".join([*lines, "Looking in indexes: https://me:secret@index.example/simple"]) + "\n")
    assert text.endswith("https://***@index.example/simple")
    assert "secret" not in text
    assert "line 499" in text
    assert "line 100\n" not in text
