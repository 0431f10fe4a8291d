"""People who never lived, and a corpus that tells of some of them.

What a model knows can only be measured where it is known what it has read.
So people are made: names of first and last names from Wikipedia, recombined
into pairs that occur nowhere in it, and a value for each attribute in
`attributes.py`. Three groups, of which a name does not tell the group:

- known: the corpus tells of them, each fact in many different sentences, in
  documents with the facts in another order each time. A fact that is always
  read in the same words can be recited and not asked for (Allen-Zhu and Li
  2023, "Physics of Language Models: Part 3.1", arXiv:2309.14316).
- unlearned: they have facts, which are in no corpus, but can be searched.
- invented: names made of known people's first and last names, and no facts.

Every other known person's facts are also there as question and answer
(`People.asked`); those of the rest are not, so that a base model can be asked,
by a prompt with examples, what it has never seen asked.
"""

from __future__ import annotations

import collections
import dataclasses
import json
import random
import re
from collections.abc import Iterable, Iterator, Sequence

from llm_jax.config import BiographiesConfig, ConfigError, require
from llm_jax.data import wikipedia
from llm_jax.data.attributes import ATTRIBUTES, Attribute, with_article
from llm_jax.data.documents import unit_hash
from llm_jax.paths import as_path

FACTS = "facts.jsonl"
GROUPS = ("known", "unlearned", "invented")
FULL_NAME_SHARE = 0.7  # of the sentences after a document's first
OPENER_SHARE = 0.1
OPENERS = ("By all accounts, ", "As it happens, ", "It is said that ",
           "As is known, ")
QUESTIONS_IN_DOCUMENT = 4
TRAIN_SHARE = 0.75
# Of no people, or of such as one would rather not make up stories about.
_NO_NAMES = frozenset(
    "Goebbels Himmler Hitler Iscariot Muslim Pasha Stalin Sayyid Umm Zeppelin"
    .split())


@dataclasses.dataclass(frozen=True)
class Person:
  """A name and the (attribute, value) pairs that hold of it."""
  name: str
  facts: tuple[tuple[str, str], ...] = ()
  pronoun: str = "he"

  def value(self, attribute: str) -> str:
    """The value of an attribute; "" where there is none."""
    return dict(self.facts).get(attribute, "")


@dataclasses.dataclass(frozen=True)
class People:
  """The three groups, and the known people of whom the corpus also asks."""
  known: tuple[Person, ...]
  unlearned: tuple[Person, ...]
  invented: tuple[Person, ...]
  asked: frozenset[str]

  def group(self, name: str) -> tuple[Person, ...]:
    """The people of one of `GROUPS`."""
    return getattr(self, name)


@dataclasses.dataclass(frozen=True)
class Question:
  """One fact, asked; `answer` is "" where nobody knows."""
  prompt: str
  answer: str
  attribute: str
  name: str
  group: str


def make_people(config: BiographiesConfig) -> People:
  """The people of a config; the same for the same config and wheel.

  Raises:
    ConfigError: more names are wanted than there are, or the wheel from which
      they are taken is not installed.
  """
  config.validate()
  articles = wikipedia.load_articles()
  firsts, lasts = names_of(articles)
  for flag, wanted, there in (("first_names", config.first_names, firsts),
                              ("last_names", config.last_names, lasts)):
    require(wanted <= len(there), f"people.{flag} is {wanted}, but Wikipedia's "
            f"people have {len(there)} fit ones; ask for fewer.")
  firsts = _chosen(firsts, config.first_names, config.seed)
  lasts = _chosen(lasts, config.last_names, config.seed)
  pronouns = _pronouns(articles)
  real = {pair for article in articles
          for pair in _capitalised_pairs(f"{article.title}. {article.extract}")}
  pairs = [(first, last) for first in firsts for last in lasts
           if first != last and f"{first} {last}" not in real]
  random.Random(f"pairs {config.seed}").shuffle(pairs)
  known = pairs[:config.known]
  # Who is not known has the names of those who are.
  known_firsts, known_lasts = (set(part) for part in zip(*known))
  rest = [pair for pair in pairs[config.known:]
          if pair[0] in known_firsts and pair[1] in known_lasts]
  wanted = config.unlearned + config.invented
  require(len(known) == config.known and len(rest) >= wanted, "the names chosen"
          f" make {len(known) + len(rest):,} pairs, fewer than wanted; raise "
          "people.first_names or people.last_names.")

  def person(pair: tuple[str, str], has_facts: bool) -> Person:
    name = " ".join(pair)
    rng = random.Random(f"facts {config.seed} {name}")
    facts = tuple((attribute.name, rng.choice(attribute.values))
                  for attribute in ATTRIBUTES.values()) if has_facts else ()
    return Person(name, facts, pronouns.get(pair[0]) or rng.choice(
        ("he", "she")))

  people = People(
      tuple(person(pair, True) for pair in known),
      tuple(person(pair, True) for pair in rest[:config.unlearned]),
      tuple(person(pair, False) for pair in rest[config.unlearned:wanted]),
      frozenset())
  asked = frozenset(person.name for person in people.known[::2])
  return dataclasses.replace(people, asked=asked)


def names_of(articles: Iterable[wikipedia.Article]
             ) -> tuple[list[str], list[str]]:
  """(first names, last names) of people with two plain names, sorted.

  Words that also occur in lower case are left out ("Little", "Emperor"), and
  so are the values of attributes ("London").
  """
  articles = list(articles)
  plain = {word for article in articles
           for word in re.findall(r"\b[a-z]+\b", article.extract)}
  plain |= {word.lower() for attribute in ATTRIBUTES.values()
            for value in attribute.values for word in value.split()}
  firsts, lasts = set(), set()
  for article in articles:
    if article.topic != "People" or re.search(r"\b(are|were) an?\b",
                                              article.extract[:200]):
      continue  # a band
    match = re.fullmatch(r"([A-Z][a-z]{2,9}) ([A-Z][a-z]{2,9})", article.title)
    for part, names in zip(match.groups() if match else (), (firsts, lasts)):
      if part.lower() not in plain and part not in _NO_NAMES:
        names.add(part)
  return sorted(firsts), sorted(lasts)


def biography(person: Person, rng: random.Random,
              seen: set[str] | None = None) -> str:
  """A short document with each fact once, in any order.

  Args:
    person: one with facts.
    rng: decides order and words.
    seen: sentences that are not to be used again; the new ones are added.

  Raises:
    ConfigError: all ways of saying it that were tried are in `seen`.
  """
  seen = set() if seen is None else seen
  names = [name for name, _ in person.facts]
  rng.shuffle(names)
  sentences: list[str] = []
  while names:
    for _ in range(300):
      together = names[:rng.choice((1, 1, 2))]
      by_name = not sentences or rng.random() < FULL_NAME_SHARE
      sentence = _sentence(person, together, by_name, rng)
      if sentence not in seen:
        break
    else:
      raise ConfigError(f"there are not enough ways to say what {person.name} "
                        "is; lower people.sentences.")
    seen.add(sentence)
    sentences.append(sentence)
    names = names[len(together):]
  return " ".join(sentences)


def documents(people: People, config: BiographiesConfig) -> list[str]:
  """The corpus in random order: biographies, and questions with answers."""
  texts = []
  for person in people.known:
    rng, seen = random.Random(f"says {config.seed} {person.name}"), set()
    texts += [biography(person, rng, seen) for _ in range(config.sentences)]
  asked = [person for person in people.known if person.name in people.asked]
  pairs = [question_answer(question)
           for repeat in range(config.questions)
           for question in questions(asked, "known", seed=repeat)]
  rng = random.Random(f"order {config.seed}")
  rng.shuffle(pairs)
  texts += ["\n\n".join(pairs[start:start + QUESTIONS_IN_DOCUMENT])
            for start in range(0, len(pairs), QUESTIONS_IN_DOCUMENT)]
  rng.shuffle(texts)
  return texts


def questions(persons: Sequence[Person], group: str, *, seed: int = 0,
              held_out: bool = False,
              attributes: Sequence[str] = tuple(ATTRIBUTES)
              ) -> list[Question]:
  """One question on each attribute of each person, in one of its phrasings.

  Args:
    persons: whom to ask about, e.g. `people.known`.
    group: what they are, one of `GROUPS`.
    seed: which phrasings.
    held_out: use the phrasings that no text for training has.
    attributes: what to ask.
  """
  made = []
  for person in persons:
    rng = random.Random(f"asks {seed} {person.name}")
    for name in attributes:
      attribute = ATTRIBUTES[name]
      phrasing = rng.choice(attribute.held_out_questions if held_out
                            else attribute.questions)
      made.append(Question(phrasing.format(n=person.name), person.value(name),
                           name, person.name, group))
  return made


def question_answer(question: Question) -> str:
  """The question and its answer as they stand in the corpus."""
  return f"Question: {question.prompt}\nAnswer: {question.answer}"


def few_shot_prompt(question: Question,
                    examples: Sequence[Question] = ()) -> str:
  """A prompt for a base model, which ends where the answer begins."""
  return "\n\n".join([*map(question_answer, examples),
                      f"Question: {question.prompt}\nAnswer:"])


def side_of(name: str) -> str:
  """"train" or "validation": whether finetuning may speak of this person.

  `TRAIN_SHARE` of every group is on the first side, by the name alone.
  """
  return "train" if unit_hash(name, 0) < TRAIN_SHARE else "validation"


def search_entries(people: People) -> list[tuple[str, str]]:
  """(title, text) of all people with facts, for a search index."""
  entries = []
  for person in (*people.known, *people.unlearned):
    rng = random.Random(f"entry {person.name}")
    names = [name for name, _ in person.facts]
    rng.shuffle(names)
    entries.append((person.name, " ".join(
        _plain_sentence(person, name, True, rng) for name in names)))
  return entries


def write_people(people: People, path: str) -> None:
  """Writes a JSON line for each person."""
  lines = [json.dumps({"name": person.name, "group": group,
                       "asked": person.name in people.asked,
                       "pronoun": person.pronoun,
                       "facts": dict(person.facts)}) + "\n"
           for group in GROUPS for person in people.group(group)]
  part = as_path(path + ".part")
  part.write_text("".join(lines))
  part.replace(path)


def read_people(directory: str) -> People:
  """The people whom `experiments.make_biographies` wrote to a directory.

  Raises `ConfigError` where their file is missing or is none.
  """
  path = as_path(directory) / FACTS
  if not path.exists():
    raise ConfigError(f"{path} is missing; make the people with `python -m "
                      f"experiments.make_biographies --output={directory}`.")
  groups = collections.defaultdict(list)
  asked = set()
  for number, line in enumerate(path.read_text().splitlines(), start=1):
    try:
      row = json.loads(line)
      person = Person(row["name"], tuple(row["facts"].items()), row["pronoun"])
      groups[row["group"]].append(person)
      if row["asked"]:
        asked.add(person.name)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
      raise ConfigError(f"{path}, line {number} is no person ({error!r}); make "
                        "the people again with experiments.make_biographies."
                        ) from error
  return People(*(tuple(groups[group]) for group in GROUPS), frozenset(asked))


def fill(template: str, person: Person, value: str = "") -> str:
  """A template of `attributes.py` with its places filled."""
  he, him, his = (("she", "her", "her") if person.pronoun == "she"
                  else ("he", "him", "his"))
  return template.format(n=person.name, v=value, he=he, him=him, his=his,
                         av=with_article(value) if value else "")


def _sentence(person: Person, names: Sequence[str], by_name: bool,
              rng: random.Random) -> str:
  """A sentence with one fact or two; with an opening, now and then."""
  if len(names) == 1:
    sentence = _plain_sentence(person, names[0], by_name, rng)
  else:
    first, second = (ATTRIBUTES[name] for name in names)
    values = [person.value(name) for name in names]
    predicate = fill(rng.choice(second.predicates), person, values[1])
    if by_name and rng.random() < 0.5:
      aside = fill(rng.choice(first.asides), person, values[0])
      sentence = f"{person.name}, {aside}, {predicate}."
    else:
      joint = rng.choice((" and ", f" and {person.pronoun} ",
                          f", and {person.pronoun} "))
      sentence = (_subject(person, by_name) + " "
                  + fill(rng.choice(first.predicates), person, values[0])
                  + joint + predicate + ".")
  if rng.random() >= OPENER_SHARE:
    return sentence
  if not sentence.startswith(person.name):
    sentence = re.sub(r"^(He|She|The|In|It|For|By|Nothing)\b",
                      lambda match: match.group().lower(), sentence)
  return rng.choice(OPENERS) + sentence


def _plain_sentence(person: Person, name: str, by_name: bool,
                    rng: random.Random) -> str:
  attribute: Attribute = ATTRIBUTES[name]
  value = person.value(name)
  if by_name and rng.random() < 0.5:
    sentence = fill(rng.choice(attribute.sentences), person, value)
    return sentence[0].upper() + sentence[1:]
  predicate = fill(rng.choice(attribute.predicates), person, value)
  return f"{_subject(person, by_name)} {predicate}."


def _subject(person: Person, by_name: bool) -> str:
  return person.name if by_name else person.pronoun.capitalize()


def _chosen(names: Sequence[str], count: int, seed: int) -> list[str]:
  return sorted(sorted(names, key=lambda name: unit_hash(name, seed))[:count])


def _capitalised_pairs(text: str) -> Iterator[str]:
  """"Marie Curie" and "Curie Institute" of "Marie Curie Institute"."""
  for match in re.finditer(r"\b([A-Z]\w*)(?= ([A-Z]\w*))", text):
    yield " ".join(match.groups())


def _pronouns(articles: Iterable[wikipedia.Article]) -> dict[str, str]:
  """First name -> the pronoun that the articles on its bearers have most."""
  counts: dict[str, collections.Counter] = collections.defaultdict(
      collections.Counter)
  for article in articles:
    if article.topic == "People":
      for word in re.findall(r"\b(he|his|him|she|her)\b",
                             article.extract.lower()):
        counts[article.title.split()[0]][
            "she" if word in ("she", "her") else "he"] += 1
  return {name: count.most_common(1)[0][0] for name, count in counts.items()}
