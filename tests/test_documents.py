# SPDX-License-Identifier: MIT
"""docs/api names everything that is public; what it names in vain, `make docs` finds."""

from __future__ import annotations

import re
from types import ModuleType

import pytest

import hubprune
from documents import FOLDER
from hubprune import cli

PAGES = FOLDER / "docs" / "api"

pytestmark = pytest.mark.skipif(
    not PAGES.is_dir(), reason="the documents are in the source tree only"
)


def _text() -> str:
    return "\n".join(page.read_text(encoding="utf-8") for page in sorted(PAGES.glob("*.rst")))


def test_pages_name_all_public_functions_and_classes() -> None:
    named = set(re.findall(r"^\.\. auto(?:function|class):: (\w+)", _text(), flags=re.MULTILINE))
    public = set(hubprune.__all__) | set(hubprune.scorers.__all__)
    modules = {name for name in public if isinstance(getattr(hubprune, name, None), ModuleType)}
    constants = {"DEAD_RATIO", "SCORER_NAMES"}
    assert sorted(public - modules - constants - named) == []
    assert sorted(named - public - set(hubprune.finetuning.__all__)) == []


def test_pages_name_all_public_modules() -> None:
    named = set(re.findall(r"^\.\. (?:auto|currentmo)\w*:: hubprune\.([\w.]+)$", _text(), re.M))
    for name in hubprune.__all__:
        if isinstance(getattr(hubprune, name), ModuleType):
            assert name in named


def test_pages_show_the_help_of_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    shown = re.findall(r"^\.\. command-help:: (\w+)$", _text(), flags=re.MULTILINE)
    commands = re.findall(r"^    (\w+) {2,}", capsys.readouterr().out, flags=re.MULTILINE)
    assert sorted(shown) == sorted(commands)
