"""A Paddle predictor beside a training must not take its threads away."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

_PROGRAM = """
import ctypes, os
from pathlib import Path
from ocr_cml.environment import tune_process
tune_process()
import paddle
mkl = ctypes.CDLL(str(next((Path(paddle.__file__).parent / "libs").glob("libmklml*"))))
(paddle.ones([64, 64]) @ paddle.ones([64, 64])).numpy()
before = mkl.MKL_Get_Max_Threads()
from ocr_cml.runtime import open_detector, probe_images
open_detector("configs/teacher", "paddle").probability(probe_images())
print(before, mkl.MKL_Get_Max_Threads())
"""


def test_math_threads_are_given_back_after_a_paddle_predictor_ran(repository: Path) -> None:
    libraries = list(Path(sys.prefix).glob("lib/python*/site-packages/paddle/libs/libmklml*"))
    if not libraries:
        pytest.skip("this build of paddle comes without MKL")
    environment = os.environ | {"MKL_NUM_THREADS": "2", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(repository)}
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM], cwd=repository, env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["2", "2"], done.stderr
