"""Conversations made by procedure; a file for each sort of them.

`making.py` puts them together, and says what each kind teaches.
"""

from llm_jax.data.synthetic.articles import (  # noqa: F401 - handed on
    MAX_ANSWER_CHARACTERS, article_question, first_sentences)
from llm_jax.data.synthetic.making import (  # noqa: F401 - handed on
    KINDS, make_conversations, synthetic_conversations)
from llm_jax.data.synthetic.spelling import (  # noqa: F401 - handed on
    count_by_spelling)
