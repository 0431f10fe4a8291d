"""The objectives in NumPy, a token at a time, as the papers write them.

Each takes log-probabilities of one batch, lists of rows, and returns the sum
over tokens of weight times loss. `frozen` is what the stop-gradients hold: the
log-probabilities at which a gradient is taken.
"""

import numpy as np


def tokens(mask):
  return [t for t in np.ndindex(mask.shape) if mask[t]]


def clipped(logp, frozen, old, adv, mask, weights, low, high):
  total = 0.0
  for t in tokens(mask):
    ratio = np.exp(logp[t] - old[t])
    bounded = min(max(ratio, 1 - low), 1 + high)
    total -= weights[t] * min(ratio * adv[t], bounded * adv[t])
  return total


def gspo(logp, frozen, old, adv, mask, weights, low, high):
  total = 0.0
  for b, row in enumerate(mask):
    if (generated := np.flatnonzero(row)).size:
      ratio = np.prod([np.exp(logp[b, t] - old[b, t]) for t in generated])
      ratio = ratio ** (1 / generated.size)
      bounded = min(max(ratio, 1 - low), 1 + high)
      for t in generated:
        total -= weights[b, t] * min(ratio * adv[b, t], bounded * adv[b, t])
  return total


def cispo(logp, frozen, old, adv, mask, weights, low, high):
  total = 0.0
  for t in tokens(mask):
    ratio = np.exp(frozen[t] - old[t])
    bounded = min(max(ratio, 1 - low), 1 + high)
    total -= weights[t] * bounded * adv[t] * logp[t]
  return total


def reinforce(logp, frozen, old, adv, mask, weights, low, high):
  return -sum(weights[t] * adv[t] * logp[t] for t in tokens(mask))


def importance(old, sampler, mask, cap):
  weights = np.zeros(mask.shape)
  for t in tokens(mask):
    weights[t] = min(np.exp(old[t]) / np.exp(sampler[t]), cap)
  return weights


def kl(logp, ref, mask, estimator):
  found = np.zeros(mask.shape)
  for t in tokens(mask):
    ratio = np.exp(ref[t]) / np.exp(logp[t])
    found[t] = {"k1": -np.log(ratio), "k2": np.log(ratio) ** 2 / 2,
                "k3": ratio - 1 - np.log(ratio)}[estimator]
  return found


def weights(mask, normalization, max_tokens):
  found, responses = np.zeros(mask.shape), mask.any(1).sum()
  for t in tokens(mask):
    found[t] = 1 / mask[t[0]].sum() if normalization == "response" else 1
  return found, {"response": responses, "token": mask.sum(),
                 "constant": responses * max_tokens}[normalization]


def gae(rewards, values, mask, discount, trace):
  advantages, returns = np.zeros(mask.shape), np.zeros(mask.shape)
  for b, row in enumerate(mask):
    steps = np.flatnonzero(row)  # of this response, however far apart
    for i, t in enumerate(steps):
      for k, s in enumerate(steps[i:]):  # the sum that defines it
        after = values[b, steps[i + k + 1]] if i + k + 1 < len(steps) else 0
        delta = rewards[b, s] + discount * after - values[b, s]
        advantages[b, t] += (discount * trace) ** k * delta
      returns[b, t] = advantages[b, t] + values[b, t]
  return advantages, returns


def value_loss(values, old, returns, mask, clip):
  total = 0.0
  for t in tokens(mask):
    near = old[t] + min(max(values[t] - old[t], -clip), clip)
    total += max((values[t] - returns[t]) ** 2, (near - returns[t]) ** 2) / 2
  return total


def slopes(function, x, mask, step=1e-6):
  """d function / d x by central differences; what is masked has none."""
  found = np.zeros(x.shape)
  for t in tokens(mask):
    up, down = x.copy(), x.copy()
    up[t] += step
    down[t] -= step
    found[t] = (function(up) - function(down)) / (2 * step)
  return found


def ragged(seed, shape=(5, 9)):
  """Random log-probabilities and advantages of responses of many lengths: one
  of a single token, one in two turns, one empty row."""
  rng = np.random.default_rng(seed)
  mask = np.zeros(shape, bool)
  mask[0, 2:] = True
  mask[1, 3:5] = mask[1, 7:] = True  # a tool speaks in between
  mask[2, 4] = True
  mask[3, 1:6] = rng.random(5) < 0.8
  logp, old, ref, sampler = -rng.exponential(1.0, (4, *shape))
  return {"logp": logp, "old": logp + 0.4 * (old + 1), "ref": ref,
          "sampler": logp + 0.4 * (sampler + 1), "mask": mask,
          "adv": rng.normal(size=shape),
          "weights": rng.uniform(0.1, 1, size=shape) * mask}
