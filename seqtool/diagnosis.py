"""The facts that `seqtool doctor` shows: versions, devices, measured speed, threads, folders."""

from __future__ import annotations

import importlib.metadata
import logging
import os
import platform
import re
import shutil
import tempfile
import time
from pathlib import Path

import torch

from seqtool.devices import explain_devices, resolve_device
from seqtool.errors import SeqtoolError
from seqtool.models.folder import find_model_folder
from seqtool.version import __version__

DATA_VARIABLE, MODEL_VARIABLE = "SEQTOOL_DATA", "SEQTOOL_MODEL"
MEASURING_SECONDS = 0.2  # per number type
CPU_WIDTH, GPU_WIDTH = 512, 4096  # rows and columns of the matrices that are multiplied

Section = dict[str, str]


def diagnose() -> dict[str, Section]:
    """All facts: by section, one line per topic."""
    return {
        "versions": versions(),
        "devices": explain_devices(),
        "speed": matrix_rates(),
        "threads": threads(),
        "files": files(),
        "pictures": pictures(),
    }


def versions() -> Section:
    """Versions of Python, of the platform, of seqtool and of the packages that it requires."""
    result = {
        "seqtool": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "torch": torch.__version__,
    }
    for name in _dependencies():
        if name not in result:
            result[name] = _version(name)
    return result


def matrix_rates() -> Section:
    """Measured speed of matrix products on the device that `auto` selects, in GFLOP/s by number type."""
    device = resolve_device("auto")
    result = {}
    for name, kind in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        try:
            result[f"{name} on {device}"] = f"{matrix_rate(device, kind):,.0f} GFLOP/s"
        except (RuntimeError, TypeError) as error:  # the device does not have the number type
            result[f"{name} on {device}"] = f"not supported: {error}"
    return result


def matrix_rate(device: torch.device, kind: torch.dtype, seconds: float = MEASURING_SECONDS) -> float:
    """Measure the speed of matrix products.

    Args:
        device: Device that multiplies.
        kind: Number type of the matrices.
        seconds: Duration of the measurement, > 0.

    Returns:
        1e9 multiplications and additions per second (GFLOP/s).
    """
    width = CPU_WIDTH if device.type == "cpu" else GPU_WIDTH
    matrix = torch.full((width, width), 1 / width, device=device, dtype=kind)
    _multiply(matrix)  # the first product sets up threads and libraries
    products, started = 0, time.perf_counter()
    while (passed := time.perf_counter() - started) < seconds or not products:
        _multiply(matrix)
        products += 1
    return products * 2 * width**3 / passed / 1e9 if passed else 0.0


def threads() -> Section:
    """CPU threads that torch uses, and the environment variables that limit them."""
    result = {
        "one operation": str(torch.get_num_threads()),
        "between operations": str(torch.get_num_interop_threads()),
        "cores of this process": str(_usable_cores()),
    }
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        result[f"${name}"] = os.environ.get(name, "not set")
    return result


def files() -> Section:
    """The working folder, and the folders that environment variables name."""
    here = Path.cwd()
    advice = "writable" if _is_writable(here) else "not writable: name a run folder elsewhere with train -o"
    return {
        "working folder": f"{here}, {shutil.disk_usage(here).free / 1e9:,.1f} GB free, {advice}",
        f"${DATA_VARIABLE}": _data_folder(),
        f"${MODEL_VARIABLE}": _default_model(),
    }


def pictures() -> Section:
    """Cache folder and font of matplotlib, which draws the pictures."""
    # Without a usable cache folder matplotlib logs a warning and creates a temporary one at each start.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    import matplotlib
    from matplotlib.font_manager import findfont

    from seqtool.inspection.canvas import FONT

    cache = Path(matplotlib.get_cachedir())
    lasting = not cache.is_relative_to(tempfile.gettempdir()) and _is_writable(cache)
    advice = "writable" if lasting else "temporary: set MPLCONFIGDIR to a permanent folder for a faster start"
    return {"cache": f"{cache}, {advice}", "font": f"{FONT}, {Path(findfont(FONT)).name}"}


def conclusion() -> Section:
    """The device, number type and threads that `auto` selects, and why."""
    facts = explain_devices()
    device = resolve_device("auto")
    precision, _, reason = facts["precision auto"].partition(", ")
    return {
        "device": str(device),
        "device reason": f"cuda: {facts['cuda']}" if device.type != "mps" else f"mps: {facts['mps']}",
        "precision": precision,
        "precision reason": reason,
        "threads": str(torch.get_num_threads()),
    }


def _multiply(matrix: torch.Tensor) -> None:
    matrix @ matrix
    if matrix.device.type == "cuda":
        torch.cuda.synchronize(matrix.device)
    elif matrix.device.type == "mps":
        torch.mps.synchronize()


def _dependencies() -> list[str]:
    """Names of the packages that seqtool requires, from its metadata."""
    try:
        required = importlib.metadata.requires("seqtool") or []
    except importlib.metadata.PackageNotFoundError:  # run from a checkout that was not installed
        return []
    return [re.split(r"[^\w.-]", line, maxsplit=1)[0] for line in required if "extra ==" not in line]


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return f"missing: pip install {package}"


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _is_writable(folder: Path) -> bool:
    try:
        with tempfile.TemporaryFile(dir=folder):  # permissions are not enough: the disk may be read-only
            return True
    except OSError:
        return False


def _data_folder() -> str:
    given = os.environ.get(DATA_VARIABLE)
    if not given:
        return "not set: recipes without bundled data load it from the hub, if they name one"
    folder = Path(given)
    if not folder.is_dir():
        return f"{given}, not usable: no such folder"
    if not os.access(folder, os.R_OK | os.X_OK):
        return f"{given}, not usable: no permission to read it"
    return f"{given}, {sum(entry.is_dir() for entry in folder.iterdir())} folders"


def _default_model() -> str:
    given = os.environ.get(MODEL_VARIABLE)
    if not given:
        return "not set: without -m, commands use the newest run"
    try:
        return f"{given}, a model in {find_model_folder(Path(given))}"
    except SeqtoolError as error:
        return f"{given}, not usable: {error}"
