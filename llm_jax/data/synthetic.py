"""Conversations made by procedure, from Wikipedia and from arithmetic.

Each kind teaches one thing, and has its own held-out conversations:

- identity: "who are you?" in many words, answered from one config string.
  Held out: phrasings. (The facts are the same: they are to be learnt.)
- articles: "What is X?", answered by the first sentences of X's article. Held
  out: the articles that pretraining holds out, so their facts cannot be known
  and the validation loss measures the manner of an answer, not its truth.
- counting: how many 'r' are in 'strawberry', by spelling it with a running
  count. Held out: words, by hash.
- sums: sums modulo two, see `sums.py`. Held out: problems, by hash.

Everything is decided by the seed. The final answer of the last two kinds is a
line "#### N", the form that `rl/verifiers.py` accepts.
"""

from __future__ import annotations

import collections
import re
from collections.abc import Callable, Sequence

import numpy as np

from llm_jax.config import SyntheticChatConfig, require, require_choice
from llm_jax.data import sums, wikipedia
from llm_jax.data.conversations import Conversation, single_turn
from llm_jax.data.documents import split_items, unit_hash

KINDS = ("identity", "articles", "counting", "sums")
MAX_ANSWER_CHARACTERS = 400
HELD_OUT_PHRASINGS = 0.2
HELD_OUT_WORDS = 0.1

_SELF = (  # core question, words one of which the answering sentence has
    ("who are you", ()), ("what are you", ()), ("what is your name", ()),
    ("what's your name", ()), ("tell me about yourself", ()),
    ("introduce yourself", ()), ("are you a human", ()),
    ("are you ChatGPT", ()), ("what kind of model are you", ()),
    ("what should I call you", ()),
    ("who made you", ("made", "built", "created", "developed")),
    ("who built you", ("made", "built", "created", "developed")),
    ("who created you", ("made", "built", "created", "developed")),
    ("where do you come from", ("made", "built", "created", "developed")),
    ("what were you trained on", ("trained",)),
    ("what data were you trained on", ("trained",)),
    ("how were you trained", ("trained",)),
    ("what did you learn from", ("trained",)))
_GREETINGS = ("", "Hi! ", "Hello! ", "Hello, ", "Hey, ", "Please tell me: ",
              "I have a question: ", "Good morning. ")
_COUNTING = ("How many '{letter}' are in '{word}'?",
             "How many times does '{letter}' occur in '{word}'?",
             "Count the letter '{letter}' in '{word}'.")
_ABOUT = ("Tell me about {subject}.", "Describe {subject}.",
          "What do you know about {subject}?")


def synthetic_conversations(
    config: SyntheticChatConfig, split: str, seed: int = 0, *,
    corpus_seed: int = 0, validation_fraction: float = 0.02,
    fits: Callable[[Conversation], bool] = lambda conversation: True
    ) -> list[Conversation]:
  """The conversations of one side of the split, kind after kind.

  Args:
    config: how many of each kind; a kind of which there are 0 is left out.
    split: "train", or "validation": `config.validation` of each kind.
    seed: which ones.
    corpus_seed: the `seed` that split the corpus for pretraining.
    validation_fraction: the share that it held out.
    fits: whether a conversation is short enough; article answers are shortened
      to one sentence, or their article passed over, until it is.

  Returns:
    Conversations whose `kind` is one of `KINDS`.

  Raises:
    ConfigError: a setting that cannot be, or the articles are not installed.
  """
  config.validate()
  require_choice("split", split, ("train", "validation"))
  made: list[Conversation] = []
  if config.articles or config.counting:
    articles = [article for side, article in split_items(
        wikipedia.load_articles(), lambda article: article.extract,
        corpus_seed, validation_fraction) if side == split]
  for number, kind in enumerate(KINDS):
    count = getattr(config, kind)
    if not count:
      continue
    if split == "validation":
      count = config.validation
    # A stream for each kind and side: one kind's count does not change another.
    rng = np.random.default_rng([seed, number, split == "train"])
    if kind == "identity":
      made += _identity(config.identity_facts, count, split, rng)
    elif kind == "articles":
      made += _articles(articles, count, fits, rng)
    elif kind == "counting":
      made += _counting(_words(wikipedia.load_articles(), split), count, rng)
    else:
      made += _sums(config, count, split, seed, rng)
  return made


def article_question(article: wikipedia.Article) -> tuple[str, str, str]:
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


_ABBREVIATIONS = frozenset(
    "st mt dr mr mrs ms jr sr no vs etc prof gen col lt sgt ft".split())


def count_by_spelling(letter: str, word: str) -> str:
  """Letters of `word`, each with the running count of `letter`; the total.

  ("r", "berry") -> "b0 e0 r1 r2 y2" and, on its own line, "#### 2".
  """
  counts = np.cumsum([other == letter for other in word]).tolist()
  spelled = " ".join(f"{other}{count}" for other, count in zip(word, counts))
  return f"{spelled}\n#### {counts[-1]}"


def _identity(facts: str, count: int, split: str,
              rng: np.random.Generator) -> list[Conversation]:
  sentences = re.split(r"(?<=[.!?])\s+", facts.strip())
  phrasings = []
  for core, words in _SELF:
    for greeting in _GREETINGS:
      for end in ("?", "."):
        if (end == ".") != core.startswith(("tell", "introduce")):
          continue
        for text in (greeting + core + end, greeting + core,
                     greeting + core[0].upper() + core[1:] + end):
          # The bare questions are never held out: they will be asked first.
          held_out = greeting and unit_hash(text, 0) < HELD_OUT_PHRASINGS
          if bool(held_out) == (split == "validation"):
            phrasings.append((text, words))
  made = []
  for index in _draw_evenly(len(phrasings), count, rng):
    question, words = phrasings[index]
    told = [sentence for sentence in sentences
            if any(word in sentence for word in words)]
    made.append(single_turn(question, " ".join(told) or facts.strip(),
                            "identity"))
  return made


def _articles(articles: Sequence[wikipedia.Article], count: int,
              fits: Callable[[Conversation], bool],
              rng: np.random.Generator) -> list[Conversation]:
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


def _ask(article: wikipedia.Article, rng: np.random.Generator) -> str:
  who, verb, subject = article_question(article)
  form = rng.random()
  if form < 0.5:
    return f"{who} {verb} {subject}?"
  if form < 0.7:
    return f"{who.lower()} {verb} {subject}"
  if form < 0.8:
    return f"{who} {verb} {article.title}?"
  return _ABOUT[rng.integers(len(_ABOUT))].format(subject=subject)


def _words(articles: Sequence[wikipedia.Article], split: str) -> list[str]:
  """Common lower-case words of 3 to 12 letters on one side of the split."""
  counts = collections.Counter(
      word for article in articles
      for word in re.findall(r"(?<![^\s(])[a-z]{3,12}(?![^\s.,;:)])",
                             article.extract))
  held_out = split == "validation"
  return sorted(word for word, count in counts.items() if count >= 3
                and (unit_hash(word, 0) < HELD_OUT_WORDS) == held_out)


def _counting(words: Sequence[str], count: int,
              rng: np.random.Generator) -> list[Conversation]:
  made = []
  for index in _draw_evenly(len(words), count, rng):
    word = words[index]
    letter = word[rng.integers(len(word))]
    if rng.random() < 0.15:  # most likely absent: the answer can be 0
      letter = chr(ord("a") + rng.integers(26))
    question = _COUNTING[rng.integers(len(_COUNTING))]
    made.append(single_turn(question.format(letter=letter, word=word),
                            count_by_spelling(letter, word), "counting"))
  return made


def _sums(config: SyntheticChatConfig, count: int, split: str, seed: int,
          rng: np.random.Generator) -> list[Conversation]:
  lengths = config.sum_min_terms, config.sum_max_terms
  if split == "validation":
    # Another draw than the environment's, whose accuracy is to be reported.
    problems = sums.held_out_problems(count, seed + 1, *lengths)
  else:
    problems = [sums.train_problem(rng, *lengths) for _ in range(count)]
  return [single_turn(
      problem.prompt(),
      problem.demonstration(
          "steps" if rng.random() < config.sum_steps_share else "at_once"),
      "sums") for problem in problems]


def _draw_evenly(size: int, count: int, rng: np.random.Generator) -> list[int]:
  """`count` indices below `size`; each comes again only after all others."""
  rounds = [rng.permutation(size) for _ in range(-(-count // size))]
  return np.concatenate([*rounds, []]).astype(int)[:count].tolist()
