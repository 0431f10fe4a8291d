"""Questions of fact, each with its answer: what a model can be asked about.

From a file (`read_facts`), about people who were made (`people_facts`), from
Wikipedia's introductions (`article_facts`), or from any documents, by leaving
out the end of a sentence (`cloze_facts`).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Sequence

from llm_jax.config import ConfigError, require
from llm_jax.data import article_facts as article_statements
from llm_jax.data import biographies
from llm_jax.data import files as files_lib
from llm_jax.data.attributes import ATTRIBUTES
from llm_jax.data.documents import unit_hash
from llm_jax.data.synthetic import article_question, first_sentences
from llm_jax.data.wikipedia import Article

# Who a file's facts are about, where it does not say: nobody knows yet.
UNGROUPED = "facts"
KNOWN, ASKED, UNLEARNED, INVENTED = "known", "asked", "unlearned", "invented"
# Groups of columns, the fullest first, as of parquet no others are read.
_COLUMNS = tuple(
    f"{question}+{rest}" for rest in (
        "answer+group+attribute+name+response+cloze",
        "answer+group+attribute+name", "answer+group", "answer", "group")
    for question in ("question", "prompt"))
_STATED = {"capital": ("What is the capital of {}?", "The capital of {} is"),
           "nationality": ("Of which nationality was {}?",
                           "By nationality, {} was")}
_SENTENCE_CHARACTERS = (40, 240)


@dataclasses.dataclass(frozen=True)
class Fact:
  """A question and what is so.

  Attributes:
    question: what a user would ask.
    answer: the truth in as few words as it takes; "": there is none, as the
      question is about something that was invented.
    group: what results are reported by, such as known, unlearned, invented.
    attribute: the kind of question, such as birth_year.
    name: whom or what it is about.
    response: the truth as a sentence, "": none is given.
    cloze: the beginning of a sentence that the answer ends; "": none.
  """
  question: str
  answer: str
  group: str = UNGROUPED
  attribute: str = ""
  name: str = ""
  response: str = ""
  cloze: str = ""


def read_facts(path: str, errors: str = "strict") -> Iterator[Fact]:
  """The facts of `.jsonl` or `.parquet` files.

  A record has `question` (or `prompt`) and `answer`; `group`, `attribute`,
  `name`, `response` and `cloze` if it likes. Where the `answer` is missing,
  null or empty there is none to know: the group is then invented, if the record
  names no other.

  Raises:
    ConfigError: naming file and record: a field that is missing or no text;
      or no record at all.
  """
  empty = True
  for file in files_lib.find_files(path, files_lib.RECORD_SUFFIXES):
    for record in files_lib.read_records(file, _COLUMNS, errors):
      empty = False
      yield _fact(record)
  require(not empty, f"{path} has no facts: its files are empty.")


def people_facts(people: biographies.People, seed: int = 0,
                 held_out: bool = False) -> Iterator[Fact]:
  """A question on each attribute of each person, in their groups.

  Known people about whom the corpus has questions with answers, too, are of a
  group of their own, asked: what is said of them need not be understood.

  Args:
    people: of `experiments.make_biographies`.
    seed: which phrasings.
    held_out: use the phrasings that no text for training has.
  """
  groups = {
      KNOWN: [p for p in people.known if p.name not in people.asked],
      ASKED: [p for p in people.known if p.name in people.asked],
      UNLEARNED: people.unlearned, INVENTED: people.invented}
  for group, persons in groups.items():
    for question in biographies.questions(persons, group, seed=seed,
                                          held_out=held_out):
      response = ""
      if question.answer:
        person = biographies.Person(question.name)
        response = biographies.fill(
            ATTRIBUTES[question.attribute].answers[0], person, question.answer)
      yield Fact(question.prompt, question.answer, group, question.attribute,
                 question.name, response)


def article_facts(articles: Iterable[Article]) -> Iterator[Fact]:
  """Questions on introductions of Wikipedia: what each thing is, which its
  short description answers, a person's year of birth and nationality, and
  capitals."""
  articles = list(articles)
  for stated in article_statements.article_facts(articles):
    question, cloze = _STATED[stated.attribute]
    yield Fact(question.format(stated.subject), stated.value,
               attribute=stated.attribute, name=stated.subject,
               cloze=cloze.format(stated.subject))
  for article in articles:
    who, verb, subject = article_question(article)
    born = re.search(r"born (?:[^();.]{0,40}\D)?(\d{3,4})\b|"
                     r"\((?:[^();.]{0,60}\D)?(\d{3,4}) ?[-–]",
                     article.extract[:300]) if who == "Who" else None
    if born:
      yield Fact(f"In which year was {article.title} born?",
                 born[1] or born[2], attribute="birth_year",
                 name=article.title, cloze=f"{article.title} was born in the "
                 "year")
    if article.description:
      yield Fact(f"{who} {verb} {subject}?", article.description,
                 attribute="description", name=article.title,
                 response=first_sentences(article.extract, 1),
                 cloze=f"{subject[:1].upper()}{subject[1:]} {verb}")


def cloze_facts(documents: Iterable[tuple[str, str]]) -> Iterator[Fact]:
  """Questions on any documents: how does a sentence of theirs end?

  Taken are sentences that end in a number or in names, as these can be
  checked; of a document the first one, not to ask the same thing twice.

  Args:
    documents: (name, text) of each.
  """
  for name, text in documents:
    for sentence in re.split(r"(?<=[.!?])\s+", text):
      found = _ENDING.fullmatch(sentence.strip())
      low, high = _SENTENCE_CHARACTERS
      if found and low <= len(sentence) <= high:
        beginning, end = found[1], found[2]
        yield Fact(f"Complete the sentence: {beginning} ...", end,
                   attribute="number" if end[0].isdigit() else "name",
                   name=name, response=sentence.strip(), cloze=beginning)
        break


_ENDING = re.compile(
    r"(.+\b(?:in|of|at|by|from|to|is|was|were|are|near|and)) "
    r"(\d[\d,]*|(?:[A-Z][\w'’-]+)(?: (?:of |the )?[A-Z][\w'’-]+){0,3})\.")


def choose_facts(facts: Sequence[Fact], groups: Sequence[str], number: int,
                 seed: int) -> list[Fact]:
  """Some facts of each group, the same for the same seed, in the given order.

  Args:
    facts: what there is.
    groups: which groups; none: all.
    number: of each group at most; 0: all.
    seed: which ones.

  Raises:
    ConfigError: a group that no fact is of, or no fact at all.
  """
  present = list(dict.fromkeys(fact.group for fact in facts))
  for group in groups:
    require(group in present, f"no fact is of the group {group!r}; the groups "
            f"are {', '.join(present) or 'none'}.")
  chosen = []
  for group in groups or present:
    here = [i for i, fact in enumerate(facts) if fact.group == group]
    if number:
      here = sorted(here, key=lambda i: unit_hash(facts[i].question, seed))
    chosen += sorted(here[:number or None])
  require(bool(chosen), "there are no facts to ask about.")
  return [facts[i] for i in chosen]


def choose_shots(facts: Sequence[Fact], number: int) -> list[Fact]:
  """Facts to show a base model as examples, from all over the list: of those
  that the corpus asks about, if there are any, else of any with an answer."""
  spare = ([fact for fact in facts if fact.group == ASKED]
           or [fact for fact in facts if fact.answer])
  number = min(number, len(spare) // 4)  # of few, most are to be asked
  # One more than whole strides, so that attributes in turn are not all alike.
  stride = max(1, len(spare) // max(1, number) - 1)
  return spare[::stride][:number]


def is_held_out(fact: Fact, fraction: float) -> bool:
  """Whether all that is asked about `fact.name` is for evaluation only.

  With a fraction of a quarter it is `biographies.side_of`.
  """
  return unit_hash(fact.name or fact.question, 0) >= 1 - fraction


def _fact(record: files_lib.Record) -> Fact:
  """A record as a fact; raises `ConfigError` where it is none."""
  fields = dict(record.fields)
  question = fields.get("question", fields.get("prompt"))
  if not (isinstance(question, str) and question.strip()):
    raise ConfigError(f"{record.source}: `question` is {question!r}; it should "
                      "be text, and not empty.")
  if isinstance(fields.get("answer"), (int, float)):
    fields["answer"] = str(fields["answer"])
  texts = {}
  for name in ("answer", "group", "attribute", "name", "response", "cloze"):
    value = fields.get(name)
    require(value is None or isinstance(value, str), f"{record.source}: "
            f"`{name}` is of type {type(value).__name__}; it should be text.")
    if value is not None:
      texts[name] = value
  texts = {"answer": ""} | texts
  if not texts["answer"].strip():
    texts = {"group": INVENTED} | texts
  return Fact(question.strip(), **texts)
