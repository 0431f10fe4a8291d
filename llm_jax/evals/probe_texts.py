"""What the probes ask: word pairs, questions, people who lived and who did not.

Small tables of common knowledge, written down here; invented people are made
of syllables, so that no text that a model has read is about them.
"""

from __future__ import annotations

import random


def _pairs(text: str) -> tuple[tuple[str, str], ...]:
  """"a:b c:d ..." as pairs; "_" stands for a space within a word."""
  return tuple((a.replace("_", " "), b.replace("_", " "))
               for a, b in (pair.split(":") for pair in text.split()))


PAIRS = {
    "antonyms": _pairs(
        "hot:cold big:small up:down early:late fast:slow high:low hard:soft "
        "rich:poor young:old open:closed full:empty light:dark wet:dry "
        "happy:sad strong:weak long:short day:night left:right good:bad "
        "clean:dirty near:far thick:thin true:false win:lose buy:sell "
        "push:pull love:hate first:last inside:outside always:never "
        "laugh:cry begin:end"),
    "capitals": _pairs(
        "France:Paris Italy:Rome Spain:Madrid Germany:Berlin Japan:Tokyo "
        "China:Beijing Egypt:Cairo Greece:Athens Russia:Moscow Cuba:Havana "
        "Portugal:Lisbon Austria:Vienna Ireland:Dublin Norway:Oslo "
        "Sweden:Stockholm Finland:Helsinki Denmark:Copenhagen Poland:Warsaw "
        "Hungary:Budapest Canada:Ottawa Australia:Canberra Peru:Lima "
        "Chile:Santiago Kenya:Nairobi Thailand:Bangkok Vietnam:Hanoi "
        "Iran:Tehran Iraq:Baghdad Belgium:Brussels Argentina:Buenos_Aires "
        "England:London Turkey:Ankara"),
    "french": _pairs(
        "dog:chien cat:chat water:eau bread:pain house:maison book:livre "
        "king:roi queen:reine sun:soleil moon:lune red:rouge green:vert "
        "white:blanc black:noir school:école milk:lait cheese:fromage "
        "man:homme woman:femme child:enfant hand:main head:tête night:nuit "
        "day:jour fire:feu tree:arbre friend:ami city:ville street:rue "
        "door:porte horse:cheval apple:pomme"),
    "past": _pairs(
        "go:went see:saw take:took give:gave come:came eat:ate drink:drank "
        "run:ran write:wrote speak:spoke break:broke choose:chose drive:drove "
        "fall:fell fly:flew forget:forgot get:got grow:grew know:knew "
        "ride:rode sing:sang sit:sat swim:swam think:thought bring:brought "
        "buy:bought catch:caught teach:taught leave:left lose:lost make:made "
        "find:found"),
}

# (question, what an answer to it contains)
QUESTIONS = (
    ("What is the capital of France?", ("Paris",)),
    ("What is the capital of Japan?", ("Tokyo",)),
    ("Which planet do we live on?", ("Earth",)),
    ("What is the largest planet of the solar system?", ("Jupiter",)),
    ("Who wrote Romeo and Juliet?", ("Shakespeare",)),
    ("Who painted the Mona Lisa?", ("Leonardo", "da Vinci")),
    ("What is the chemical symbol of gold?", ("Au",)),
    ("What is water made of?", ("hydrogen", "H2O")),
    ("How many legs does a spider have?", ("8", "eight")),
    ("How many days are there in a week?", ("7", "seven")),
    ("How many hours are there in a day?", ("24", "twenty-four")),
    ("What color is the sky on a clear day?", ("blue",)),
    ("What do bees make?", ("honey",)),
    ("What is frozen water called?", ("ice",)),
    ("Which animal is known as man's best friend?", ("dog", "dogs")),
    ("In which country is the city of Rome?", ("Italy",)),
    ("Who was the first president of the United States?", ("Washington",)),
    ("What force pulls things down to the ground?", ("gravity",)),
    ("What is the opposite of hot?", ("cold",)),
    ("What is two plus two?", ("4", "four")),
    ("Which language is spoken in Brazil?", ("Portuguese",)),
    ("What is the name of the star at the center of our solar system?",
     ("Sun",)),
    ("What gas do plants take in from the air?", ("carbon dioxide", "CO2")),
    ("Which ocean lies between Europe and America?", ("Atlantic",)),
)

WELL_KNOWN = {
    "Albert Einstein": 1879, "Marie Curie": 1867, "Charles Darwin": 1809,
    "William Shakespeare": 1564, "Abraham Lincoln": 1809,
    "Wolfgang Amadeus Mozart": 1756, "Leonardo da Vinci": 1452,
    "Napoleon Bonaparte": 1769, "Ludwig van Beethoven": 1770,
    "Mahatma Gandhi": 1869, "Winston Churchill": 1874, "Nikola Tesla": 1856,
    "Vincent van Gogh": 1853, "Galileo Galilei": 1564,
    "Martin Luther King Jr.": 1929, "Nelson Mandela": 1918,
    "Jane Austen": 1775, "Charles Dickens": 1812, "Mark Twain": 1835,
    "Pablo Picasso": 1881, "Florence Nightingale": 1820,
    "Benjamin Franklin": 1706, "Thomas Edison": 1847, "Sigmund Freud": 1856,
}

_FIRST = ("Tar", "Bel", "Orv", "Mil", "Fen", "Hal", "Jor", "Quil", "Ros",
          "Vel", "Wen", "Isk")
_SECOND = ("ena", "ick", "olan", "wyn", "ard", "ita", "emar", "os")
_PLACES = ("Korvale", "Ostrenby", "Lower Thessmark", "Quillhaven", "Vantrisk",
           "Merrowdale", "Port Elsin", "Dunharrow Cross")
_WORKS = ("bridge builder", "painter of glass", "writer on bees", "judge",
          "maker of clocks", "collector of mosses", "teacher of singing",
          "student of tides")


def invented_names(number: int, seed: int) -> list[str]:
  """Names of people who never lived, each once."""
  rng = random.Random(f"invented names {seed}")
  names: dict[str, None] = {}
  while len(names) < number:
    given = rng.choice(_FIRST) + rng.choice(_SECOND)
    family = (rng.choice(_FIRST) + rng.choice(("el", "om", "an", "in", "ow"))
              + rng.choice(_SECOND))
    names[f"{given} {family}"] = None
  return list(names)


def invented_biographies(number: int, seed: int) -> list[str]:
  """Texts in the manner of an encyclopedia that nobody can have read."""
  rng = random.Random(f"invented biographies {seed}")
  texts = []
  for name in invented_names(number, seed):
    born = rng.randrange(1650, 1950)
    home, away = rng.sample(_PLACES, 2)
    work, other = rng.sample(_WORKS, 2)
    teacher = invented_names(1, rng.randrange(10**6))[0]
    texts.append(
        f"{name} ({born}-{born + rng.randrange(30, 90)}) was a {work} from "
        f"{home}. Having learnt from {teacher}, a {other} of {away}, they "
        f"moved to the coast in {born + rng.randrange(18, 29)} and kept a "
        f"house with {rng.randrange(3, 30)} rooms, of which "
        f"{rng.randrange(2, 9)} were given to visitors from {away}. Their "
        f"papers, found in {born + rng.randrange(91, 99)} beneath the stairs "
        f"of the {rng.choice(('mill', 'chapel', 'school', 'granary'))} of "
        f"{home}, tell of {rng.randrange(11, 80)} journeys, a quarrel with "
        f"{rng.choice(_FIRST)}{rng.choice(_SECOND)} the younger, and a plan "
        f"to measure every well between {home} and {away}, which was never "
        "carried out.")
  return texts
