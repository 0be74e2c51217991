"""The models that come with the extension: how each is made, what it is held to, and what is written of it."""

from __future__ import annotations
