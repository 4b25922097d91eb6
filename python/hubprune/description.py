# SPDX-License-Identifier: MIT
"""What a loss, an augmentation or a model function is, told so that another one differs.

A run that is resumed must be the run that was interrupted, so what decides its result is kept with
its state. Of a function that is more than its name: its code, its defaults, and the values that it
reads from around it. Descriptions are the same in every process: no addresses, no order of sets.
"""

from __future__ import annotations

import copyreg
import dataclasses
import dis
import enum
import functools
import hashlib
import json
import re
import sys
import types
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import nn

__all__ = ["CONTENTS", "Description", "described", "differences", "plain_value"]

#: Ends the keys of `Examples.digest` in a configuration.
CONTENTS = "_contents"

#: A text, or texts by what they are of.
Description: TypeAlias = "str | dict[str, Any]"

_CONSTANTS = (type(None), bool, int, float, complex, str, bytes, type(...), torch.dtype)
_SLOTS = (types.GetSetDescriptorType, types.MemberDescriptorType)
_OF_EVERY_MODULE = frozenset(vars(nn.Module())) - {"_parameters", "_buffers", "_modules"}
_HASH = re.compile("#[0-9a-f]{16}$")
_LONGEST_TEXT, _MOST_ENTRIES, _LONGEST_DESCRIPTION = 200, 32, 10_000
_PACKAGES = frozenset({"site-packages", "dist-packages"})


def described(value: Any, name: str, unknown: list[str] | None = None) -> Description:
    """Describe a value by what decides what it does.

    Parameters
    ----------
    value
        Functions by code (of the user's own), defaults, closure and the globals they read; partial
        functions and methods by their parts; modules and other objects by class and attributes;
        tensors and arrays by their bits. What an installed library defines goes by its name.
    name : str
        What it is, such as "loss"; for `unknown`.
    unknown : list of str, optional
        Takes the names of those parts that cannot be described, such as "loss.file (TextIOWrapper)"
        for an open file: they are taken for the same whatever they are.

    Returns
    -------
    str or dict
        JSON-able; equal for what is equal, also in another process.

    Examples
    --------
    >>> described(functools.partial(round, ndigits=2), "metric")
    {'is': 'functools.partial', 'function': 'builtins.round', 'ndigits': '2'}
    """
    describer = _Describer()
    try:
        found = describer.of(value, name)
    except RecursionError:
        found = f"<{_name(type(value))}>"
        describer.unknown = [f"{name} ({type(value).__name__})"]
    if unknown is not None:
        unknown += describer.unknown
    text = json.dumps(found)
    return found if len(text) <= _LONGEST_DESCRIPTION else f"{_head(found)}#{_digest(text)}"


def plain_value(value: Any, name: str, unknown: list[str] | None = None) -> Any:
    """Return an option as JSON holds it: as it is where JSON can, else `described`."""
    if isinstance(value, set | frozenset):
        return sorted(value)
    if isinstance(value, list | tuple):
        return list(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return described(value, name, unknown)


def differences(
    saved: Mapping[str, Any], wanted: Mapping[str, Any], *, later: Collection[str] = ()
) -> list[str]:
    """Name what differs between two configurations: "lr was 0.001 and is 0.01".

    Of what is nested, only the entries that differ: "finetune.epochs was 30 and is 3".

    Of the model they hold a `fingerprint`, which says nothing to a person and is not shown; neither
    are the hashes in descriptions, nor those of examples. What is named in `later` is not always
    known, by earlier versions for one: where either lacks it, it is taken for the same.
    """
    found: list[str] = []
    for key in dict.fromkeys([*wanted, *saved]):
        was, is_now = saved.get(key), wanted.get(key)
        if was != is_now and not (key in later and (was is None or is_now is None)):
            found += _difference(key, was, is_now)
    return found


def _difference(key: str, was: Any, is_now: Any) -> list[str]:
    head = _head(was)
    if isinstance(was, Mapping) and isinstance(is_now, Mapping):
        if was.get("is") == is_now.get("is"):
            return [f"{key}.{text}" for text in differences(was, is_now)]
    elif key == "model":
        return ["the model or its weights are others"]
    elif key.endswith(CONTENTS):
        return [f"the examples of {key.removesuffix(CONTENTS)} are others"]
    elif head is None:
        return [f"{key} was {_shown(was)} and is {_shown(is_now)}"]
    if head == _head(is_now):
        return [f"{key} is another {head}"]
    return [f"{key} was {_shown(was)} and is {_shown(is_now)}"]


def _head(value: Any) -> str | None:
    """What a description says to a person: the name without the hash; None: it is no such."""
    if isinstance(value, Mapping):
        value = value.get("is")
    return re.sub(_HASH, "", value) if isinstance(value, str) else None


def _shown(value: Any) -> str:
    head = _head(value)
    return repr(value if head is None else head)


class _Describer:
    def __init__(self) -> None:
        self.unknown: list[str] = []
        self._within: dict[int, int] = {}  # where in the nesting an object is, against cycles
        self._done: dict[int, tuple[Any, Description]] = {}  # with the object, so that it stays

    def of(self, value: Any, path: str) -> Description:
        if isinstance(value, enum.Enum):
            return f"{_name(type(value))}.{value.name}"
        if type(value) in _CONSTANTS:
            return _short(repr(value))
        key = id(value)
        if key in self._within:
            return f"<level {self._within[key]}>"
        if key not in self._done:
            self._within[key] = len(self._within)
            try:
                found = self._composite(value, path)
            except RecursionError:  # where it stops depends on the caller's depth
                raise
            except Exception:  # whatever a user's class may raise
                self.unknown.append(f"{path} ({type(value).__name__})")
                found = f"<{_name(type(value))}>"
            finally:
                del self._within[key]
            self._done[key] = value, found
        return self._done[key][1]

    def _composite(self, value: Any, path: str) -> Description:
        if isinstance(value, torch.Tensor):
            return _tensor(value)
        if isinstance(value, np.ndarray | np.generic) and value.dtype.kind != "O":
            array = np.ascontiguousarray(value)
            return f"array {array.dtype} {np.shape(value)}#{_digest(array.tobytes())}"
        if isinstance(value, types.ModuleType):
            return f"module {value.__name__}"
        if isinstance(value, type):
            return self._class(value, path)
        if isinstance(value, types.FunctionType):
            return self._function(value, path)
        if isinstance(value, types.MethodType):
            parts = {"self": value.__self__, "function": value.__func__}
            return self._node("method", parts, path)
        if isinstance(value, types.BuiltinFunctionType | types.MethodWrapperType):
            if value.__self__ is None or isinstance(value.__self__, types.ModuleType):
                return _name(value)
            return self._node(_name(value), {"self": value.__self__}, path)
        if isinstance(value, functools.partial):
            parts = {"function": value.func}
            parts |= {str(index): each for index, each in enumerate(value.args)}
            return self._node("functools.partial", parts | value.keywords, path)
        if isinstance(value, torch._ops.OpOverload | torch._ops.OpOverloadPacket):
            return f"torch.ops.{value}"
        if isinstance(value, functools._lru_cache_wrapper):
            return self._node("functools.lru_cache", {"function": value.__wrapped__}, path)
        if isinstance(value, set | frozenset):
            entries = sorted(json.dumps(self.of(each, path)) for each in value)
            return _short(f"{_name(type(value))} {entries}")
        if type(value) in (list, tuple):
            return self._sequence(value, path)
        if type(value) is dict:
            return self._mapping(value, path)
        if isinstance(value, torch.jit.ScriptModule | torch.jit.ScriptFunction):
            state = value.state_dict() if isinstance(value, nn.Module) else {}
            return self._node(_name(type(value)), {"code": value.code, "state": dict(state)}, path)
        if isinstance(value, nn.Module):
            own = {name: each for name, each in vars(value).items() if name not in _OF_EVERY_MODULE}
            state = own.pop("_parameters") | own.pop("_buffers") | own.pop("_modules")
            return self._instance(value, own | state, path)
        if dataclasses.is_dataclass(value):
            names = [field.name for field in dataclasses.fields(value)]
            if _installed(type(value)) and all(
                type(getattr(value, name)) in _CONSTANTS for name in names
            ):
                return repr(value)
        return self._object(value, path)

    def _node(self, kind: str, parts: Mapping[str, Any], path: str) -> Description:
        found: dict[str, Any] = {"is": kind}
        found |= {name: self.of(each, f"{path}.{name}") for name, each in parts.items()}
        return _bounded(found)

    def _sequence(self, value: Sequence[Any], path: str) -> Description:
        if all(type(each) in _CONSTANTS for each in value):
            return _short(repr(value))
        entries = {str(index): self.of(each, path) for index, each in enumerate(value)}
        return _bounded({"is": type(value).__name__} | entries)

    def _mapping(self, value: Mapping[Any, Any], path: str) -> Description:
        if all(type(each) in _CONSTANTS for pair in value.items() for each in pair):
            return _short(repr(value))
        found: dict[str, Any] = {"is": "dict"}
        for key, each in value.items():
            name = key if isinstance(key, str) else json.dumps(self.of(key, path))
            found[name] = self.of(each, f"{path}.{name}")
        return _bounded(found)

    def _instance(self, value: Any, attributes: Mapping[str, Any], path: str) -> Description:
        kind = self.of(type(value), path)
        return self._node(str(kind), attributes, path) if attributes else kind

    def _object(self, value: Any, path: str) -> Description:
        """By what pickle would keep, which is an object's own view of what it is."""
        kind = type(value)
        reduce = copyreg.dispatch_table.get(kind)
        reduced: Any = value.__reduce_ex__(4) if reduce is None else reduce(value)
        if isinstance(reduced, str):  # a name in its module
            return f"{kind.__module__}.{reduced}"
        entries: list[Any] = [*reduced, None, None, None]
        builder, arguments, state = entries[:3]
        parts: dict[str, Any] = {}
        if builder is not copyreg.__newobj__ or arguments != (kind,):  # type: ignore[attr-defined]
            parts |= {"made by": builder, "from": arguments}
        # Attributes, or those and slots, or what the class keeps of itself.
        for each in state if isinstance(state, tuple) and len(state) == 2 else (state,):
            parts |= each if _names(each) else {} if each is None else {"state": each}
        parts |= {
            name: list(part)
            for name, part in (("items", entries[3]), ("entries", entries[4]))
            if part is not None
        }
        return self._instance(value, parts, path)

    def _class(self, value: type, path: str) -> Description:
        if _installed(value):
            return _name(value)
        found: dict[str, Description] = {}
        for base in value.__mro__:
            if _installed(base):
                found[_name(base)] = ""
                continue
            for name, each in _written(base):
                found[f"{base.__qualname__}.{name}"] = self.of(each, f"{path}.{name}")
        return f"{_name(value)}#{_digest(json.dumps(found))}"

    def _function(self, value: types.FunctionType, path: str) -> Description:
        # By where it was defined: a wrapper bears the name of what it wraps.
        own = not _installed_module(str(value.__globals__.get("__name__", "")))
        parts: dict[str, Any] = {}
        if own or "<locals>" in value.__qualname__:
            parts |= {"defaults": value.__defaults__} if value.__defaults__ else {}
            parts |= value.__kwdefaults__ or {}
        for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
            try:
                parts[name] = cell.cell_contents
            except ValueError:  # not yet set
                parts[name] = "<empty>"
        kind = _name(value)
        if own:
            parts |= {name: each for name, each in vars(value).items() if name != "__wrapped__"}
            parts |= dict(_globals_read(value.__code__, value.__globals__))
            kind = f"{kind}#{_digest(self._code(value.__code__, path))}"
        return self._node(kind, parts, path) if parts else kind

    def _code(self, code: types.CodeType, path: str) -> str:
        constants = [
            self._code(each, path) if isinstance(each, types.CodeType) else self.of(each, path)
            for each in code.co_consts
        ]
        return json.dumps([code.co_code.hex(), code.co_names, constants])


def _written(kind: type) -> Iterator[tuple[str, Any]]:
    """What the author of a class put into it, with the functions that descriptors hold."""
    for name, value in vars(kind).items():
        if isinstance(value, _SLOTS) or name in ("_abc_impl", "__annotate__"):
            continue
        if name.startswith("__") and not isinstance(value, types.FunctionType):
            continue  # what the class statement puts there
        if isinstance(value, staticmethod | classmethod):
            yield name, value.__func__
        elif isinstance(value, property):
            yield name, (value.fget, value.fset)
        elif isinstance(value, functools.cached_property):
            yield name, value.func
        else:
            yield name, value


def _globals_read(code: types.CodeType, known: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The globals that a function's code reads, but for what installed libraries define.

    Of a module of the user's own, the attributes that are read of it.
    """
    name, value = "", None
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            name, value = instruction.argval, known.get(instruction.argval)
            if name not in known:  # a builtin
                continue
        elif isinstance(value, types.ModuleType) and instruction.opname in (
            "LOAD_ATTR",
            "LOAD_METHOD",
        ):
            name, value = f"{name}.{instruction.argval}", getattr(value, instruction.argval, None)
        else:
            value = None
            continue
        if isinstance(value, types.ModuleType):
            if _installed_module(value.__name__):
                value = None
        elif not (isinstance(value, type | types.FunctionType) and _installed(value)):
            yield name, value
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _globals_read(constant, known)


def _names(state: Any) -> bool:
    """Whether an object's state is its attributes by name."""
    return isinstance(state, dict) and all(isinstance(name, str) for name in state)


def _tensor(value: torch.Tensor) -> str:
    plain = value.detach().cpu().resolve_conj().resolve_neg()
    plain = plain.dequantize() if plain.is_quantized else plain  # its integers lack their scale
    bits = plain.contiguous().reshape(-1).view(torch.uint8).numpy()
    kind = str(value.dtype).removeprefix("torch.")
    return f"tensor {kind} {tuple(value.shape)}#{_digest(bits.tobytes())}"


def _name(value: Any) -> str:
    return f"{value.__module__}.{value.__qualname__}"


def _installed(value: Any) -> bool:
    return _installed_module(str(value.__module__))


@functools.cache
def _installed_module(name: str) -> bool:
    """Whether a module is Python's, an installed library's or this one's."""
    if name.partition(".")[0] in {*sys.stdlib_module_names, "hubprune", "numpy", "torch"}:
        return True
    file = getattr(sys.modules.get(name), "__file__", None)
    return file is not None and not _PACKAGES.isdisjoint(Path(file).parts)


def _digest(content: str | bytes) -> str:
    data = content.encode() if isinstance(content, str) else content
    return hashlib.sha256(data).hexdigest()[:16]


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_TEXT else f"{text[:40]}...#{_digest(text)}"


def _bounded(found: dict[str, Any]) -> Description:
    if len(found) <= _MOST_ENTRIES:
        return found
    return f"{_head(found)} of {len(found) - 1}#{_digest(json.dumps(found))}"
