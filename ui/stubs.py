"""At each start the framework writes stubs of its components into its own folder and words of help for their events, all for editors.

That is half of what importing it takes.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType

_WRITER = "gradio.component_meta"


class _Loader(SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        # Looked up by these names whenever a component is defined.
        vars(module)["create_or_modify_pyi"] = lambda *_: None
        module.EventListener.set_doc = lambda *_, **__: None


class _Finder:
    def find_spec(self, name: str, path: Sequence[str] | None = None, _target: ModuleType | None = None) -> ModuleSpec | None:
        if name != _WRITER:
            return None
        # Not in place: other threads may be going through it.
        sys.meta_path = [finder for finder in sys.meta_path if finder is not self]
        spec = PathFinder.find_spec(name, path)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(name, spec.loader.path)
        return spec


def leave_stubs_alone() -> None:
    """For the first import of `gradio` that follows."""
    if _WRITER not in sys.modules:
        sys.meta_path = [_Finder(), *sys.meta_path]
