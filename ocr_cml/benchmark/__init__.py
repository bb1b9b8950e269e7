"""`tools/benchmark.py`: ours beside a plain implementation and beside PaddleOCR, measured in turn in one run.

Every side is a process of its own (`side.py`, `worker.py`) that is given the same inputs (`inputs.py`). A *case* is a
piece of work that several sides can do: `ours.py` and `plain.py` hold theirs in functions of the same names, and so
does `peer.py`, which runs in the virtual environment of PaddleOCR and imports nothing of this project.
"""
