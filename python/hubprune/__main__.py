# SPDX-License-Identifier: MIT
"""``python -m hubprune``: the command line, where the script `hubprune` is not on the path."""

from __future__ import annotations

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
