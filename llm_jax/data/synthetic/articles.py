"""What is X? Answered by the first sentences of X's article."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np

from llm_jax.config import require
from llm_jax.data.conversations import Conversation, single_turn
from llm_jax.data.wikipedia import Article

MAX_ANSWER_CHARACTERS = 400

_ABOUT = ("Tell me about {subject}.", "Describe {subject}.",
          "What do you know about {subject}?")
_ABBREVIATIONS = frozenset(
    "st mt dr mr mrs ms jr sr no vs etc prof gen col lt sgt ft".split())


def about_articles(articles: Sequence[Article], count: int,
                   fits: Callable[[Conversation], bool],
                   rng: np.random.Generator) -> list[Conversation]:
  """`count` conversations about articles; none where there are no articles.

  Answers are shortened to one sentence, or their article passed over, until
  they fit.

  Raises:
    ConfigError: no answer fits.
  """
  made: list[Conversation] = []
  if not articles:  # validation_fraction=0 holds none out
    return made
  rounds = -(-count // len(articles))
  for _ in range(rounds + 1):  # one more: some articles are passed over
    for index in rng.permutation(len(articles)):
      if len(made) == count:
        return made
      question = _ask(articles[index], rng)
      for sentences in (2, 1):
        answer = first_sentences(articles[index].extract, sentences)
        conversation = single_turn(question, answer, "articles")
        if len(answer) <= MAX_ANSWER_CHARACTERS and fits(conversation):
          made.append(conversation)
          break
  require(bool(made), "no article answer fits; raise seq_len, or leave the "
          "kind out with --data.synthetic.articles=0.")
  return made


def article_question(article: Article) -> tuple[str, str, str]:
  """(question word, verb, subject) with which one would ask for an article.

  The subject is taken from the article's first words where they name it ("A
  volcano is ..." -> "What", "is", "a volcano"), else it is the title.
  """
  who = "Who" if article.topic == "People" else "What"
  match = re.match(r"(.{1,100}?) (is|are|was|were) ", article.extract)
  subject, verb = article.title, "is"
  if match:
    opening, verb = match.groups()
    if (article.title.lower() in opening.lower()
        and len(opening) <= len(article.title) + 5):
      subject = re.sub(r"^(A|An|The) ", lambda m: m.group().lower(), opening)
    elif verb in ("are", "were") and not article.title.endswith("s"):
      verb = "is" if verb == "are" else "was"
  return who, verb, subject


def first_sentences(text: str, count: int) -> str:
  """The first `count` sentences of a text, or fewer if it has fewer."""
  sentences = []
  start = 0
  for match in re.finditer(r"[.!?][\"”)]?\s+(?=[A-Z\"“(])", text):
    word = text[start:match.start()].rsplit(None, 1)[-1:]
    # "J. R. R. Tolkien", "St. Petersburg", "c. 1500" do not end a sentence.
    if word and (len(word[0].lstrip("(")) == 1 or "." in word[0]
                 or word[0].lower() in _ABBREVIATIONS):
      continue
    sentences.append(text[start:match.end()].strip())
    start = match.end()
    if len(sentences) == count:
      return " ".join(sentences)
  return " ".join([*sentences, text[start:].strip()]).strip()


def _ask(article: Article, rng: np.random.Generator) -> str:
  who, verb, subject = article_question(article)
  form = rng.random()
  if form < 0.5:
    return f"{who} {verb} {subject}?"
  if form < 0.7:
    return f"{who.lower()} {verb} {subject}"
  if form < 0.8:
    return f"{who} {verb} {article.title}?"
  return _ABOUT[rng.integers(len(_ABOUT))].format(subject=subject)
