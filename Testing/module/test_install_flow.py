"""Installing: asked first, nothing replaced, nothing claimed before a trial run, and going on after a failure."""

from __future__ import annotations

import threading

import pytest
from install_fakes import NEW, SLICER, Environment, FakePackaging, FakeTorch, Person

from UMambaSegmentLib.errors import EngineError, InstallDeclined, InstallError
from UMambaSegmentLib.install import Installer, InstallFailed
from UMambaSegmentLib.install.platforms import Machine

LINUX = Machine("linux", "x86_64", (3, 12))


class Bench:
    """An installer with all its parts in reach."""

    def __init__(self, machine=LINUX, **present: str) -> None:
        self.environment = Environment()
        self.environment.versions.update(present)
        self.packaging = FakePackaging(self.environment)
        self.torch = FakeTorch(self.environment)
        self.person = Person(self.environment)
        self.trial_errors = []
        self.installer = Installer(
            self.packaging, self.torch, self.person, self.trial, checker=self.environment, machine=machine
        )

    def trial(self):
        self.environment.events.append("trial")
        if self.trial_errors:
            raise self.trial_errors.pop(0)
        return "The trial run took 0.8 s on the processor."


def test_everything_in_order_and_reported():
    bench = Bench()
    report = bench.installer.ensure()
    assert bench.environment.events == ["asked", "requirements.txt", "torch", "recommended.txt", "trial"]
    assert dict(report.installed) == {**NEW, "torch": "2.13.0+cpu"}
    assert report.versions["numpy"] == SLICER["numpy"]
    assert report.notes == ()
    assert "0.8 s" in report.text()
    assert "safetensors 0.8.0" in report.text()
    assert bench.torch.asked_for == [">=2.10"]


def test_the_question_names_everything_first():
    bench = Bench()
    bench.installer.ensure()
    (text,) = bench.person.texts
    for name in ("PyTorch", "fastjsonschema", "safetensors", "click", "tqdm", "numba", "200 MB", "4 small packages"):
        assert name in text


def test_nothing_missing_means_nothing_asked():
    bench = Bench(torch="2.10.0", **{name: NEW[name] for name in NEW if name != "numba"})
    report = bench.installer.ensure()
    assert bench.environment.events == []
    assert report.installed == ()
    assert report.text() == "Nothing had to be installed."


def test_declined_means_nothing_installed():
    bench = Bench()
    bench.person.says = False
    with pytest.raises(InstallDeclined, match="PyTorch"):
        bench.installer.ensure()
    assert bench.environment.versions == SLICER
    assert bench.environment.events == ["asked"]


def test_slicers_own_packages_are_held_to_their_versions():
    bench = Bench()
    bench.installer.ensure()
    for text in bench.packaging.constraints:
        assert set(text.split()) == {f"{name}=={version}" for name, version in SLICER.items()}  # vtk has no record


def test_a_replaced_numpy_is_no_success():
    bench = Bench()
    bench.packaging.also = lambda: bench.environment.versions.update(numpy="2.5.5")
    with pytest.raises(InstallFailed, match=r"numpy was 2\.4\.6 and is 2\.5\.5 now.*numpy==2\.4\.6") as raised:
        bench.installer.ensure()
    assert raised.value.package == "numpy"
    assert "trial" not in bench.environment.events


def test_failing_halfway_says_what_is_there_and_goes_on():
    bench = Bench()
    bench.packaging.failures["requirements.txt"] = (2, "ERROR: [Errno 28] No space left on device")
    with pytest.raises(InstallFailed) as raised:
        bench.installer.ensure()
    message = str(raised.value)
    assert message.startswith("click and tqdm could not be installed: the disk is full.")
    assert (
        "Newly installed: fastjsonschema 2.22.3, safetensors 0.8.0; still missing: PyTorch, click and tqdm" in message
    )
    assert (raised.value.package, raised.value.cause) == ("click", "no_space")
    assert "Errno 28" in raised.value.log
    report = bench.installer.ensure()
    assert {name for name, _ in report.installed} == {"torch", "click", "tqdm", "numba"}


def test_no_network_fails_before_the_large_download():
    bench = Bench()
    log = "NewConnectionError('[Errno 11001] getaddrinfo failed')\nERROR: No matching distribution found for click"
    bench.packaging.failures["requirements.txt"] = (0, log)
    with pytest.raises(InstallFailed, match=r"internet connection.*Newly installed: nothing") as raised:
        bench.installer.ensure()
    assert raised.value.cause == "no_network"
    assert "torch" not in bench.environment.events


def test_pytorch_failing_names_pytorch_and_the_rest_stays():
    bench = Bench()
    bench.torch.log = "ERROR: No matching distribution found for torch>=2.10"
    with pytest.raises(InstallFailed, match="PyTorch could not be installed: there is no version") as raised:
        bench.installer.ensure()
    assert raised.value.package == "torch"
    assert "still missing: PyTorch." in str(raised.value)
    bench.installer.ensure()
    assert bench.environment.events.count("requirements.txt") == 1


def test_the_pytorch_extension_is_looked_for_before_anything_is_asked():
    bench = Bench()
    bench.torch.in_the_way = "Open the Extensions Manager, install 'PyTorch'."
    with pytest.raises(InstallError, match="Extensions Manager"):
        bench.installer.ensure()
    assert bench.environment.events == []


def test_an_old_pytorch_is_named_and_left_alone():
    bench = Bench(torch="2.7.1+cu118")
    with pytest.raises(InstallError, match=r"PyTorch 2\.7\.1\+cu118 is installed, but 2\.10 or newer.*PyTorch Utils"):
        bench.installer.ensure()
    assert bench.environment.events == []


def test_a_pytorch_that_comes_too_old_is_no_success():
    bench = Bench()
    bench.torch.gives = "2.2.2"
    with pytest.raises(InstallFailed) as raised:
        bench.installer.ensure()
    assert raised.value.package == "torch"
    assert "trial" not in bench.environment.events


@pytest.mark.parametrize(
    ("machine", "words"),
    [(Machine("darwin", "x86_64", (3, 12)), "Intel Mac"), (Machine("win32", "amd64", (3, 9)), "Python 3.9")],
)
def test_a_computer_without_a_current_pytorch_is_told_so_before_downloads(machine, words):
    bench = Bench(machine)
    with pytest.raises(InstallError, match=words):
        bench.installer.ensure()
    assert bench.environment.events == []


def test_an_intel_mac_with_everything_there_is_left_in_peace():
    bench = Bench(Machine("darwin", "x86_64", (3, 12)), torch="2.10.0", **NEW)
    assert bench.installer.ensure().installed == ()


def test_numba_failing_is_a_note():
    bench = Bench()
    bench.packaging.failures["recommended.txt"] = (0, "ERROR: ResolutionImpossible: for help visit")
    report = bench.installer.ensure()
    (note,) = report.notes
    assert "numba" in note
    assert "CPU" in note
    assert "never replaced" in note
    assert bench.packaging.quiet == [False, True]  # no error dialog of Slicer's for what is no failure
    bench.installer.ensure()
    assert bench.environment.events.count("recommended.txt") == 1
    assert dict(bench.installer.add_recommended().installed) == {"numba": NEW["numba"]}


def test_a_failing_trial_is_no_success_and_is_tried_again():
    bench = Bench()
    bench.trial_errors = [EngineError("The engine ended.", log="OSError: [WinError 126] module not found")]
    with pytest.raises(InstallFailed, match=r"trial run failed: The engine ended\..*Visual C\+\+") as raised:
        bench.installer.ensure()
    assert raised.value.cause == "trial"
    assert "WinError 126" in raised.value.log
    assert bench.installer.missing() == ()
    report = bench.installer.ensure()
    assert bench.environment.events[-2:] == ["trial", "trial"]
    assert report.trial
    bench.installer.ensure()
    assert bench.environment.events.count("trial") == 2
    assert len(bench.person.texts) == 1


def test_never_twice_at_once():
    bench = Bench()
    inner = []

    def click_again():
        with pytest.raises(InstallError, match="being installed already") as raised:
            bench.installer.ensure()
        inner.append(raised.value)

    bench.packaging.also = click_again
    bench.installer.ensure()
    assert len(inner) == 2  # during both of pip's runs


def test_another_modules_installation_is_waited_for():
    bench = Bench()
    bench.packaging.in_the_way = "Slicer is installing Python packages for another module."
    with pytest.raises(InstallError, match="another module"):
        bench.installer.ensure()
    assert bench.environment.events == []


def test_never_in_a_thread():
    bench = Bench()
    raised = []

    def work():
        try:
            bench.installer.ensure()
        except InstallError as error:
            raised.append(str(error))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(10)
    assert "main thread" in raised[0]
    assert bench.environment.events == []


def test_after_a_crash_of_pip_the_next_try_is_free():
    bench = Bench()

    def interrupt():
        raise KeyboardInterrupt

    bench.packaging.also = interrupt
    with pytest.raises(KeyboardInterrupt):
        bench.installer.ensure()
    bench.packaging.also = lambda: None
    assert bench.installer.ensure().trial
