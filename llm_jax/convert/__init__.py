"""Other programs' checkpoints, in and out.

    from llm_jax.convert import load_pretrained, save_pretrained
    params, config, tokenizer = load_pretrained("organisation/name")
"""

from llm_jax.convert.pretrained import (  # noqa: F401 - handed on
    load_pretrained, save_pretrained)
