"""AdamW, clipping and cross-entropy against PyTorch's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from llm_jax.config import OptimizerConfig
from llm_jax.training.losses import next_token_loss
from llm_jax.training.optimizers import make_optimizer

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.reference


def test_adamw_with_clipping_takes_pytorchs_steps():
  config = OptimizerConfig(learning_rate=0.02, warmup_steps=0,
                           schedule="constant", weight_decay=0.3,
                           clip_norm=0.7)
  rng = np.random.default_rng(0)
  start = {"kernel": rng.normal(size=(5, 4)).astype(np.float32),
           "scale": rng.normal(size=(4,)).astype(np.float32)}
  gradients = [{k: rng.normal(size=x.shape).astype(np.float32)
                for k, x in start.items()} for _ in range(5)]
  theirs = {k: torch.nn.Parameter(torch.tensor(x)) for k, x in start.items()}
  optimizer = torch.optim.AdamW(
      [{"params": [theirs["kernel"]], "weight_decay": 0.3},
       {"params": [theirs["scale"]], "weight_decay": 0.0}],
      lr=0.02, betas=(config.b1, config.b2), eps=config.eps)
  tx = make_optimizer(config, 10)
  params, state = start, tx.init(start)
  for gradient in gradients:
    for name, weight in theirs.items():
      weight.grad = torch.tensor(gradient[name])
    norm = torch.nn.utils.clip_grad_norm_(theirs.values(), 0.7)
    assert norm > 0.7
    optimizer.step()
    updates, state = tx.update(gradient, state, params)
    params = jax.tree.map(jnp.add, params, updates)
    for name, weight in theirs.items():
      np.testing.assert_allclose(params[name], weight.detach().numpy(),
                                 rtol=1e-4, atol=1e-6)


def test_next_token_loss_is_pytorchs_cross_entropy():
  rng = np.random.default_rng(0)
  logits = rng.normal(scale=4, size=(2, 6, 9)).astype(np.float32)
  targets = rng.integers(9, size=(2, 6))
  mask = rng.random((2, 6)) < 0.5
  their_logits = torch.tensor(logits, requires_grad=True)
  theirs = torch.nn.functional.cross_entropy(
      their_logits.flatten(0, 1),
      torch.tensor(np.where(mask, targets, -100)).flatten())
  theirs.backward()

  def loss(logits):
    loss_sum, aux = next_token_loss(logits, jnp.asarray(targets),
                                    jnp.asarray(mask, jnp.float32))
    return loss_sum / aux.weight
  value, gradient = jax.value_and_grad(loss)(logits)
  np.testing.assert_allclose(value, theirs.item(), rtol=1e-5)
  np.testing.assert_allclose(gradient, their_logits.grad.numpy(), atol=1e-6)
