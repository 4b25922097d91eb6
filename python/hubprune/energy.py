# SPDX-License-Identifier: MIT
"""The energy that training takes, as codecarbon estimates it, without any network access."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["EnergyMeter"]


class EnergyMeter:
    """Measures stretches of work in kWh and kg of CO2 equivalents.

    Parameters
    ----------
    country : str or None
        ISO 3166 code of three letters, for the emissions of its electricity ("GBR", "FRA"). None:
        the world's average.

    Raises
    ------
    ImportError
        If codecarbon is not installed.
    ValueError
        If codecarbon does not know the country.
    RuntimeError
        If it finds no way to measure here.

    Notes
    -----
    codecarbon reads counters of the processor and of NVIDIA GPUs where the system lets it, and
    otherwise estimates from the processor's rated power: an estimate, of the whole machine.
    """

    def __init__(self, country: str | None = None) -> None:
        try:
            codecarbon: Any = importlib.import_module("codecarbon")
        except ImportError as error:
            raise ImportError(
                'energy needs codecarbon; install it with: pip install "hubprune[energy]"'
            ) from error
        with _quiet():
            if country is not None:
                source: Any = importlib.import_module("codecarbon.input")
                known = source.DataSource().get_global_energy_mix_data()
                if country not in known:
                    raise ValueError(
                        "energy must be True or the ISO code of a country, three letters such as "
                        f"'GBR'; got {country!r}"
                    )
            options = {} if country is None else {"country_iso_code": country}
            self._tracker = codecarbon.OfflineEmissionsTracker(
                save_to_file=False,
                save_to_api=False,
                save_to_logger=False,
                log_level="error",
                allow_multiple_runs=True,
                **options,
            )
        self.country = country or "world"
        self._stretches = 0

    @contextmanager
    def measure(self, into: dict[str, float]) -> Iterator[None]:
        """Add what the block takes to ``into["kwh"]`` and ``into["kg_co2"]``."""
        self._stretches += 1
        name = f"stretch {self._stretches}"
        with _quiet():
            self._tracker.start_task(name)
        try:
            yield
        finally:
            with _quiet():
                found = self._tracker.stop_task(name)
        # codecarbon logs its own errors and goes on without a result.
        if found is None:
            raise RuntimeError("codecarbon could not measure the energy on this machine")
        into["kwh"] = into.get("kwh", 0.0) + float(found.energy_consumed)
        into["kg_co2"] = into.get("kg_co2", 0.0) + float(found.emissions)

    def close(self) -> None:
        """Stop codecarbon's threads."""
        with _quiet():
            self._tracker.stop()


@contextmanager
def _quiet() -> Iterator[None]:
    logger = logging.getLogger("codecarbon")
    before = logger.disabled
    logger.disabled = True
    try:
        yield
    finally:
        logger.disabled = before
