"""What comes in: numbers in arrays, and how many of them a trace may have."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

Floats = np.ndarray[Any, np.dtype[np.float64]]

MOST_STEPS: Final = 20_000_000
MOST_REQUESTS: Final = 1e11  # hours of work, even at millions a second
MOST_REPLICAS: Final = 100_000
