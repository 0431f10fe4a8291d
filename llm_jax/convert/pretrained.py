"""A model from wherever it is, and to whoever wants it.

`load_pretrained` takes our runs, Hugging Face folders and hub names, .gguf
files and the named default alike; `save_pretrained` is its twin.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterator

from etils import epath
import jax
import jax.numpy as jnp

from llm_jax import paths
from llm_jax.config import ModelConfig, require, require_choice
from llm_jax.convert import peft
from llm_jax.convert.huggingface import (
    CONFIG, MAX_SHARD_SIZE, config_with_dtype, load_huggingface,
    save_huggingface, tell)
from llm_jax.model.lora import merge
from llm_jax.model.params import Params, is_spec, param_specs
from llm_jax.tokenizer.chat import has_own_template
from llm_jax.tokenizer.protocol import Tokenizer
from llm_jax.training.saved_models import (
    CHECKPOINTS, checkpoint_info, load_params, save_params)

FORMATS = ("hf", "gguf", "orbax")
# Of a hub repository: no second copy of the weights in another format.
_WANTED = ("*.json", "*.safetensors", "*.jinja", "tokenizer.model")
_GGUF_NAMES = {"": "f16", "float32": "f32", "float16": "f16",
               "bfloat16": "bf16"}


@dataclasses.dataclass(frozen=True)
class Source:
  """What a user named: a file or folder, and what is in it.

  Attributes:
    path: where it is on this disk (or gs://, s3://).
    kind: "run" (of ours), "hf", "gguf" or "peft" (an adapter).
    stage: "pretrain", "sft" or "rl" of a run; "" elsewhere.
  """
  path: epath.Path
  kind: str
  stage: str = ""


def find(path_or_name: str, *, flag: str = "") -> Source:
  """Finds out what a path or name leads to.

  Args:
    path_or_name: a run's directory or checkpoint, a Hugging Face folder, an
      adapter's folder of PEFT, a .gguf file or a folder with one, the name of
      a built-in model, or organisation/name on the Hugging Face hub.
    flag: the flag it was typed after, for the error's sentence.

  Raises:
    ConfigError: it leads nowhere, or to nothing that can be read.
  """
  from llm_jax.convert.named import resolve_named
  text = str(path_or_name)
  named = resolve_named(text)
  path = epath.Path(named) if named else paths.resolve(
      text, flag=flag, allow_patterns=_WANTED)
  if not path.is_dir():
    require(path.suffix == ".gguf", f"{text} is a file and no .gguf; give the "
            "folder that holds config.json and the weights.")
    return Source(path, "gguf")
  inside_run = CHECKPOINTS in (path.name, path.parent.name)
  if inside_run or (path / CHECKPOINTS).is_dir():
    return Source(path, "run", checkpoint_info(str(path))[2]["stage"])
  if (path / CONFIG).exists():
    return Source(path, "hf")
  if (path / peft.CONFIG).exists():
    return Source(path, "peft")
  files = sorted(path.glob("*.gguf"))
  require(len(files) < 2, f"{text} has several .gguf files "
          f"({', '.join(file.name for file in files)}); name one of them.")
  require(bool(files), f"{text} holds no model: no finished checkpoint of a "
          f"run ({CHECKPOINTS}/), no {CONFIG} of a Hugging Face folder and no "
          ".gguf file.")
  return Source(files[0], "gguf")


def load_pretrained(path_or_name: str | os.PathLike, *, dtype: str = "",
                    log: Callable[[str], None] = tell
                    ) -> tuple[Params, ModelConfig, Tokenizer | None]:
  """Loads a model, onto the ambient mesh if there is one.

  Args:
    path_or_name: as `find` takes it.
    dtype: float32 | bfloat16 of parameters and activations; default: as they
      are stored (float16 becomes float32).
    log: is told of what is left out.

  Returns:
    (params, model config, tokenizer; None where the source has none).

  Raises:
    ConfigError: one sentence on what is wrong with which file and tensor.
  """
  if dtype:
    require_choice("dtype", dtype, ("float32", "bfloat16", "float64"))
  source = find(str(path_or_name))
  if source.kind == "hf":
    return load_huggingface(source.path, dtype=dtype, log=log)
  if source.kind == "peft":
    params, config, tokenizer = load_pretrained(
        peft.base_model(source.path), dtype=dtype, log=log)
    adapter, lora = peft.load_peft(source.path, params, config)
    return merge(params, adapter, lora), config, tokenizer
  if source.kind == "gguf":
    from llm_jax.convert.gguf import load_gguf
    return load_gguf(source.path, dtype)
  params, config, tokenizer = load_params(str(source.path))
  return (*cast(params, config, dtype), tokenizer)


def cast(params: Params, config: ModelConfig, dtype: str
         ) -> tuple[Params, ModelConfig]:
  """Stacked parameters in another dtype, and a config that says so.

  What has a dtype of its own keeps it; an empty `dtype` changes nothing.
  """
  if not dtype:
    return params, config
  params = jax.tree.map(
      lambda spec, x: x.astype(jnp.dtype(spec.dtype or dtype)),
      param_specs(config), params, is_leaf=is_spec)
  return params, config_with_dtype(config, dtype)


def stack_layers(params: Params) -> Params:
  """The reverse of `unstack_layers`; stacked parameters come back as they are.
  """
  def stack(group):
    if not isinstance(group, tuple):
      return group
    return jax.tree.map(lambda *blocks: jnp.stack(blocks), *group)
  return {**params, "layers": [stack(group) for group in params["layers"]]}


def save_pretrained(directory: str | os.PathLike, params: Params,
                    config: ModelConfig, tokenizer: Tokenizer | None, *,
                    format: str = "hf",  # noqa: A002 - as it is called
                    dtype: str = "", model_type: str = "", stage: str = "",
                    max_shard_size: int = MAX_SHARD_SIZE) -> epath.Path:
  """Writes a model, whole or not at all.

  Args:
    directory: does not exist, or is empty; or a file's name, *.gguf.
    params: stacked or unstacked.
    config: the model.
    tokenizer: its tokenizer; may be None for format="hf" only.
    format: "hf" (config.json, safetensors, tokenizer), "gguf" (llama.cpp, LM
      Studio) or "orbax" (what `--init_from` and `--checkpoint` read).
    dtype: hf: float32 | bfloat16 | float16; orbax: float32 | bfloat16; gguf:
      f16 (the default) | bf16 | q8_0 | f32. Elsewhere: as they are.
    model_type: hf: the family to write; default: the first that fits.
    stage: orbax: what the model is; default: "sft" if its tokenizer came with
      a chat template, else "pretrain".
    max_shard_size: hf: bytes of one file of weights.

  Returns:
    What was written: the directory, or the .gguf file.

  Raises:
    ConfigError: something is there already, or the format cannot hold the
      model; nothing is left behind.
  """
  require_choice("format", format, FORMATS)
  require(tokenizer is not None or format == "hf", f"format={format} includes "
          "a tokenizer, and this model came without one; put its "
          "tokenizer.json into the source's folder.")
  output = check_output(directory)
  if format == "gguf":
    from llm_jax.convert.gguf import save_gguf
    kind = _GGUF_NAMES.get(dtype, dtype)
    with whole(output) as folder:
      file = (folder if output.suffix == ".gguf"
              else folder / f"model-{kind}.gguf")
      if file != folder:
        folder.mkdir(parents=True)
      else:
        folder.parent.mkdir(parents=True, exist_ok=True)
      save_gguf(file, params, config, tokenizer, dtype=kind)
    return output if file == folder else output / file.name
  with whole(output) as folder:
    folder.mkdir(parents=True)
    if format == "hf":
      save_huggingface(folder, params, config, tokenizer, dtype=dtype,
                       model_type=model_type, max_shard_size=max_shard_size)
    else:
      require_choice("dtype", dtype, ("", "float32", "bfloat16"))
      params, config = cast(stack_layers(params), config, dtype)
      stage = stage or ("sft" if has_own_template(tokenizer) else "pretrain")
      save_params(str(folder), params, config, tokenizer, stage)
  return output


def check_output(directory: str | os.PathLike) -> epath.Path:
  """Raises `ConfigError` where something is already."""
  output = paths.as_path(directory)
  if output.is_dir():
    require(not any(output.iterdir()), f"the directory {output} is not empty; "
            "give another, or empty it first.")
  else:
    require(not output.exists(), f"the file {output} exists; give another "
            "name, or remove it first.")
  return output


@contextlib.contextmanager
def whole(output: epath.Path) -> Iterator[epath.Path]:
  """A name beside `output` to write to; it gets its name when it is whole."""
  # A file's name keeps its ending, by which writers know the format.
  partial = output.with_name(f"partial-{os.getpid()}-{output.name}")
  try:
    yield partial
    if output.is_dir():  # it is empty
      output.rmdir()
    partial.rename(output)
  except BaseException:
    if partial.is_dir():
      partial.rmtree()
    elif partial.exists():
      partial.unlink()
    raise
