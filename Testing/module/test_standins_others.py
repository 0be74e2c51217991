"""The stand-ins of slicer.packaging, PyTorchUtils, SampleData and i18n play what a test sets, by Slicer's rules."""

from __future__ import annotations

import inspect
import json
import subprocess
import threading
from pathlib import Path

import pytest

CONTRACT = Path(__file__).resolve().parents[1] / "harness" / "contract.json"


def _arguments(signature: str) -> list[str]:
    code = f"def {signature}: pass"
    space: dict[str, object] = {}
    exec(f"from __future__ import annotations\n{code}", space)  # noqa: S102 - the contract's own signatures
    return list(inspect.signature(space[signature.partition("(")[0]]).parameters)


def test_signatures_are_the_contracts(app):
    import PyTorchUtils
    import slicer.i18n
    import slicer.packaging

    assert app is not None
    contract = json.loads(CONTRACT.read_text(encoding="utf-8"))
    for module, section in ((slicer.packaging, "slicer_packaging"), (slicer.i18n, "slicer_i18n")):
        for name, signature in contract[section].items():
            assert list(inspect.signature(getattr(module, name)).parameters) == _arguments(signature), name
    logic = PyTorchUtils.PyTorchUtilsLogic
    for signature in contract["PyTorchUtils"]["PyTorchUtilsLogic"]["methods"]:
        name = signature.split("(")[0]
        if name in ("installTorch", "importTorch", "getDevice"):
            assert list(inspect.signature(getattr(logic, name)).parameters) == _arguments(signature), name


def test_every_method_of_the_base_classes_is_there(app):
    from slicer import ScriptedLoadableModule as base

    assert app is not None
    for name, facts in json.loads(CONTRACT.read_text(encoding="utf-8"))["ScriptedLoadableModule"].items():
        for signature in facts["methods"]:
            assert hasattr(getattr(base, name), signature.split("(")[0]), (name, signature)


def test_requirements_are_read_by_slicers_rules(app, tmp_path):
    import slicer.packaging

    assert app is not None
    file = tmp_path / "requirements.txt"
    file.write_text("# comment\n\n--no-deps\nnumpy>=1.26\nnumba>=0.60; python_version<'3.0'\n", encoding="utf-8")
    loaded = slicer.packaging.load_requirements(file)
    assert [requirement.name for requirement in loaded] == ["numpy", "numba"]
    assert slicer.packaging.pip_check(loaded)
    assert not slicer.packaging.pip_check("numpy>=99")
    file.write_text("numpy>=1.26  # not taken off\n", encoding="utf-8")
    with pytest.raises(Exception, match="numpy"):
        slicer.packaging.load_requirements(file)


def test_installing_asks_first_and_can_be_declined(app):
    from slicer import packaging

    packaging.PIP.missing.add("numba")
    assert packaging.pip_ensure(["numba"]) is None
    assert packaging.PIP.calls == []
    app.testing(False)
    app.dialogs.answer("cancel", "ok")
    with pytest.raises(RuntimeError, match="declined"):
        packaging.pip_ensure(["numba"], requester="UMambaSegment")
    packaging.pip_ensure(["numba"], requester="UMambaSegment")
    assert packaging.PIP.calls[0]["requirements"] == ["numba"]
    assert packaging.pip_check("numba")


def test_installing_can_fail_and_never_runs_in_a_thread(app):
    import slicer.util
    from slicer import packaging

    app.testing(False)
    packaging.PIP.missing.add("numba")
    packaging.PIP.fails.add("numba")
    app.dialogs.answer("ok")
    with pytest.raises(subprocess.CalledProcessError):
        slicer.util.pip_install("numba>=0.60 --no-deps")
    assert "failed" in app.dialogs.shown[-1].text
    assert not packaging.pip_check("numba")
    raised = []

    def elsewhere():
        try:
            packaging.pip_install("tqdm")
        except RuntimeError as error:
            raised.append(error)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert len(raised) == 1


def test_torch_is_there_or_absent_or_declined_or_fails(app):
    assert app is not None
    import PyTorchUtils

    logic = PyTorchUtils.PyTorchUtilsLogic()
    assert not logic.torchInstalled()
    PyTorchUtils.BEHAVIOUR.outcome = "declines"
    assert logic.installTorch(askConfirmation=True, torchVersionRequirement=">=2.10") is None
    PyTorchUtils.BEHAVIOUR.outcome = "fails"
    with pytest.raises(subprocess.CalledProcessError):
        logic.installTorch()
    PyTorchUtils.BEHAVIOUR.outcome = "installs"
    assert logic.installTorch().__version__
    assert logic.torchInstalled()
    assert PyTorchUtils.BEHAVIOUR.calls[0]["torchVersionRequirement"] == ">=2.10"
    with PyTorchUtils.Absent(), pytest.raises(ModuleNotFoundError):
        __import__("PyTorchUtils")


def test_samples_are_registered_with_slicers_checks(app):
    import SampleData

    assert app is not None
    register = SampleData.SampleDataLogic.registerCustomSampleDataSource
    register(category="UMambaSegment", sampleName="Phantom", customDownloader=lambda source: source.sampleName)
    assert SampleData.downloadSample("Phantom") == "Phantom"
    with pytest.raises(ValueError, match="same length"):
        register(sampleName="x", uris=["a", "b"], fileNames=["a"], nodeNames=["a"])
    with pytest.raises(ValueError, match="SHA256"):
        register(sampleName="x", uris="https://example.org/a", fileNames="a", nodeNames="a", checksums="abc")


def test_texts_are_given_back(app):
    from slicer.i18n import getContext, tr, translate

    assert app is not None
    assert tr("Segment") == "Segment"
    assert translate("qSlicerAbstractCoreModule", "Segmentation") == "Segmentation"
    assert getContext(__file__) == "test_standins_others"
    with pytest.raises(TypeError):
        tr(3)
