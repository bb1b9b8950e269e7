"""PaddleOCR's sections around the networks: Global, Optimizer, PostProcess, Metric, Train, Eval."""

from __future__ import annotations

from typing import Any

from ocr_cml.compat.reading import Reading
from ocr_cml.yaml_source import KeyPath

WITHOUT_MEANING = (
    *("use_visualdl", "use_tensorboard", "use_wandb", "log_smooth_window", "log_ranks", "print_mem_info", "debug"),
    *("cal_metric_during_train", "calc_epoch_interval", "save_epoch_step", "infer_img", "save_res_path", "infer_mode"),
    *("distributed", "find_unused_parameters", "d2s_train_image_shape", "amp_level", "amp_custom_black_list"),
    *("amp_custom_white_list", "scale_loss", "use_dynamic_loss_scaling", "profiler_options", "uniform_output_enabled"),
)
_DEVICES = ("use_xpu", "use_npu", "use_mlu", "use_gcu", "use_metax_gpu", "use_iluvatar_gpu", "use_sync_bn")
_VIEWERS = ("use_visualdl", "use_tensorboard", "use_wandb")
_LOADER = ("drop_last", "use_shared_memory", "persistent_workers", "prefetch_factor")


def leave_out_what_means_nothing(reading: Reading) -> None:
    """Keys of PaddleOCR's that change nothing here: one note for all, and one for each viewer that is wanted."""
    section, path = reading.section("Global"), ("Global",)
    meaningless = [key for key in section if key in WITHOUT_MEANING or (key in _DEVICES and not section[key])]
    viewers = [key for key in _VIEWERS if section.get(key) is True]
    for key in meaningless:
        reading.take(section, path, key)
    for key in ("profiler_options", "wandb"):
        if key in reading.source.data:
            reading.take(reading.source.data, (), key)
            meaningless.append(key)
    for key in viewers:
        meaningless.remove(key)
        reading.note((*path, key), f"is left out; it is called -o Global.loggers=[{key.removeprefix('use_')}] here")
    if meaningless:
        reading.note(path, f"{', '.join(meaningless)} have no meaning here and are left out")


def translate_global(reading: Reading) -> None:
    """Read PaddleOCR's defaults, and move the moving mean of the weights."""
    section = reading.section("Global")
    if section.get("use_gpu") is True and not reading.is_override(("Global", "use_gpu")):
        section["use_gpu"] = "auto"
        reading.note(
            ("Global", "use_gpu"),
            "true in PaddleOCR's files is read as auto: a GPU where there is one; -o Global.use_gpu=true insists",
        )
    if isinstance(section.get("eval_batch_step"), int):
        section["eval_batch_step"] = [0, section["eval_batch_step"]]
    if section and "save_batch_step" not in section:
        section["save_batch_step"] = _SAVE_EVERY
        reading.note(
            ("Global", "save_batch_step"),
            f"latest/ is written every {_SAVE_EVERY} steps and at every evaluation; PaddleOCR writes it once an epoch",
        )
    _mixed_precision(reading, section)
    _moving_mean(reading, section)


def _mixed_precision(reading: Reading, section: dict[str, Any]) -> None:
    if not section:
        return
    section.setdefault("use_amp", False)  # PaddleOCR's default; this package's is auto
    if section["use_amp"] is True and "amp_dtype" not in section:
        reading.note(
            ("Global", "use_amp"),
            "computes in bfloat16; PaddleOCR's default, float16, overflows in DB's binary map; "
            "-o Global.amp_dtype=float16 insists",
        )


def _moving_mean(reading: Reading, section: dict[str, Any]) -> None:
    """Global.use_ema and ema_decay -> Optimizer.ema_decay. Both warm up as min(decay, (1 + n) / (10 + n))."""
    if not any(key.startswith(("use_ema", "ema_")) for key in section):
        return
    wanted = section.get("use_ema")
    if wanted and section.get("ema_decay_type", "threshold") != "threshold":
        text = f"{section['ema_decay_type']!r} is not supported; choose threshold"
        reading.problem(("Global", "ema_decay_type"), text)
    decay = section.get("ema_decay", 0.9998)
    optimizer = reading.section("Optimizer")
    if wanted and optimizer and "ema_decay" not in optimizer:  # given there it is this package's own key
        reading.note(("Global", "use_ema"), f"is read as Optimizer.ema_decay: {decay}")
        place = reading.source.where(("Global", "ema_decay" if "ema_decay" in section else "use_ema"))
        optimizer["ema_decay"] = decay
        if place:
            reading.source.lines[("Optimizer", "ema_decay")] = place
    for key in ("use_ema", "ema_decay", "ema_decay_type", "ema_gamma", "ema_filter_no_grad"):
        reading.take(section, ("Global",), key)


_SAVE_EVERY = 200
"""Steps between two checkpoints: PaddleOCR's files evaluate first after thousands, and would save nothing before."""
_ADAMW_DECAY = 0.01
"""What PaddleOCR's AdamW decays weights by where its configuration says nothing."""


def translate_optimizer(reading: Reading) -> None:
    """PaddleOCR's default schedule, its names of weight decay and of gradient clipping."""
    section, path = reading.section("Optimizer"), ("Optimizer",)
    rate = reading.section("Optimizer", "lr")
    if rate:
        rate.setdefault("name", "Const")
    if rate.get("warmup_epoch") and rate["name"] != "Const":
        reading.note(
            (*path, "lr"),
            "comes down over the steps behind the warm-up and reaches its end at the last one; PaddleOCR's comes down "
            "over as many steps as the whole training has, behind the warm-up, and never gets there",
        )
    regularizer = reading.section("Optimizer", "regularizer")
    if regularizer.get("name") == "L2Decay":
        regularizer["name"] = "L2"
    if section.get("weight_decay") is not None and regularizer:
        text = "stands beside regularizer, and both say the same thing; keep regularizer.factor"
        reading.problem((*path, "weight_decay"), text)
        reading.take(section, path, "weight_decay")
    elif "weight_decay" in section:
        reading.source.move(("Optimizer", "weight_decay"), ("Optimizer", "regularizer", "factor"))
        section["regularizer"] = {"name": "L2", "factor": section.pop("weight_decay")}
    if section.get("name") == "AdamW" and not section.get("regularizer"):
        section["regularizer"] = {"name": "L2", "factor": _ADAMW_DECAY}
        reading.note(path, f"AdamW decays weights by {_ADAMW_DECAY} where no regularizer is given, as in PaddleOCR")
    if section.get("clip_norm") is not None:
        reading.note(
            ("Optimizer", "clip_norm"), "clips the gradient of a whole student; PaddleOCR clips each of its tensors"
        )
    if "clip_norm_global" in section and "clip_norm" not in section:
        reading.note(
            ("Optimizer", "clip_norm_global"),
            "is read as clip_norm: the gradient of each student is clipped; PaddleOCR clips all students' together",
        )
        reading.source.move(("Optimizer", "clip_norm_global"), (*path, "clip_norm"))
        section["clip_norm"] = section.pop("clip_norm_global")


def translate_scoring(reading: Reading) -> None:
    """PostProcess and Metric: one post-process for all, every student scored."""
    process = reading.section("PostProcess")
    if "use_polygon" in process and "box_type" not in process:  # of older versions
        reading.source.move(("PostProcess", "use_polygon"), ("PostProcess", "box_type"))
        process["box_type"] = "poly" if process.pop("use_polygon") else "quad"
    if process.get("name") == "DistillationDBPostProcess":
        process["name"] = "DBPostProcess"
        for key in ("model_name", "key"):
            reading.take(process, ("PostProcess",), key)
    elif process.get("name") == "DBPostProcess":  # PaddleOCR's defaults, which are not this package's
        process.setdefault("box_thresh", 0.7)
        process.setdefault("unclip_ratio", 2.0)
    metric = reading.section("Metric")
    if metric.get("name") == "DistillationMetric":
        reading.note(
            ("Metric",),
            f"every student and their ensemble are scored, and the best of all is kept; PaddleOCR follows "
            f"{metric.get('key') or 'one student'} alone",
        )
        metric["name"] = reading.take(metric, ("Metric",), "base_metric_name") or "DetMetric"
        reading.take(metric, ("Metric",), "key")


def translate_data(reading: Reading) -> None:
    """Loaders, data sets and transforms."""
    for part in ("Train", "Eval"):
        _loader(reading, part)
        _dataset(reading, part)
        for path, name, arguments in list(reading.steps(part, "dataset", "transforms")):
            if name == "RandomCrop":
                _random_crop(reading, path, arguments)
            elif name == "DetResizeForTest" and "resize_long" in arguments:
                if winner := next((key for key in ("image_shape", "limit_side_len") if key in arguments), None):
                    reading.note((*path, "resize_long"), f"is left aside as PaddleOCR does, because {winner} is given")
                    reading.take(arguments, path, "resize_long")
                    continue
                reading.note(
                    (*path, "resize_long"),
                    "is read as limit_type: resize_long, with sides rounded to multiples of 32; PaddleOCR rounds them "
                    "up to multiples of 128",
                )
                reading.source.move((*path, "resize_long"), (*path, "limit_side_len"))
                arguments |= {"limit_side_len": arguments.pop("resize_long"), "limit_type": "resize_long"}
            elif name == "MakeShrinkMap" and arguments.get("total_epoch") is not None:
                _shrink_schedule(reading, path, arguments["total_epoch"])


def _shrink_schedule(reading: Reading, path: KeyPath, total: Any) -> None:
    text = (
        "the shrink ratio rises by 0.2 over these epochs; PaddleOCR takes its seed (1024) for the epoch and shrinks "
        "far less, so that boxes come out too large"
    )
    epochs = reading.section("Global").get("epoch_num")
    if isinstance(epochs, int) and isinstance(total, int) and epochs < total:
        text += (
            f". The run has only {epochs} epochs and sees {0.2 * max(0, epochs - 1) / total:.2g} of it; write "
            f"total_epoch: {epochs} here and in MakeBorderMap if it is to see all"
        )
    reading.note((*path, "total_epoch"), text)


def _random_crop(reading: Reading, path: KeyPath, arguments: dict[str, Any]) -> None:
    """PP-OCRv6's crop becomes the one that divides no text: their arguments are the same."""
    reading.note(
        path,
        "is read as EastRandomCropData, whose windows divide no readable text and are scaled to the crop's size; "
        "PaddleOCR's may cut through text, keeps the rest of it as a label, and never enlarges",
    )
    reading.source.data[path[0]]["dataset"]["transforms"][int(path[3])] = {"EastRandomCropData": arguments}
    reading.source.move(path, (*path[:-1], "EastRandomCropData"))


def _loader(reading: Reading, part: str) -> None:
    path = (part, "loader")
    loader = reading.section(*path)
    dropped = [key for key in _LOADER if key in loader]
    for key in dropped:
        reading.take(loader, path, key)
    if dropped and part == "Train":
        reading.note(
            path, f"{', '.join(dropped)}: left out; batches are always full and each sample comes once an epoch"
        )


def _dataset(reading: Reading, part: str) -> None:
    path = (part, "dataset")
    dataset = reading.section(*path)
    ratios, files = dataset.get("ratio_list"), dataset.get("label_file_list")
    if isinstance(ratios, (int, float)) and isinstance(files, list):
        dataset["ratio_list"] = ratios = [ratios] * len(files)
    whole = isinstance(ratios, list) and all(ratio == 1 for ratio in ratios)
    if part == "Eval" and (whole or ratios is None):
        reading.take(dataset, path, "ratio_list")
    if dataset.get("delimiter") in ("\t", None):
        reading.take(dataset, path, "delimiter")
    if "ext_op_transform_idx" in dataset:
        reading.note(
            (*path, "ext_op_transform_idx"),
            "is left out: CopyPaste takes its texts from a sample that is read and labelled, whatever the index",
        )
        reading.take(dataset, path, "ext_op_transform_idx")
