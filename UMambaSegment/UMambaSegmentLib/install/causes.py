"""Why an installation failed, found in pip's log, and what to do about it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from UMambaSegmentLib.i18n import _

_LINES, _CHARACTERS = 60, 6000
_PASSWORD = re.compile(r"(://)[^/\s:@]+(:[^/\s@]*)?@")

# In this order: what is certain comes before what pip also prints when something else is the cause. Without a network
# pip ends with "No matching distribution", so that comes last.
_SIGNS: tuple[tuple[str, str], ...] = (
    (
        "interrupted",
        r"KeyboardInterrupt|Operation cancelled by user|died with <Signals\.SIG(INT|TERM)|exit status 130\b",
    ),
    ("long_path", r"WinError 206|filename or extension is too long|Long Path|File name too long|Errno 36\b"),
    (
        "no_space",
        r"No space left on device|Errno 28\b|WinError 112\b|not enough space on the disk|quota exceeded|Errno 122\b",
    ),
    ("in_use", r"WinError (5|32|33)\b|being used by another process|virus or potentially unwanted|WinError 225\b"),
    ("permission", r"Permission denied|Errno 13\b|Read-only file system|Errno 30\b|externally-managed-environment"),
    ("memory", r"\bMemoryError\b|died with <Signals\.SIGKILL|Cannot allocate memory|Errno 12\b|WinError 1455\b"),
    (
        "library",
        r"DLL load failed|WinError (126|127|193|1114)\b|cannot open shared object|undefined symbol|Symbol not found",
    ),
    ("damaged_download", r"DO NOT MATCH THE HASHES|hash mismatch|BadZipFile|File is not a zip file|invalid wheel"),
    (
        "conflict",
        r"ResolutionImpossible|conflicting dependencies|user requested \(constraint\)|because these package versions",
    ),
    ("proxy", r"ProxyError|Cannot connect to proxy|Tunnel connection failed|407 Proxy|Missing dependencies for SOCKS"),
    (
        "certificate",
        r"CERTIFICATE_VERIFY_FAILED|certificate verify failed|SSLError|SSLCertVerificationError|self.signed",
    ),
    (
        "no_network",
        r"NewConnectionError|NameResolutionError|getaddrinfo failed|Name or service not known|name resolution"
        r"|nodename nor servname|Network is unreachable|No route to host|Connect ?Timeout|Read ?Timed? ?out"
        r"|Connection (refused|reset|aborted|broken)|Max retries exceeded|RemoteDisconnected|IncompleteRead"
        r"|WinError (10\d{3}|11001)\b",
    ),
    ("server", r"\b(403|404|429|5\d\d) (Client|Server) Error|HTTP error (403|404|429|5\d\d)"),
    (
        "no_distribution",
        r"No matching distribution|Could not find a version that satisfies|not a supported wheel|Requires-Python",
    ),
    ("no_pip", r"PythonSlicer executable not found|No module named '?pip\b"),
)


@dataclass(frozen=True)
class Cause:
    """A cause: short name, what it is (a clause without full stop), and what to do (sentences)."""

    kind: str
    text: str
    remedy: str


def find_cause(log: str) -> Cause:
    """Recognise the cause in what pip printed and in the exception's text; kind ``unknown`` if there is no sign."""
    for kind, pattern in _SIGNS:
        if re.search(pattern, log, re.IGNORECASE):
            return _known(kind)
    return _known("unknown")


def end_of_log(log: str) -> str:
    """The log's last lines, without names and passwords in addresses: people paste it into messages."""
    lines = "\n".join(log.rstrip().splitlines()[-_LINES:])
    return _PASSWORD.sub(r"\1***@", lines)[-_CHARACTERS:]


def _known(kind: str) -> Cause:
    text, remedy = _words()[kind]
    return Cause(kind, text, remedy)


def _words() -> dict[str, tuple[str, str]]:
    return {
        "interrupted": (_("the installation was interrupted"), _("Press Segment again to go on.")),
        "long_path": (
            _("a file's path is too long for Windows"),
            _("Install Slicer in a folder with a short path such as C:\\Slicer, or switch on long paths in Windows."),
        ),
        "no_space": (
            _("the disk is full"),
            _("Free at least 2 GB (8 GB with an NVIDIA card) on the disk that Slicer is installed on."),
        ),
        "in_use": (
            _("Windows denied access to a file: another program, or a virus scanner, holds it"),
            _(
                "Close every other Slicer window, restart Slicer, and try at once, before using another module; if it "
                "happens again, ask your administrator to let the virus scanner pass Slicer's folder."
            ),
        ),
        "permission": (
            _("Slicer may not write into its own folder"),
            _("Install Slicer in a folder of your own, or ask the administrator of this computer to install them."),
        ),
        "memory": (_("the computer ran out of memory"), _("Close other programs and try again.")),
        "library": (
            _("it was installed, but a library of the system that it needs does not load"),
            _(
                "On Windows install Microsoft's current Visual C++ Redistributable (x64); on Linux the log names the "
                "missing library. Restart Slicer and try again."
            ),
        ),
        "damaged_download": (
            _("a downloaded file is damaged"),
            _("Try again; if it stays, a proxy or virus scanner alters downloads: ask your administrator."),
        ),
        "conflict": (
            _("no version of it works with the packages that Slicer brings, which are never replaced"),
            _("Update Slicer to the newest version, or send the log to the extension's authors."),
        ),
        "proxy": (
            _("the proxy between this computer and the internet refused or was not reached"),
            _(
                "Set the variables HTTPS_PROXY and HTTP_PROXY to your proxy's address (your administrator knows it), "
                "restart Slicer, and try again."
            ),
        ),
        "certificate": (
            _("the secure connection could not be verified"),
            _(
                "Check this computer's date and time. In a hospital or company whose network inspects connections, ask "
                "the administrator for its certificate and set the variable PIP_CERT to that file."
            ),
        ),
        "no_network": (
            _("the package server was not reached"),
            _("Check the internet connection and the firewall, and try again; what was downloaded is kept."),
        ),
        "server": (
            _("the package server refused or has the file no longer"),
            _("Try again later; if it stays, the network may block the server: ask your administrator."),
        ),
        "no_distribution": (
            _("there is no version of it for this Python, operating system and processor"),
            _("Use the newest Slicer, or choose under Advanced, 'Interpreter', another Python that has mambaseg."),
        ),
        "no_pip": (
            _("this Slicer's own pip was not found"),
            _("Install Slicer again and try once more."),
        ),
        "unknown": (_("pip failed"), _("The end of the log says more; send it to the extension's authors.")),
    }
