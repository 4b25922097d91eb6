# SPDX-License-Identifier: MIT
"""HTML and SVG elements whose text is escaped unless it is markup already."""

from __future__ import annotations

import html
import math
from collections.abc import Collection, Sequence

__all__ = ["Markup", "element", "measure", "number", "table"]

_VOID = {"br", "col", "img", "meta"}


class Markup(str):
    """Text that is HTML; any other string is a person's words and is escaped."""


def element(
    tag: str,
    *children: str,
    attributes: dict[str, str | float] | None = None,
    **named: str | float,
) -> Markup:
    """Return an element.

    Parameters
    ----------
    tag : str
        Its name.
    *children : str
        Its content; what is not `Markup` is escaped.
    attributes : dict of str to str or float, optional
        Attributes whose names are no Python names; all values are escaped.
    **named : str or float
        The others; a trailing underscore, as in ``class_``, is dropped, another is a hyphen.

    Examples
    --------
    >>> print(element("p", "1 < 2", element("b", "bold"), class_="note"))
    <p class="note">1 &lt; 2<b>bold</b></p>
    """
    given = {key.removesuffix("_").replace("_", "-"): value for key, value in named.items()}
    given |= attributes or {}
    words = "".join(f' {key}="{_attribute(value)}"' for key, value in given.items())
    if tag in _VOID:
        return Markup(f"<{tag}{words}>")
    content = "".join(
        child if isinstance(child, Markup) else html.escape(child, quote=False)
        for child in children
    )
    return Markup(f"<{tag}{words}>{content}</{tag}>")


def number(value: float | None, digits: int = 3) -> str:
    """Return a number for a table: `digits` decimals, a real minus sign, a dash for none.

    Examples
    --------
    >>> number(0.25), number(-0.0001)
    ('0.250', '0.000')
    """
    if value is None or math.isnan(value):
        return "\N{EN DASH}"
    text = f"{value:.{digits}f}"
    if not text.strip("-0."):
        text = text.removeprefix("-")
    return text.replace("-", "\N{MINUS SIGN}")


def measure(value: float | None) -> str:
    """Return a number of any size for a table: four decimals, or four digits where those say less.

    Examples
    --------
    >>> measure(0.75), measure(0.00031234), measure(2.5e12)
    ('0.7500', '0.0003123', '2.5e+12')
    """
    if value is None or value == 0.0 or 0.01 <= abs(value) < 1e9:
        return number(value, 4)
    return f"{value:.4g}".replace("-", "\N{MINUS SIGN}")


def table(
    caption: str,
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    words: Collection[int] = (),
) -> Markup:
    """Return a table that scrolls sideways; the first column names the rows.

    Parameters
    ----------
    caption : str
        What it shows.
    header : sequence of str
        Names of the columns.
    rows : sequence of sequence of str
        As many cells each as there are columns.
    words : collection of int, default ()
        The columns that hold words, to the left, not numbers.
    """

    def cell(tag: str, text: str, column: int, **named: str) -> Markup:
        style = {"class": "words"} if column == 0 or column in words else {}
        return element(tag, text, attributes={**style, **named})

    head = [cell("th", text, at, scope="col") for at, text in enumerate(header)]
    body = []
    for first, *rest in rows:
        cells = [cell("td", text, at) for at, text in enumerate(rest, start=1)]
        body.append(element("tr", element("th", first, scope="row"), *cells))
    inside = element(
        "table",
        element("caption", element("span", caption)),
        element("thead", element("tr", *head)),
        element("tbody", *body),
    )
    # Focusable, so that the keyboard can scroll it where it is wider than the page.
    region: dict[str, str | float] = {"role": "region", "tabindex": "0", "aria-label": caption}
    return element("div", inside, attributes=region, class_="scroll")


def _attribute(value: str | float) -> str:
    return html.escape(value if isinstance(value, str) else f"{value:g}")
