# SPDX-License-Identifier: MIT
"""The commands of ``hubprune``, one module each, and what they share."""
