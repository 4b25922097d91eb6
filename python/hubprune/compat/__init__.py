# SPDX-License-Identifier: MIT
"""hubprune behind the calls of other libraries."""
