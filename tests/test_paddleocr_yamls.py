"""PaddleOCR's own detection configurations, unchanged, train two steps with overrides for data, weights and steps.

Where a checkout of PaddleOCR is at hand, name it:

    PADDLEOCR_SOURCE=PaddleOCR python -m pytest tests/test_paddleocr_yamls.py
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = os.environ.get("PADDLEOCR_SOURCE", "")
CONFIGS = Path(SOURCE) / "configs" / "det"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not SOURCE, reason="PADDLEOCR_SOURCE names no checkout of PaddleOCR"),
]
TEACHER = "Architecture.Models.Teacher.inference_model=configs/teacher"
SINGLE = (
    *("ch_PP-OCRv2/ch_PP-OCRv2_det_student", "PP-OCRv3/PP-OCRv3_mobile_det", "PP-OCRv3/PP-OCRv3_server_det"),
    *("PP-OCRv4/PP-OCRv4_mobile_det", "PP-OCRv4/PP-OCRv4_server_det"),
    *("PP-OCRv5/PP-OCRv5_mobile_det", "PP-OCRv5/PP-OCRv5_server_det", "PP-OCRv6/PP-OCRv6_small_det"),
)
SEVERAL = {
    "ch_PP-OCRv2/ch_PP-OCRv2_det_cml": [TEACHER],
    "ch_PP-OCRv2/ch_PP-OCRv2_det_dml": [
        f"Architecture.Models.{name}.pretrained=null" for name in ("Student", "Teacher")
    ],
    "ch_PP-OCRv2/ch_PP-OCRv2_det_distill": [TEACHER, "Architecture.Models.Student.pretrained=null"],
    "PP-OCRv3/PP-OCRv3_det_cml": [TEACHER],
    "PP-OCRv3/PP-OCRv3_det_dml": [],
    "PP-OCRv4/PP-OCRv4_det_cml": [TEACHER],
}


@pytest.mark.parametrize("name", [*SEVERAL, *SINGLE])
def test_two_steps(name: str, tiny_set: Path, tmp_path: Path, repository: Path) -> None:
    data = [
        value
        for part, file in (("Train", "train.txt"), ("Eval", "val.txt"))
        for value in (f"{part}.dataset.data_dir={tiny_set}", f"{part}.dataset.label_file_list=[{tiny_set / file}]")
    ]
    steps = ["Global.max_steps=2", "Global.teacher_check=false", f"Global.save_model_dir={tmp_path / 'run'}"]
    # The large networks at 960x960 need 20 GB for two images of two students; this takes a quarter of that.
    batch = 1 if "server" in name or name == "PP-OCRv3/PP-OCRv3_det_dml" else 2
    batches = [f"Train.loader.batch_size_per_card={batch}", "Train.loader.num_workers=0", "Global.save_memory=true"]
    overrides = [*data, *steps, *batches, "Global.pretrained_model=null", *SEVERAL.get(name, [])]
    command = [sys.executable, "tools/train.py", "-c", str((CONFIGS / f"{name}.yml").resolve()), "-o", *overrides]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, timeout=3000)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "step=2" in done.stdout.splitlines()[-1]
