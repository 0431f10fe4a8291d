"""Answers on disk as they come, so that a killed run goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from llm_jax.config import require
from llm_jax.metric_writers import read_jsonl
from llm_jax.paths import as_path


class AnswerLog:
  """`answers.jsonl`: what was asked of whom, then a line for each question.

  Attributes:
    answers: of each question so far, in order.
  """

  def __init__(self, path: str, asked: Mapping[str, Any],
               questions: Sequence[str]):
    """Opens a log to go on with it.

    Args:
      path: of the file.
      asked: what the answers depend on, ready for JSON.
      questions: all that will be asked.

    Raises:
      ConfigError: the file holds answers to other questions, or of another
        model or manner; names the first setting that differs.
    """
    self._path, self._questions = as_path(path), list(questions)
    self.answers: list[list[str]] = []
    records = read_jsonl(self._path)
    before = records[0] if records else dict(asked)
    for name, value in asked.items():
      require(before.get(name) == value, f"{path} holds answers with {name}="
              f"{before.get(name)!r}, not {value!r}; delete it to ask again, "
              "or choose another --workdir.")
    for question, record in zip(self._questions, records[1:]):
      require(record.get("question") == question, f"{path} has answers to "
              f"{record.get('question')!r} in the place of {question!r}; "
              "delete it to ask again, or choose another --workdir.")
      self.answers.append(record["answers"])
    self._path.parent.mkdir(parents=True, exist_ok=True)
    # Written anew, as a killed process may have left half a line.
    self._lines = [json.dumps(dict(asked), ensure_ascii=False)] + [
        self._line(i) for i in range(len(self.answers))]
    self._write()

  def add(self, answers: Sequence[Sequence[str]]) -> None:
    """Writes the answers to the next questions."""
    first = len(self.answers)
    self.answers += [list(each) for each in answers]
    new = [self._line(i) for i in range(first, len(self.answers))]
    self._lines += new
    if "://" in str(self._path):  # an object store cannot append
      self._write()
    else:
      with open(self._path, "a", encoding="utf-8") as stream:
        stream.write("".join(line + "\n" for line in new))

  def _line(self, place: int) -> str:
    return json.dumps({"question": self._questions[place],
                       "answers": self.answers[place]}, ensure_ascii=False)

  def _write(self) -> None:
    self._path.write_text("".join(line + "\n" for line in self._lines),
                          encoding="utf-8")


def read_answers(path: str) -> dict[str, list[str]]:
  """Question -> answers of a log.

  Raises:
    ConfigError: there is no such file.
  """
  file = as_path(path)
  require(file.exists(), f"{path} does not exist; ask first, with "
          "experiments.probe_knowledge.")
  return {record["question"]: record["answers"]
          for record in read_jsonl(file) if "answers" in record}
