"""Loss, gradient and advantages against TRL's GRPOTrainer, on the same arrays.

The trainer is TRL's own with a tiny model, and so is the code that is run:
`_generate_and_score_completions` for advantages, and `_compute_loss`, which is
handed a model that says given log-probabilities.
"""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from llm_jax.config import ObjectiveConfig
from llm_jax.rl.advantages import group_advantages
from llm_jax.rl.policy_loss import policy_gradient_loss

torch = pytest.importorskip("torch")
pytest.importorskip("trl")

pytestmark = pytest.mark.reference
B, T, G, MAX_TOKENS = 6, 7, 3, 9

# TRL's settings, and ours.
SETTINGS = {
    "grpo": ({"loss_type": "grpo", "beta": 0.1},
             ObjectiveConfig(normalization="response", kl_coef=0.1,
                             kl_ratio=True)),
    "dr_grpo": ({"loss_type": "dr_grpo", "scale_rewards": "none"},
                ObjectiveConfig(normalization="constant",
                                normalize_std=False)),
    "dapo": ({"loss_type": "dapo", "epsilon_high": 0.28},
             ObjectiveConfig(normalization="token", clip_high=0.28)),
    "bnpo": ({"loss_type": "bnpo", "beta": 0.2,
              "use_bias_correction_kl": False},
             ObjectiveConfig(normalization="token", kl_coef=0.2)),
    "gspo": ({"loss_type": "grpo", "importance_sampling_level": "sequence",
              "epsilon": 3e-2, "epsilon_high": 4e-2},
             ObjectiveConfig(kind="gspo", normalization="response",
                             clip_low=3e-2, clip_high=4e-2)),
    "cispo": ({"loss_type": "cispo", "epsilon_high": 1.5},
              ObjectiveConfig(kind="cispo", normalization="token",
                              clip_low=1.0, clip_high=0.5)),
}
REWARDS = [1.0, 0.0, 0.5, 2.0, 2.0, 2.0]  # of two groups, one all alike


def make_trainer(folder, **settings):
  """TRL's trainer of a random Llama of a few thousand parameters."""
  from datasets import Dataset
  from tokenizers import Tokenizer, models, pre_tokenizers
  from transformers import (
      LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast)
  from trl import GRPOConfig, GRPOTrainer
  words = ["<pad>", "<end>", *"abcdefgh"]
  tokenizer = Tokenizer(models.WordLevel(
      {word: i for i, word in enumerate(words)}, unk_token="<pad>"))
  tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
  torch.manual_seed(0)
  model = LlamaForCausalLM(LlamaConfig(
      vocab_size=len(words), hidden_size=8, intermediate_size=8,
      num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=2,
      pad_token_id=0, eos_token_id=1, bos_token_id=None))
  model.save_pretrained(folder)  # a reference model is loaded by name
  model.config._name_or_path = str(folder)
  prompts = [{"prompt": "a b c"}, {"prompt": "d e"}]
  return GRPOTrainer(
      model=model, reward_funcs=lambda completions, **_: REWARDS,
      args=GRPOConfig(
          output_dir=str(folder), use_cpu=True, bf16=False, report_to=[],
          per_device_train_batch_size=B, num_generations=G,
          max_completion_length=MAX_TOKENS, gradient_checkpointing=False,
          disable_tqdm=True, **settings),
      train_dataset=Dataset.from_list(prompts),
      processing_class=PreTrainedTokenizerFast(
          tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<end>"))


@pytest.fixture(scope="module", params=SETTINGS)
def setting(request, tmp_path_factory):
  theirs, ours = SETTINGS[request.param]
  return make_trainer(tmp_path_factory.mktemp("trl"), **theirs), ours


def arrays(seed=0):
  """Ragged rows without a prompt, in float64."""
  rng = np.random.default_rng(seed)
  logp, old, ref = -rng.exponential(1.0, (3, B, T))
  lengths = np.array([7, 1, 4, 3, 6, 2])
  mask = (np.arange(T) < lengths[:, None]).astype(np.float64)
  mask[4, 2:4] = 0  # a tool spoke there
  return {"logp": logp, "old": logp + 0.3 * (old + 1), "ref": ref,
          "mask": mask, "adv": rng.normal(size=B)}


def their_loss(trainer, e):
  """(loss, gradient of the log-probabilities) by `_compute_loss`."""
  logp = torch.tensor(e["logp"], requires_grad=True)
  prompt_len = 2
  padding = torch.zeros(B, prompt_len, dtype=torch.float64)

  def model(input_ids, **_):
    # Of every position, those of the prompt first.
    return types.SimpleNamespace(log_probs=torch.cat([padding, logp], 1),
                                 entropy=torch.ones(B, prompt_len + T))
  completions = torch.full((B, T), 3)
  mask = torch.tensor(e["mask"])
  trainer.current_gradient_accumulation_steps = 1
  trainer.model.train()
  loss = trainer._compute_loss(model, {
      "prompt_ids": torch.full((B, prompt_len), 2),
      "prompt_mask": torch.ones(B, prompt_len, dtype=torch.long),
      "completion_ids": completions, "completion_mask": mask,
      "advantages": torch.tensor(e["adv"]),
      "old_per_token_logps": torch.tensor(e["old"]),
      "ref_per_token_logps": torch.tensor(e["ref"]),
      "num_items_in_batch": mask.sum()})
  loss.backward()
  return loss.item(), logp.grad.numpy()


def test_loss_and_gradient(setting):
  trainer, objective = setting
  e = arrays()
  expected, slopes = their_loss(trainer, e)
  with jax.enable_x64(True):
    batch = {"loss_mask": e["mask"], "old_logprobs": e["old"],
             "advantages": np.broadcast_to(e["adv"][:, None], (B, T))}

    def loss(logp):
      total, aux = policy_gradient_loss(
          logp, batch, objective, max_tokens=MAX_TOKENS,
          ref_logprobs_BT=e["ref"] if objective.needs_reference else None)
      return total / aux.weight, aux.metrics
    (value, told), gradient = jax.value_and_grad(loss, has_aux=True)(
        jnp.asarray(e["logp"]))
  np.testing.assert_allclose(value, expected, rtol=1e-6)
  np.testing.assert_allclose(gradient, slopes, rtol=1e-6, atol=1e-9)
  assert np.abs(slopes).max() > 0.01
  # Some token was clipped, or the test would see little.
  assert told["clip_fraction"][0] > 0


def test_advantages(setting):
  """The whole way: TRL samples, rewards and normalises."""
  trainer, objective = setting
  rows = [{"prompt": "a b c"}] * G + [{"prompt": "d e"}] * G
  trainer.model.train()
  theirs = trainer._generate_and_score_completions(rows)["advantages"]
  ours = group_advantages(jnp.array(REWARDS).reshape(-1, G),
                          normalize_std=objective.normalize_std)
  np.testing.assert_allclose(ours.reshape(-1), theirs.numpy(), rtol=1e-5,
                             atol=1e-6)
