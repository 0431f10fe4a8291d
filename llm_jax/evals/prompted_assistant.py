"""An assistant by prompt alone.

A base model does not answer; it continues. But it has read conversations, and
where a document shows an assistant that answers, what follows a question is an
answer (Askell et al. 2021, arXiv:2112.00861, section 2). The document is all
there is of this assistant: no weight is trained.
"""

from __future__ import annotations

import re
from typing import Any

from llm_jax.config_probes import PromptedAssistantConfig
from llm_jax.evals.probe_texts import QUESTIONS
from llm_jax.evals.probes import BaseModel, share

# Answers of one line, which stay in the asked-for role and then stop.
CONVERSATION = """\
The following is a conversation between a person and a knowledgeable assistant.
The assistant gives short, correct and polite answers.

Person: Hello! Can you help me with a few questions?
Assistant: Of course. What would you like to know?

Person: How many days are there in a leap year?
Assistant: A leap year has 366 days.

Person: What do you call a baby cat?
Assistant: A baby cat is called a kitten.

Person: {question}
Assistant:"""
NEXT_TURN = "\nPerson:"
MANNERS = {"conversation": CONVERSATION, "question alone": "{question}"}


def contains_answer(text: str, answers: tuple[str, ...]) -> bool:
  """Whether one of `answers` occurs in the text, as words of their own."""
  return any(re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", text,
                       re.IGNORECASE) for answer in answers)


def probe_prompted_assistant(model: BaseModel, config: PromptedAssistantConfig
                             ) -> dict[str, Any]:
  """The same questions within a conversation and alone, greedily continued.

  Returns:
    "rows": for each manner the share of continuations with the right answer in
    them, and of those that ended themselves within `max_new_tokens` (by the
    next turn, or the end of the document); "examples": all of the transcripts.
  """
  rows, examples = [], []
  for manner, template in MANNERS.items():
    stop = (NEXT_TURN,) if manner == "conversation" else ()
    got = [each[0] for each in model.continue_all(
        [model.encode(template.format(question=question))
         for question, _ in QUESTIONS], config.max_new_tokens, stop=stop)]
    hits = [contains_answer(each.text, answers)
            for each, (_, answers) in zip(got, QUESTIONS)]
    rows.append({"prompt": manner, "questions": len(hits),
                 **share("answered", hits),
                 **share("ended", [each.stopped for each in got])})
    examples += [{"prompt": manner, "question": question,
                  "continued": each.text.strip(), "right": hit}
                 for each, (question, _), hit in zip(got, QUESTIONS, hits)]
  return {"rows": rows, "examples": examples}
