"""Conversations that every template of ours is tried on, and a vocabulary."""

from llm_jax.config import TokenizerConfig
from llm_jax.tokenizer.bpe import train_bpe
from llm_jax.tokenizer.template_files import TOKENS

NAMES = ("ours", *TOKENS)
WITH_TOOLS = ("ours", "qwen", "llama3")
SPECIAL = tuple(dict.fromkeys((
    *TokenizerConfig().special_tokens,
    *(token for tokens in TOKENS.values() for token in tokens))))

TOOLS = [{"type": "function", "function": {
    "name": "search", "description": "finds <b>things</b> & é",
    "parameters": {"type": "object", "properties": {
        "query": {"type": "string"}, "limit": {"type": "integer"}},
        "required": ["query"]}}}]
SYSTEM = {"role": "system", "content": "Be brief."}
USER = {"role": "user", "content": "What's 1234+5?"}
ANSWER = {"role": "assistant", "content": "It is \"1239\", naïve 🙂."}
CALL = {"role": "assistant", "content": "", "tool_calls": [
    {"type": "function", "function": {
        "name": "search", "arguments": {"query": "Zoë's \"age\"",
                                        "limit": 2}}}]}
RESULT = {"role": "tool", "content": "Zoë: 36\nMore: none"}

# name -> (messages, tools)
PLAIN = {
    "one turn": ([USER, ANSWER], ()),
    "system": ([SYSTEM, USER, ANSWER], ()),
    "turns": ([SYSTEM, USER, ANSWER, USER, ANSWER, USER, ANSWER], ()),
    "unanswered": ([USER, ANSWER, USER], ()),
}
TOOL_TURNS = {
    "offered": ([SYSTEM, USER, ANSWER], TOOLS),
    "offered alone": ([USER, ANSWER], TOOLS),
    "called": ([USER, CALL, RESULT, ANSWER], TOOLS),
    "called twice": ([SYSTEM, USER, CALL, RESULT, CALL, RESULT, ANSWER, USER,
                      CALL, RESULT, ANSWER], TOOLS),
    "last": ([USER, CALL], TOOLS),
}


def cases(name):
  """The conversations that a template has a form for."""
  return PLAIN | (TOOL_TURNS if name in WITH_TOOLS else {})


def make_tokenizer():
  """Bytes, a few merges, and the tokens of all templates."""
  tokenizer = train_bpe(["what is the user's search? system, assistant"] * 5,
                        TokenizerConfig(vocab_size=300, special_tokens=SPECIAL))
  tokenizer.token_names = {"bos_token": "<|endoftext|>",
                           "eos_token": "<|endoftext|>"}
  return tokenizer
