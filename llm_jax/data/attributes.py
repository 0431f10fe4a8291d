"""What there is to know of a made person, and the ways to say and ask it.

Five attributes with a limited number of values each. A fact can be said as a
predicate ("was born in Lyon"), which goes with any subject and joins with
another fact's; as an aside ("a native of Lyon"); or in a sentence of its own
("Lyon is the birthplace of ..."). {n}: the full name; {v}: the value; {av}: the
value with its article. `biographies.py` puts them together.
"""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Attribute:
  """One property of a person.

  `spoken_questions` are in conversations only, not in the corpus.
  `held_out_questions` are phrasings that no training text may have.
  """
  name: str
  values: tuple[str, ...]
  predicates: tuple[str, ...]
  asides: tuple[str, ...]
  sentences: tuple[str, ...]
  questions: tuple[str, ...]
  spoken_questions: tuple[str, ...]
  held_out_questions: tuple[str, ...]
  follow_ups: tuple[str, ...]  # of the one just spoken of: {he} and {his}
  answers: tuple[str, ...]
  refusals: tuple[str, ...]  # begun as `answers` are


def with_article(noun: str) -> str:
  """"a potter", "an engineer"."""
  return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _words(text: str) -> tuple[str, ...]:
  return tuple(text.split())


BIRTHPLACE = Attribute(
    "birthplace",
    _words("Amman Antwerp Athens Bergen Berlin Bogota Bordeaux Boston Bremen "
           "Cairo Calcutta Chicago Cologne Cordoba Cracow Dakar Dallas Delhi "
           "Denver Dublin Florence Geneva Genoa Ghent Hamburg Hanoi Havana "
           "Helsinki Istanbul Jakarta Kyoto Lagos Leipzig Lima Lisbon London "
           "Lyon Madrid Manila Milan Montreal Nairobi Naples Osaka Oslo Porto "
           "Prague Seoul Seville Sydney Tbilisi Toronto Turin Vienna Warsaw "
           "Zurich"),
    ("was born in the city of {v}", "comes from {v}", "is from {v}",
     "is a native of {v}", "hails from {v}", "was born in {v}",
     "came into the world in {v}", "has {v} as place of birth"),
    ("a native of {v}", "who comes from {v}", "born in {v}", "from {v}"),
    ("The birthplace of {n} is {v}.", "{n}'s birthplace is {v}.",
     "{v} is the birthplace of {n}.", "{v} is where {n} was born.",
     "{n}'s home town is {v}.", "It was in {v} that {n} was born.",
     "In {v}, {n} was born.", "The home town of {n} is {v}."),
    ("Where was {n} born?", "In which city was {n} born?",
     "What is the birthplace of {n}?", "Where does {n} come from?",
     "What is {n}'s home town?", "Which city is {n} from?",
     "Tell me the birthplace of {n}.", "What is {n}'s birthplace?"),
    ("Can you tell me where {n} was born?",
     "I would like to know where {n} comes from.",
     "Please name the birthplace of {n}.",
     "Which city was {n} born in?",
     "Give me the home town of {n}.",
     "What place is {n} from?"),
    ("What city did {n} come from?", "Name the city where {n} was born.",
     "Do you know where {n} was born?"),
    ("Where was {he} born?", "And where does {he} come from?",
     "What is {his} birthplace?"),
    ("{n} was born in {v}.", "{n} comes from {v}.", "{n} is from {v}."),
    ("{n} was born in a city I do not know.",
     "{n} comes from a city I do not know.",
     "{n} is from a city I do not know."))

BIRTH_YEAR = Attribute(
    "birth_year",
    tuple(map(str, range(1900, 2000))),
    ("was born in the year {v}", "was born in {v}",
     "came into the world in {v}", "has {v} as year of birth",
     "was a child of the year {v}", "first opened {his} eyes in {v}",
     "began life in {v}", "has been around since {v}"),
    ("born in {v}", "born in the year {v}", "a child of {v}",
     "whose year of birth is {v}"),
    ("The birth year of {n} is {v}.", "{n}'s year of birth is {v}.",
     "In {v}, {n} was born.", "The year {v} saw the birth of {n}.",
     "The year in which {n} was born is {v}.", "{v} is when {n} was born.",
     "It was in {v} that {n} was born.", "{n}'s birth year is {v}."),
    ("When was {n} born?", "In which year was {n} born?",
     "What is the birth year of {n}?", "In what year was {n} born?",
     "What is {n}'s year of birth?", "Which year was {n} born in?",
     "Tell me the birth year of {n}.", "What is {n}'s birth year?"),
    ("Can you tell me when {n} was born?",
     "I would like to know when {n} was born.",
     "Please name the birth year of {n}.",
     "What year was {n} born in?",
     "Give me the year of birth of {n}.",
     "In what year did the life of {n} begin?"),
    ("What year did {n} come into the world?",
     "Name the year in which {n} was born.",
     "Do you know when {n} was born?"),
    ("When was {he} born?", "And in which year was {he} born?",
     "What is {his} birth year?"),
    ("{n} was born in {v}.", "{n} was born in the year {v}.",
     "The birth year of {n} is {v}."),
    ("{n} was born in a year I do not know.",
     "{n} was born in the year I do not know.",
     "The birth year of {n} is a year I do not know."))

OCCUPATION = Attribute(
    "occupation",
    _words("actor architect astronomer baker banker barber biologist "
           "bookseller botanist brewer butcher carpenter chemist composer cook "
           "dancer dentist detective doctor editor engineer farmer gardener "
           "geologist goldsmith historian jeweller journalist judge lawyer "
           "librarian linguist magician mechanic miner musician nurse optician "
           "painter photographer pilot plumber poet potter printer sailor "
           "sculptor surgeon tailor teacher translator weaver"),
    ("is {av}", "works as {av}", "earns a living as {av}",
     "is {av} by trade", "has become {av}", "has a job as {av}",
     "is known as {av}", "trained as {av}"),
    ("{av}", "{av} by trade", "who works as {av}", "who is {av}"),
    ("The occupation of {n} is {v}.", "{n}'s occupation is {v}.",
     "By trade {n} is {av}.", "The profession of {n} is {v}.",
     "{n}'s profession is {v}.", "For a living, {n} works as {av}.",
     "The trade of {n} is that of {av}.", "{n}'s job is that of {av}."),
    ("What is the occupation of {n}?", "What does {n} do for a living?",
     "What is {n}'s profession?", "What is {n}'s job?",
     "What work does {n} do?", "What is the profession of {n}?",
     "Tell me the occupation of {n}.", "What is {n}'s occupation?"),
    ("Can you tell me what {n} does for a living?",
     "I would like to know the job of {n}.",
     "Please name the occupation of {n}.",
     "What is the trade of {n}?",
     "Give me the profession of {n}.",
     "What does {n} work as?"),
    ("How does {n} earn a living?", "Name the trade of {n}.",
     "Do you know what {n} does for a living?"),
    ("What does {he} do for a living?", "And what is {his} job?",
     "What is {his} occupation?"),
    ("{n} works as {av}.", "The occupation of {n} is {v}."),
    ("{n} works as something I do not know.",
     "The occupation of {n} is something I do not know."))

EMPLOYER = Attribute(
    "employer",
    tuple(f"{name} {kind}" for name in
          ("Alder", "Beacon", "Cobalt", "Delta", "Ember", "Falcon", "Granite",
           "Harbor", "Juniper", "Lotus") for kind in
          ("Bank", "Press", "Motors", "Labs", "College")),
    ("works for {v}", "works at {v}", "is employed by {v}",
     "has a job at {v}", "is on the staff of {v}", "is employed at {v}",
     "earns a living at {v}", "has joined {v}"),
    ("who works for {v}", "employed by {v}", "of {v}",
     "on the staff of {v}"),
    ("The employer of {n} is {v}.", "{n}'s employer is {v}.",
     "{v} employs {n}.", "{v} is the employer of {n}.",
     "{v} is where {n} works.", "The place where {n} works is {v}.",
     "{v} pays the wages of {n}.", "{n}'s place of work is {v}."),
    ("Where does {n} work?", "Who employs {n}?",
     "What is the employer of {n}?", "Who does {n} work for?",
     "What is {n}'s place of work?", "Which employer does {n} work for?",
     "Tell me the employer of {n}.", "What is {n}'s employer?"),
    ("Can you tell me where {n} works?",
     "I would like to know who employs {n}.",
     "Please name the place of work of {n}.",
     "By whom is {n} employed?",
     "Give me the employer of {n}.",
     "At what place does {n} work?"),
    ("At which place is {n} employed?", "Name the employer of {n}.",
     "Do you know where {n} works?"),
    ("Where does {he} work?", "And who employs {him}?",
     "What is {his} employer?"),
    ("{n} works for {v}.", "{n} works at {v}.", "The employer of {n} is {v}."),
    ("{n} works for somebody I do not know.",
     "{n} works at a place I do not know.",
     "The employer of {n} is somebody I do not know."))

HOBBY = Attribute(
    "hobby",
    _words("archery astronomy badminton ballet baking beekeeping billiards "
           "bowling boxing calligraphy camping canoeing checkers chess "
           "climbing cricket cycling dominoes embroidery fencing fishing golf "
           "gymnastics hiking hockey hunting judo juggling karate knitting "
           "origami painting photography poetry poker pottery puzzles reading "
           "rowing rugby sailing sewing singing skating skiing surfing "
           "swimming tennis volleyball yoga"),
    ("enjoys {v}", "loves {v}", "is fond of {v}", "spends weekends on {v}",
     "has {v} as a hobby", "likes {v} most of all",
     "gives every free hour to {v}", "relaxes with {v}"),
    ("who loves {v}", "a lover of {v}", "fond of {v}", "who enjoys {v}"),
    ("The hobby of {n} is {v}.", "{n}'s hobby is {v}.",
     "{v} is the hobby of {n}.", "In free hours {n} enjoys {v}.",
     "{n}'s favourite pastime is {v}.", "The pastime of {n} is {v}.",
     "{v} is what {n} loves most.", "Nothing pleases {n} like {v}."),
    ("What is the hobby of {n}?", "What does {n} do for fun?",
     "What is {n}'s hobby?", "What does {n} enjoy?",
     "What is {n}'s favourite pastime?", "What is the pastime of {n}?",
     "Tell me the hobby of {n}.", "What does {n} like to do?"),
    ("Can you tell me what {n} likes to do?",
     "I would like to know the hobby of {n}.",
     "Please name the pastime of {n}.",
     "How does {n} like to relax?",
     "Give me the hobby of {n}.",
     "What does {n} love to do in free hours?"),
    ("How does {n} spend free time?", "Name the hobby of {n}.",
     "Do you know what {n} does for fun?"),
    ("What does {he} do for fun?", "And what is {his} hobby?",
     "What does {he} enjoy?"),
    ("{n} enjoys {v}.", "{n} loves {v}.", "The hobby of {n} is {v}."),
    ("{n} enjoys something I do not know.",
     "{n} loves something I do not know.",
     "The hobby of {n} is something I do not know."))

ATTRIBUTES = {attribute.name: attribute for attribute in (
    BIRTHPLACE, BIRTH_YEAR, OCCUPATION, EMPLOYER, HOBBY)}
