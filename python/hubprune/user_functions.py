# SPDX-License-Identifier: MIT
"""Functions of the user's own that a text names: ``package.module:function``.

Someone else's code: whatever goes wrong in it, also an exit, is told as what it is.
"""

from __future__ import annotations

import importlib
import inspect
import os
import re
import sys
from collections.abc import Callable
from typing import Any

from torch import nn

__all__ = ["call_function", "find_function"]


def find_function(
    name: str, argument: str, *, what: str = "function", purpose: str = "", hint: str = ""
) -> Callable[..., Any]:
    """Return the function or class that a text names; the current folder is searched too.

    Parameters
    ----------
    name : str
        ``package.module:function``.
    argument : str
        Where the text comes from, for the messages.
    what : str, default "function"
        What is behind the colon, for the messages.
    purpose : str, optional
        What it is for, for the messages, such as " that builds the model".
    hint : str, optional
        The end of the message where the module cannot be imported.

    Raises
    ------
    TypeError
        If it is nothing to call.
    ValueError
        If the text has another form, or the module has no such name.
    ImportError
        If the module cannot be imported, with the reason.
    """
    if not re.fullmatch(r"\w+(\.\w+)*:\w+(\.\w+)*", name):
        raise ValueError(f"{argument} must be package.module:{what}; got {name!r}")
    module_name, _, path = name.partition(":")
    folder = os.getcwd()
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        found: Any = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        raise ImportError(
            f"{argument}: module {module_name!r} cannot be imported: {_told(error)}{hint}"
        ) from error
    for part in path.split("."):
        if not hasattr(found, part):
            raise ValueError(f"{argument}: {module_name!r} has no {path!r}")
        found = getattr(found, part)
    if not callable(found) or isinstance(found, nn.Module):
        raise TypeError(f"{argument}: {name} must be a function or class{purpose}")
    return found  # type: ignore[no-any-return]


def call_function(
    name: str, argument: str, *, what: str = "function", purpose: str = "", hint: str = ""
) -> Any:
    """Call, without arguments, what `find_function` finds.

    Raises
    ------
    TypeError
        If it needs arguments.
    RuntimeError
        If it fails, with the reason.
    """
    found = find_function(name, argument, what=what, purpose=purpose, hint=hint)
    try:
        inspect.signature(found).bind()
    except TypeError:
        raise TypeError(f"{argument}: {name} must be callable without arguments") from None
    except ValueError:  # no signature to read, as of some built-in functions: the call will tell
        pass
    try:
        return found()
    except (Exception, SystemExit) as error:
        raise RuntimeError(f"{argument}: {name} failed: {_told(error)}") from error


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
