# SPDX-License-Identifier: MIT
"""The channels of a model: which belong together, who reads them, what they are like."""
