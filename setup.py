"""Packages and dependencies of the plugin and its data preparation. ``pyproject.toml`` holds the other metadata."""

from setuptools import find_packages, setup

# ve-fairseq has wheels of fairseq's last main for these platforms; fairseq-fixed builds nearly the same from source.
HAS_WHEEL = (
    "python_version < '3.13' and platform_python_implementation == 'CPython' "
    "and sys_platform == 'linux' and platform_machine == 'x86_64'"
)
HAS_NO_WHEEL = (
    "python_version >= '3.13' or platform_python_implementation != 'CPython' "
    "or sys_platform != 'linux' or platform_machine != 'x86_64'"
)

setup(
    packages=find_packages(include=["slam_plugin", "slam_plugin.*", "data_prep", "data_prep.*"]),
    package_data={
        # recipes is a link to examples/slam/config. setuptools follows it: wheels and sdists hold the files themselves.
        "slam_plugin": ["py.typed", "recipes/*/*.yaml", "recipes/*.yaml"],
        "slam_plugin.reporting": ["templates/*.j2"],
        "slam_plugin.serving": ["pages/*"],
        "data_prep": ["py.typed"],
        "data_prep.manifests": ["templates/*.j2"],
    },
    install_requires=[
        "torch>=2.6,<3",
        "torchaudio>=2.6,<3",
        f"ve-fairseq==0.12.3; {HAS_WHEEL}",
        f"fairseq-fixed==0.12.3.1; {HAS_NO_WHEEL}",
        "numpy>=2.0",
        "sentencepiece>=0.2",
        "safetensors>=0.4",  # to read weights of transformers
        "soundfile>=0.12",  # the first whose libsndfile reads MP3
        "sacrebleu>=2.4",
        "jiwer>=4",
        "pyarrow>=15",
        "pyyaml>=6",
        "tqdm>=4.60",
        "jinja2>=3.1",  # for the templates of pages; torch needs it too
        "editdistance>=0.8",  # for fairseq's own recognition tasks and ``--scoring wer``
        # fairseq needs these too.
        "omegaconf",
        "scikit-learn>=1.3",
        "scipy>=1.10",
        "setuptools",  # to compile the kernels on machines with a GPU
    ],
    extras_require={
        "tensorboard": ["tensorboard", "tensorboardX"],
        "wandb": ["wandb"],
        "report": ["matplotlib"],
        "bench": ["transformers"],
        "av": ["av>=12"],  # PyAV, which carries FFmpeg: m4a, mp4, webm and others that libsndfile lacks
        "recordings": ["silero-vad>=6.2", "onnxruntime>=1.20", "pysubs2>=1.8"],  # long recordings and subtitles
        "lm": ["flashlight-text>=0.0.7"],  # language models beside CTC
        "normalizer": ["whisper-normalizer>=0.1"],
        "onnx": ["onnx>=1.20", "onnxscript>=0.7", "onnxruntime>=1.20"],
        "serve": ["starlette>=1.0", "uvicorn>=0.40", "python-multipart>=0.0.20"],
        "study": ["num2words>=0.5.12", "pysword>=0.2.8"],
        "synthetic": ["espeakng-loader"],  # GPL-3; used as a tool
        "test": ["pytest", "pytest-xdist", "hypothesis", "httpx2", "ruff"],
    },
)
