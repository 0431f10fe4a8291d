"""What is drawn and where it stops, by definition, in plain NumPy and Python.

Written from the definitions, not from `llm_jax/inference`.
"""

import itertools

import numpy as np
from scipy import stats


def token_probs(logits_V, config, prompt=(), completion=()):
  """Probability of each next token, a float64 array [V]."""
  logits = [float(x) for x in np.asarray(logits_V, np.float64)]
  for entry in config.logit_bias:
    token, bias = entry.split(":")
    logits[int(token)] += float(bias)
  for token in set(prompt) | set(completion):
    factor = config.repetition_penalty
    logits[token] = (logits[token] / factor if logits[token] > 0
                     else logits[token] * factor)
  for token in set(completion):
    times = list(completion).count(token)
    logits[token] -= times * config.frequency_penalty + config.presence_penalty
  likeliest_first = sorted(range(len(logits)), key=lambda v: (-logits[v], v))
  probs = np.zeros(len(logits))
  if config.temperature == 0:
    probs[likeliest_first[0]] = 1.0
    return probs
  weights = np.exp((np.array(logits) - max(logits)) / config.temperature)
  kept = likeliest_first[:config.top_k or None]
  total, mass, nucleus = weights[kept].sum(), 0.0, []
  for token in kept:
    nucleus.append(token)
    mass += weights[token] / total
    if mass >= config.top_p:
      break
  kept = [token for token in nucleus
          if weights[token] >= config.min_p * weights[nucleus[0]]]
  probs[kept] = weights[kept] / weights[kept].sum()
  return probs


def sequence_probs(logits_of, config, prompt, vocab_size, length, stop_ids=()):
  """Probability of each completion of `length` tokens, fewer where one stops.

  Args:
    logits_of: completion so far (a tuple) -> logits_V.
    config: the sampling.
    prompt: token ids.
    vocab_size: V.
    length: max_new_tokens.
    stop_ids: tokens that end a completion.
  """
  probs = {(): 1.0}
  for _ in range(length):
    longer = {}
    for completion, p in probs.items():
      if completion and completion[-1] in stop_ids:
        longer[completion] = p
        continue
      next_V = token_probs(logits_of(completion), config, prompt, completion)
      for token in range(vocab_size):
        longer[*completion, token] = p * next_V[token]
    probs = longer
  return probs


def completions_before(vocab_size, length):
  """Every completion that is shorter than `length`."""
  return [tokens for n in range(length)
          for tokens in itertools.product(range(vocab_size), repeat=n)]


def p_value(drawn, probs):
  """Chi-square test that outcomes were drawn with the given probabilities.

  Outcomes expected fewer than 5 times are counted together. An outcome that
  cannot be gives 0.

  Args:
    drawn: outcomes (tuples or ints).
    probs: outcome -> probability.
  """
  counts = dict.fromkeys(probs, 0)
  for outcome in drawn:
    if probs.get(outcome, 0.0) <= 0:
      return 0.0
    counts[outcome] += 1
  expected = {o: p * len(drawn) for o, p in probs.items() if p > 0}
  often = [o for o in expected if expected[o] >= 5]
  rest = len(drawn) - sum(expected[o] for o in often)
  observed = [counts[o] for o in often]
  wanted = [expected[o] for o in often]
  if rest > 1:
    observed.append(len(drawn) - sum(observed))
    wanted.append(rest)
  if len(observed) < 2:
    return 1.0
  wanted = np.array(wanted) * sum(observed) / sum(wanted)
  return stats.chisquare(observed, wanted).pvalue


def before_stop(text, stop):
  """By definition: the shortest beginning that holds a stop string, less it."""
  for end in range(len(text) + 1):
    starts = [end - len(s) for s in stop if text[:end].endswith(s)]
    if starts:
      return text[:min(starts)], True
  return text, False
