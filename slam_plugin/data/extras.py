"""Optional packages: the extras of ``setup.py``, and what to install where one is absent."""

import importlib.util
import shlex

from slam_plugin.data.errors import DataError

# For each extra its modules, with what pip installs for them as in setup.py
EXTRAS = {
    "av": {"av": "av>=12"},
    "bench": {"transformers": "transformers"},
    "lm": {"flashlight": "flashlight-text>=0.0.7"},
    "normalizer": {"whisper_normalizer": "whisper-normalizer>=0.1"},
    "onnx": {"onnx": "onnx>=1.20", "onnxscript": "onnxscript>=0.7", "onnxruntime": "onnxruntime>=1.20"},
    "recordings": {
        "silero_vad": "silero-vad>=6.2",
        "onnxruntime": "onnxruntime>=1.20",
        "pysubs2": "pysubs2>=1.8",
    },
    "report": {"matplotlib": "matplotlib"},
    "serve": {
        "starlette": "starlette>=1.0",
        "uvicorn": "uvicorn>=0.40",
        "python_multipart": "python-multipart>=0.0.20",
    },
    "study": {"num2words": "num2words>=0.5.12", "pysword": "pysword>=0.2.8"},
    "synthetic": {"espeakng_loader": "espeakng-loader"},
}


def absent_packages(extra: str, *modules: str) -> str | None:
    """Return which packages of an extra are absent and how to install them, None if they are all there.

    ``modules`` are those that are needed; without them, all modules of the extra.

    Example::

        absent_packages("recordings", "pysubs2")  # pysubs2: pip install 'pysubs2>=1.8' (the extra [recordings])
    """
    absent = [name for name in modules or EXTRAS[extra] if importlib.util.find_spec(name) is None]
    return _cure(extra, absent) if absent else None


def require_packages(purpose: str, extra: str, *modules: str) -> None:
    """Raise :class:`DataError` if packages of an extra are absent, as :func:`absent_packages` finds them.

    ``purpose`` is what needs them and begins the message, such as ``--format srt``.
    """
    absent = absent_packages(extra, *modules)
    if absent is not None:
        raise DataError(f"{purpose} needs {absent}")


def cure_of_import(error: ModuleNotFoundError) -> str | None:
    """Return which package of an extra a failed import was of and how to install it, None if it was of no extra."""
    module = (error.name or "").partition(".")[0]
    return next((_cure(extra, [module]) for extra, modules in EXTRAS.items() if module in modules), None)


def _cure(extra: str, modules: list[str]) -> str:
    requirements = [EXTRAS[extra][name] for name in modules]
    names = ", ".join(each.partition(">")[0] for each in requirements)
    return f"{names}: pip install {shlex.join(requirements)} (the extra [{extra}])"
