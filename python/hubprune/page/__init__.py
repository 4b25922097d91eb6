# SPDX-License-Identifier: MIT
"""A plan as one page for a browser."""

from .document import write_page

__all__ = ["write_page"]
