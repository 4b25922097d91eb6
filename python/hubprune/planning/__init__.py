# SPDX-License-Identifier: MIT
"""Plans: making one, the plan itself, and its file."""

from .counts import BlockCounts, kept_count
from .decision import plan, plan_counts, plan_to_counts

__all__ = ["BlockCounts", "kept_count", "plan", "plan_counts", "plan_to_counts"]
