"""The recipe of SmolLM2's adapter: it learns, and PEFT computes the same.

`configs/sft_smollm2_lora.py` in a few short steps: converted from the named
model, trained, exported to PEFT's format, put into `transformers`.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import sft_smollm2_lora
from experiments import convert, sft
from llm_jax.config import ConfigError, ConvertConfig, MeshConfig
from llm_jax.convert.named import resolve_named
from llm_jax.convert.pretrained import load_pretrained, save_pretrained
from llm_jax.model.transformer import forward
from llm_jax.tokenizer import chat
from llm_jax.training.saved_models import load_params

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
peft = pytest.importorskip("peft")
pytestmark = [pytest.mark.reference, pytest.mark.slow]

NAME = "smollm2-135m"
MESSAGES = [{"role": "user", "content": "Who are you?"},
            {"role": "assistant", "content": "I am Pebble."}]


def test_it_learns_and_peft_computes_the_same(tmp_path):
  try:
    resolve_named(NAME)
  except ConfigError as error:
    pytest.skip(str(error))
  recipe = sft_smollm2_lora.get_config()
  run = tmp_path / "run"
  results = sft.run(dataclasses.replace(
      recipe, workdir=str(run), num_steps=6, seq_len=128, batch_size=8,
      mesh=MeshConfig(data=1, fsdp=-1),
      data=dataclasses.replace(
          recipe.data, synthetic=dataclasses.replace(
              recipe.data.synthetic, articles=0, identity=60, validation=8)),
      optimizer=dataclasses.replace(recipe.optimizer, warmup_steps=1)))
  assert results["val_loss_end"] < results["val_loss_start"]

  base, model, tokenizer = load_pretrained(NAME)
  folder = save_pretrained(tmp_path / "base", base, model, tokenizer)
  convert.run(ConvertConfig(source=str(run), output=str(tmp_path / "adapter"),
                            format="peft", base_model=str(folder)))
  theirs = transformers.AutoModelForCausalLM.from_pretrained(
      folder, dtype=torch.float32)
  params, model, tokenizer = load_params(str(run))
  ids = chat.render_conversation(MESSAGES, tokenizer)[0]
  def ours(params):
    return np.asarray(jax.jit(forward, static_argnums=2)(
        params, jnp.asarray([ids], jnp.int32), model)[0])[0]
  def logits(model):
    with torch.no_grad():
      return model.eval()(torch.tensor([ids])).logits[0].numpy()
  plain = ours(base)
  scale = np.std(plain)
  np.testing.assert_allclose(plain, logits(theirs), atol=2e-4 * scale)
  adapted = peft.PeftModel.from_pretrained(theirs, tmp_path / "adapter")
  expected = logits(adapted)
  assert np.abs(expected - plain).max() > 0.05 * scale
  np.testing.assert_allclose(ours(params), expected, atol=2e-4 * scale)
  # A merged export says the same to whoever knows no adapters.
  np.testing.assert_allclose(logits(adapted.merge_and_unload()), expected,
                             atol=2e-4 * scale)
