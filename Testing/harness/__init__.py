"""Slicer without Slicer: a real MRML scene, real Qt widgets under PythonQt's rules, and an application around them.

``session`` starts the MRML scene on the ``slicer-core`` wheel and needs no Qt. ``boot`` adds Qt (PySide6) and gives
``slicer.app``, ``qt``, ``ctk`` and the widgets of ``contract.json``; whatever the contract does not list is refused,
as PythonQt refuses it. Nothing here is imported when tests are collected.
"""
