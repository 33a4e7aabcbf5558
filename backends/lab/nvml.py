"""`SimNvml`, with all its functions registered."""

from backends.lab import nvml_devices  # noqa: F401  (importing it registers the functions)
from backends.lab.nvml_core import FUNCTIONS, SimNvml

__all__ = ["FUNCTIONS", "SimNvml"]
