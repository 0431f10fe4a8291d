"""llm_jax: how a language model is made, in JAX.

A language model is a pure function of its parameters; everything that makes one
(data, losses, train steps, rewards, samplers) is a small function beside it.

Arrays carry their shape in their name:

  B batch        T query time   S key/cache time   D embedding   V vocabulary
  N query heads  K kv heads     G = N / K          H head dim    F MLP width
  L layers       P prompts      G samples per prompt (in reinforcement learning)
"""

__version__ = "0.1.0"
