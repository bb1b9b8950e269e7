"""Whether a device can be had, before an engine is asked for it."""

from __future__ import annotations

from ppocr_data.errors import ModelError


def check_device(device: str) -> None:
    """Raises ModelError where a device is none of `cpu`, `gpu` and `gpu:N`."""
    kind, _, index = device.partition(":")
    if kind not in ("cpu", "gpu") or (index and (kind == "cpu" or not index.isdigit())):
        raise ModelError(f"device {device!r} is unknown; choose cpu, gpu or gpu:N")


def gpu_index(device: str) -> int:
    """The number in `gpu:N`; of plain `gpu` the one that Paddle is using. Raises ModelError where there is none."""
    import paddle

    _, _, index = (device if ":" in device else paddle.get_device()).partition(":")
    count = paddle.device.cuda.device_count() if paddle.is_compiled_with_cuda() else 0
    if not count:
        raise ModelError(
            f"device {device}: paddle sees no GPU here; use cpu, or install its GPU build (requirements-gpu.txt)"
        )
    if int(index or 0) >= count:
        raise ModelError(f"device {device}: there are {count} GPUs, numbered from 0")
    return int(index or 0)


def check_cuda_provider(device: str) -> None:
    """Raises ModelError where a GPU is asked for and ONNX Runtime has no CUDA."""
    import onnxruntime as ort

    if device != "cpu" and "CUDAExecutionProvider" not in ort.get_available_providers():
        raise ModelError(
            f"device {device}: ONNX Runtime has no CUDA here; use engine paddle, or install onnxruntime-gpu"
        )
