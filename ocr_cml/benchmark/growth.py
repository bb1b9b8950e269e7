"""How the cost grows with students, image size, boxes, workers and processes."""

from __future__ import annotations

from typing import Any

GROWTH: dict[str, Any] = {}
