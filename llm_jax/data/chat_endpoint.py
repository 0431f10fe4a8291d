"""One question to a model behind OpenAI's interface, as half of the servers
that there are speak it."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request

from llm_jax.config import ConfigError

_TRIES, _SECONDS = 3, 60


def ask_endpoint(prompt: str, *, endpoint: str, model: str, key_variable: str,
                 temperature: float, max_tokens: int, part: str) -> str:
  """What the model says to a prompt.

  Args:
    prompt: the user's message.
    endpoint: base address of the server, such as http://localhost:8000/v1.
    model: name of the model there.
    key_variable: environment variable that holds the server's key, if any.
    temperature: 0 is greedy.
    max_tokens: of the answer.
    part: group of settings that named the endpoint ("judge"), for the errors.

  Raises:
    ConfigError: it cannot be asked, or answers in another form.
  """
  url = endpoint.rstrip("/") + "/chat/completions"
  body = json.dumps({
      "model": model, "temperature": temperature, "max_tokens": max_tokens,
      "messages": [{"role": "user", "content": prompt}]}).encode()
  headers = {"Content-Type": "application/json"}
  if key := os.environ.get(key_variable):
    headers["Authorization"] = f"Bearer {key}"
  error: Exception | None = None
  for _ in range(_TRIES):
    try:
      with urllib.request.urlopen(urllib.request.Request(url, body, headers),
                                  timeout=_SECONDS) as response:
        reply = json.load(response)
      return str(reply["choices"][0]["message"]["content"] or "").strip()
    except urllib.error.HTTPError as failed:
      error = failed
      if failed.code < 500 and failed.code != 429:
        break  # a key that is wrong stays so
    except (OSError, ValueError) as failed:
      error = failed
    except (KeyError, IndexError, TypeError) as failed:
      raise ConfigError(f"the {part} at {url} answered in another form than "
                        "OpenAI's chat completions; give the address of such "
                        f"a server as --{part}.endpoint.") from failed
  raise ConfigError(f"the {part} at {url} cannot be asked ({error}); start its "
                    f"server, or leave --{part}.endpoint out.") from error
