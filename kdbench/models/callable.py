"""A model written in Python: anything that speaks the verbs, named `package.module:attribute`."""

from __future__ import annotations

import importlib
import json
import re
import sys
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from kdbench.errors import ModelError
from kdbench.models.adapter import Adapter, AdapterParams
from kdbench.models.protocols import CHAT_TEMPLATE
from kdbench.registry import adapter

_TARGET = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*\Z")


class CallableParams(AdapterParams):
    """`models.<name>` with `adapter: callable`."""

    target: str = Field(description="package.module:attribute, a class or function to call")
    verbs: list[str] = Field(min_length=1, description="verbs that what it returns will have")
    options: dict[str, Any] = Field(default_factory=dict, description="keyword arguments for it")

    @field_validator("target")
    @classmethod
    def _names_an_attribute(cls, target: str) -> str:
        if not _TARGET.match(target):
            raise ValueError(f"{target!r} is not of the form package.module:attribute")
        return target


@adapter("callable")
class CallableAdapter(Adapter):
    about = "a Python class or function of your own, found on the path or beside the suite"
    Params = CallableParams

    @property
    def module(self) -> str:
        return str(self.params.target.split(":")[0])

    def verbs(self) -> frozenset[str]:
        return frozenset(self.params.verbs)

    def check(self) -> None:
        self.source()

    def fingerprint(self) -> dict[str, str]:
        return {
            "adapter": self.name,
            "target": self.params.target,
            "source": sha256(self.source().read_bytes()).hexdigest(),
            "options": json.dumps(self.params.options, sort_keys=True, default=str),
        }

    def source(self) -> Path:
        """The module's file: beside the suite, else on Python's path; `ModelError` where neither
        has it. Nothing but the packages around it is imported to find out.
        """
        below = self.folder.joinpath(*self.module.split("."))
        for place in (below.with_suffix(".py"), below / "__init__.py"):
            if place.is_file():
                return place.resolve()
        try:
            spec = find_spec(self.module)
        except (ImportError, ValueError, AttributeError):
            spec = None
        if spec is None or spec.origin is None or not Path(spec.origin).is_file():
            raise ModelError(
                f"target {self.params.target!r}: no module {self.module} beside the suite "
                f"({self.folder}) nor on Python's path; mend the name or install its package"
            )
        return Path(spec.origin)

    def load(self) -> Any:
        module = self._imported()
        attribute = self.params.target.split(":")[1]
        make = getattr(module, attribute, None)
        if not callable(make):
            raise ModelError(
                f"{self.source()}: {attribute} is "
                f"{'missing' if make is None else 'nothing that can be called'}; "
                "`target` names a class or function that returns the model"
            )
        try:
            model = make(**self.params.options)
        except TypeError as error:
            raise ModelError(
                f"{self.source()}: {attribute} does not take these options ({error})"
            ) from error
        for verb in sorted(self.params.verbs):
            method = "apply_chat_template" if verb == CHAT_TEMPLATE else verb
            if not callable(getattr(model, method, None)):
                raise ModelError(
                    f"{self.source()}: what {attribute} returns has no method {method}, which "
                    f"`verbs` promises; write it or take {verb} out"
                )
        return model

    def _imported(self) -> Any:
        source = self.source()
        folder = str(self.folder.resolve())
        # In front, even if another suite's folder came in between.
        sys.path[:] = [folder, *(place for place in sys.path if place != folder)]
        if source.is_relative_to(folder):
            self._forget_namesakes(Path(folder))
        importlib.invalidate_caches()
        try:
            return importlib.import_module(self.module)
        except (ImportError, SyntaxError) as error:
            raise ModelError(
                f"{source}: can't be imported ({type(error).__name__}: {error})"
            ) from error

    def _forget_namesakes(self, folder: Path) -> None:
        """Drop modules of the same name that this process imported for another suite."""
        top = self.module.split(".")[0]
        known = sys.modules.get(top)
        if known is None:
            return
        here = folder / top
        file = getattr(known, "__file__", None)
        paths = [file] if file else list(getattr(known, "__path__", []))
        if {Path(path).resolve() for path in paths} <= {
            here,
            here.with_suffix(".py"),
            here / "__init__.py",
        }:
            return
        for name in [name for name in sys.modules if name == top or name.startswith(f"{top}.")]:
            del sys.modules[name]
