"""The diagnosis: what it says, and that nothing in it can fail the whole."""

from __future__ import annotations

import json

import pytest

from mambaseg.doctor import Diagnosis, Finding, diagnose, hide_credentials
from mambaseg.models import Store


class _Broken:
    def host_free(self) -> int:
        raise OSError("no such counter")

    def device_free(self, device: str) -> int | None:
        raise RuntimeError(f"{device} does not answer")


def test_a_failing_probe_is_a_line():
    found = diagnose(_Broken(), {})
    failed = [(finding.topic, finding.value) for finding in found.findings if not finding.ok]
    assert ("Computer", "OSError: no such counter") in failed
    assert ("Devices", "RuntimeError: cpu does not answer") in failed
    assert not found.ok
    assert "! failed" in found.text()
    assert found.text().endswith(f"{len(failed)} lines are marked with '!': these need a look.")
    assert any(finding.topic == "Trial run" and finding.ok for finding in found.findings)


def test_a_damaged_model_is_a_line():
    folder = Store().root / "mine"
    folder.mkdir(parents=True)
    (folder / "model.json").write_text("{")
    assert any(finding.name == "mine" and not finding.ok for finding in diagnose(environment={}).findings)


def test_proxies_are_shown_without_their_passwords():
    environment = {"HTTPS_PROXY": "http://someone:se@cret@proxy.example:8080", "no_proxy": "localhost"}
    text = diagnose(environment=environment).text()
    assert "http://***@proxy.example:8080" in text
    assert "localhost" in text
    assert "cret" not in text
    assert "someone" not in text


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("http://proxy:3128", "http://proxy:3128"),
        ("user:word@proxy:3128", "***@proxy:3128"),
        ("socks5://u:p/q@proxy", "socks5://***@proxy"),
        ("http://u:p://q@proxy", "http://***@proxy"),
    ],
)
def test_hide_credentials(value: str, shown: str):
    assert hide_credentials(value) == shown


def test_text_and_json():
    found = Diagnosis((Finding("One", "a", "1"), Finding("Two", "long", "2", ok=False)))
    assert found.text() == "One\n  a     1\n\nTwo\n! long  2\n\n1 line is marked with '!': these need a look."
    assert json.loads(json.dumps(found.to_json()))["findings"][1]["ok"] is False
