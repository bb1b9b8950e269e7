"""`paddleocr.TextDetection`, PaddleOCR 3's way to run an exported detector; it is among this project's requirements."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Round = Callable[[], dict[str, Any]]


def detector(model_dir: str, folder: str, limit: int, limit_type: str, batch: int) -> Round:
    """See `answering.detector`."""
    from paddleocr import TextDetection

    from ocr_cml import inference_yml
    from ocr_cml.infer import find_images

    config = inference_yml.read(Path(model_dir) / inference_yml.FILE_NAME)
    runtime = TextDetection(
        model_name=config.model_name,
        model_dir=model_dir,
        device="cpu",
        limit_side_len=limit,
        limit_type=limit_type,
    )
    paths = [str(path) for path in find_images(Path(folder))]

    def once() -> dict[str, Any]:
        start = time.perf_counter()
        answers = [runtime.predict(path)[0] for path in paths]
        between = time.perf_counter()
        runtime.predict(paths, batch_size=batch)
        end = time.perf_counter()
        return {
            "single": (between - start) / len(paths),
            "folder": (end - between) / len(paths),
            "boxes": [[polygon.tolist() for polygon in answer["dt_polys"]] for answer in answers],
        }

    return once
