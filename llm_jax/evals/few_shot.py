"""Tasks by example: a base model is told what is wanted by what it reads.

A prompt is a list of solved pairs and a question,

    hot -> cold
    up -> down
    early ->

and the model, which only continues documents, continues it with an answer
(in-context learning, Brown et al. 2020, arXiv:2005.14165, section 2). The same
questions are asked after 0, 1, 2, ... examples; no weight changes.
"""

from __future__ import annotations

import random
from typing import Any

from llm_jax.config_probes import FewShotConfig
from llm_jax.evals.probe_texts import PAIRS
from llm_jax.evals.probes import BaseModel, share


def task_pairs(task: str) -> list[tuple[str, str]]:
  """(question, answer) of a task."""
  if task == "addition":
    return [(f"{a} + {b}", str(a + b)) for a in range(2, 10)
            for b in range(2, 10)]
  return list(PAIRS[task])


def few_shot_prompt(shots: list[tuple[str, str]], question: str) -> str:
  """Solved pairs, one a line, and the question."""
  return "".join(f"{q} -> {a}\n" for q, a in shots) + f"{question} ->"


def is_right(text: str, answer: str) -> bool:
  """Whether the first line is the answer, whatever its case and full stop."""
  first = text.strip().split("\n")[0].strip().rstrip(".").strip()
  return first.lower() == answer.lower()


def probe_few_shot(model: BaseModel, config: FewShotConfig) -> dict[str, Any]:
  """Accuracy of each task as a function of the number of examples.

  Which examples a question has is drawn from the task's other pairs, by the
  seed; a longer prompt has those of the shorter one and more before them.

  Returns:
    "rows": accuracy of each task and number of shots, and of all tasks
    together; "examples": for each task the last question's prompt with the
    most shots, the answer that was given and the right one.
  """
  rows, examples = [], []
  right: dict[int, list[bool]] = {shots: [] for shots in config.shots}
  for task in config.tasks:
    pairs = task_pairs(task)
    rng = random.Random(f"few shot {task} {model.seed}")
    questions = rng.sample(pairs, min(config.questions, len(pairs)))
    orders = [rng.sample([p for p in pairs if p != question], 16)
              for question in questions]
    for shots in config.shots:
      prompts = [few_shot_prompt(order[16 - shots:], question)
                 for (question, _), order in zip(questions, orders)]
      got = [each[0].text for each in model.continue_all(
          [model.encode(prompt) for prompt in prompts], config.max_new_tokens,
          stop=("\n",))]
      hits = [is_right(text, answer)
              for text, (_, answer) in zip(got, questions)]
      right[shots] += hits
      rows.append({"task": task, "shots": shots, "questions": len(hits),
                   **share("accuracy", hits)})
    examples.append({"task": task, "prompt": prompts[-1], "answer": got[-1],
                     "right_answer": questions[-1][1]})
  rows += [{"task": "all", "shots": shots, "questions": len(hits),
            **share("accuracy", hits)} for shots, hits in right.items()]
  return {"rows": rows, "examples": examples}
