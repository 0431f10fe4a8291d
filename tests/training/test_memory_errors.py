"""Out of memory, in words."""

import dataclasses

import jax
import pytest

from llm_jax.config import (
    ConfigError, LossConfig, ModelConfig, OptimizerConfig, PretrainConfig)
from llm_jax.training.memory_errors import memory_remedies, told_out_of_memory

OURS = PretrainConfig(batch_size=8, num_microbatches=2)
# As XLA words it for a TPU while compiling, and for a GPU while running.
TPU = ("RESOURCE_EXHAUSTED: XLA:TPU compile permanent error. Ran out of memory "
       "in memory space hbm. Used 31.21G of 15.75G hbm. Exceeded hbm capacity "
       "by 15.46G.\n\nTotal hbm usage >= 31.46G:")
GPU = ("RESOURCE_EXHAUSTED: Out of memory while trying to allocate "
       "137438953472 bytes.")


@pytest.mark.parametrize("message, amount", [
    (TPU, "Used 31.21G of 15.75G hbm"), (GPU, "137438953472 bytes")])
def test_xla_s_words_become_a_sentence_with_remedies(message, amount):
  with pytest.raises(ConfigError) as caught:
    with told_out_of_memory(OURS, OURS.model):
      raise jax.errors.JaxRuntimeError(message)
  told = str(caught.value)
  assert amount in told and told.count("\n") == 0
  assert "--num_microbatches=4 (half of the 4 rows" in told
  assert "--loss.chunk" in told and "--model.remat=full" in told


def test_other_errors_pass():
  with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"):
    with told_out_of_memory(OURS, OURS.model):
      raise jax.errors.JaxRuntimeError("INTERNAL: something else")


def test_what_is_in_use_is_not_advised():
  config = PretrainConfig(
      batch_size=2, num_microbatches=2, loss=LossConfig(chunk=128),
      optimizer=OptimizerConfig(moments_dtype="bfloat16"))
  model = ModelConfig(remat="full", compute_dtype="bfloat16")
  assert memory_remedies(config, model) == (
      "a longer --mesh.fsdp, over more devices")
  unrolled = dataclasses.replace(model, scan_layers=False)
  assert "--model.scan_layers" in memory_remedies(config, unrolled)


def test_an_error_that_xla_itself_raises():
  """A program that no machine has the memory for."""
  huge = jax.ShapeDtypeStruct((1 << 46,), "float32")
  compiled = jax.jit(lambda: jax.numpy.ones(huge.shape, huge.dtype)).lower()
  with pytest.raises(ConfigError, match="needs more memory"):
    with told_out_of_memory(OURS, OURS.model):
      jax.block_until_ready(compiled.compile()())
