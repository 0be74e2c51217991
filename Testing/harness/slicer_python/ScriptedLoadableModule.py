"""Stand-in for Slicer's ScriptedLoadableModule.py: the base classes of a scripted module, its contract and no more."""

from __future__ import annotations

import importlib
import logging
import unittest
from pathlib import Path
from typing import Any

import qt
import slicer
import slicer.util

__all__ = [
    "ScriptedLoadableModule",
    "ScriptedLoadableModuleLogic",
    "ScriptedLoadableModuleTest",
    "ScriptedLoadableModuleWidget",
]

LOG = logging.getLogger(__name__)


class ScriptedLoadableModule:
    """What Slicer makes at its start: the module's facts."""

    def __init__(self, parent: Any) -> None:
        super().__init__()
        self.parent = parent
        self.moduleName = type(self).__name__
        parent.title = ""
        parent.categories = []
        parent.dependencies = []
        parent.contributors = []
        parent.helpText = ""
        parent.acknowledgementText = ""
        folder = Path(parent.path).parent / "Resources" / "Icons"
        for ending in (".svg", ".png"):
            icon = folder / f"{self.moduleName}{ending}"
            if icon.is_file():
                parent.icon = qt.QIcon(str(icon))
                break
        if not hasattr(slicer, "selfTests"):
            slicer.selfTests = {}
        slicer.selfTests[self.moduleName] = self.runTest

    def resourcePath(self, filename: str) -> str:
        """Path of a file in the module's Resources folder."""
        return str(Path(self.parent.path).parent / "Resources" / filename)

    def getDefaultModuleDocumentationLink(self, docPage: str | None = None) -> str:
        """HTML with a link to the module's page in Slicer's documentation."""
        base = slicer.app.documentationBaseUrl
        url = base + docPage if docPage else slicer.app.moduleDocumentationUrl(self.moduleName)
        return f'<p>For more information see the <a href="{url}">online documentation</a>.</p>'

    def runTest(self, msec: int = 100, **kwargs: Any) -> None:
        """Run the module's test case, a class that bears the module's name and ``Test``."""
        module = importlib.import_module(type(self).__module__)
        name = f"{self.moduleName}Test"
        if not hasattr(module, name):
            raise AssertionError(f"Test case class not found: {module.__name__}.{name}")
        case = getattr(module, name)()
        case.messageDelay = msec
        case.runTest(**kwargs)


class ScriptedLoadableModuleWidget:
    """The module's panel, made when it is first opened."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__()
        self.moduleName = type(self).__name__.removesuffix("Widget")
        settings_key = "Developer/DeveloperMode"
        self.developerMode = slicer.util.settingsValue(settings_key, False, converter=slicer.util.toBool)
        if parent is None:
            self.parent = slicer.qMRMLWidget()
            self.parent.setLayout(qt.QVBoxLayout())
            self.parent.setMRMLScene(slicer.mrmlScene)
        else:
            self.parent = parent
        self.layout = self.parent.layout()
        if parent is None:
            self.setup()
            self.parent.show()
        signal = "moduleAboutToBeUnloaded(QString)"
        slicer.app.moduleManager().connect(signal, self._onModuleAboutToBeUnloaded)

    def resourcePath(self, filename: str) -> str:
        """Path of a file in the module's Resources folder."""
        return str(Path(slicer.util.modulePath(self.moduleName)).parent / "Resources" / filename)

    def cleanup(self) -> None:
        """Do nothing; a module overrides it."""

    def _onModuleAboutToBeUnloaded(self, moduleName: str) -> None:
        if moduleName == self.moduleName:
            self.cleanup()
            signal = "moduleAboutToBeUnloaded(QString)"
            slicer.app.moduleManager().disconnect(signal, self._onModuleAboutToBeUnloaded)

    def setupDeveloperSection(self) -> None:
        """Add the buttons for developers, in developer mode."""
        if not self.developerMode:
            return
        self.reloadButton = qt.QPushButton("Reload")
        self.reloadButton.connect("clicked()", self.onReload)
        self.layout.addWidget(self.reloadButton)

    def setup(self) -> None:
        """Build the panel; a module overrides and calls it."""
        self.setupDeveloperSection()

    def onReload(self) -> None:
        """Reload the module's source and build the panel anew."""
        LOG.info("Reloading module: %s", self.moduleName)
        slicer.util.reloadScriptedModule(self.moduleName)

    def onTest(self, **kwargs: Any) -> None:
        """Run the module's test."""
        with slicer.util.tryWithErrorDisplay("Test failed."):
            slicer.selfTests[self.moduleName](**kwargs)

    def onReloadAndTest(self, **kwargs: Any) -> None:
        """Reload, then test."""
        with slicer.util.tryWithErrorDisplay("Reload and Test failed."):
            self.onReload()
            slicer.selfTests[self.moduleName](**kwargs)

    def onEditSource(self) -> None:
        """Open the source; here only noted."""
        LOG.info("Edit %s", slicer.util.modulePath(self.moduleName))


class ScriptedLoadableModuleLogic:
    """The module's logic, which scripts use too."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__()
        del parent
        self.moduleName = type(self).__name__.removesuffix("Logic")
        self.isSingletonParameterNode = True

    def getParameterNode(self) -> Any:
        """The scene's parameter node of this module, made where there is none."""
        if self.isSingletonParameterNode:
            node = slicer.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
            if node:
                # Closing the scene takes the attribute away.
                if node.GetAttribute("ModuleName") != self.moduleName:
                    node.SetAttribute("ModuleName", self.moduleName)
                return node
        else:
            nodes = self.getAllParameterNodes()
            if nodes:
                return nodes[0]
        return slicer.mrmlScene.AddNode(self.createParameterNode())

    def getAllParameterNodes(self) -> list[Any]:
        """All of the scene's parameter nodes of this module."""
        scene, kind = slicer.mrmlScene, "vtkMRMLScriptedModuleNode"
        nodes = [scene.GetNthNodeByClass(index, kind) for index in range(scene.GetNumberOfNodesByClass(kind))]
        return [node for node in nodes if node.GetAttribute("ModuleName") == self.moduleName]

    def createParameterNode(self) -> Any:
        """A new parameter node, not yet in the scene."""
        if slicer.mrmlScene is None:
            return None
        node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
        node.UnRegister(None)
        if self.isSingletonParameterNode:
            node.SetSingletonTag(self.moduleName)
        node.SetAttribute("ModuleName", self.moduleName)
        node.SetName(slicer.mrmlScene.GenerateUniqueName(self.moduleName))
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    """Base of the module's test case."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.enableScreenshots = False
        self.screenshotScaleFactor = 1.0
        named = [name for name in dir(self) if "test" in name and callable(getattr(self, name))]
        self.moduleTestNames = named

    def delayDisplay(self, message: str, requestedDelay: int | None = None, msec: int | None = None) -> None:
        """Show a message for a short time; below 400 ms Slicer only processes events."""
        delay = getattr(self, "messageDelay", msec if msec is not None else requestedDelay)
        slicer.util.delayDisplay(message, 100 if delay is None else delay)

    def takeScreenshot(self, name: str, description: str, type: int = -1) -> None:  # noqa: A002 - Slicer's name
        """Show the description; screenshots are off by default in Slicer too."""
        del name, type
        self.delayDisplay(description)
        if self.enableScreenshots:
            raise NotImplementedError("harness: takeScreenshot has no stand-in; use harness.views")

    def setUp(self) -> None:
        """Do nothing; a module overrides it to begin with an empty scene."""

    def tearDown(self) -> None:
        """Do nothing."""

    def runTest(self) -> None:
        """Run each method with "test" in its name; the first that fails or skips ends it, outside any test runner."""
        if not self.moduleTestNames:
            LOG.warning("No test is defined in %s", type(self).__name__)
            return
        self.setUpClass()
        for name in self.moduleTestNames:
            self.setUp()
            getattr(self, name)()
            self.tearDown()
        self.tearDownClass()
