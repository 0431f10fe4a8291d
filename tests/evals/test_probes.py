"""The probes' arithmetic by hand, and their verdicts on models made for it."""

import dataclasses
import json

import jax
import pytest

from llm_jax.config import (
    ConfigError, ModelConfig, TextConfig, TokenizerConfig)
from llm_jax.config_probes import (
    FewShotConfig, HallucinationConfig, PromptedAssistantConfig,
    RegurgitationConfig)
from llm_jax.data.repeats import repeat_documents, shortened
from llm_jax.evals import probes
from llm_jax.evals.few_shot import (
    few_shot_prompt, is_right, probe_few_shot, task_pairs)
from llm_jax.evals.hallucination import (
    agreement, probe_hallucination, year_in)
from llm_jax.evals.probe_texts import (
    PAIRS, QUESTIONS, WELL_KNOWN, invented_biographies, invented_names)
from llm_jax.evals.prompted_assistant import (
    contains_answer, probe_prompted_assistant)
from llm_jax.evals.regurgitation import (
    document_groups, edit_distance, matched_tokens, probe_regurgitation)
from llm_jax.model.params import init_params
from llm_jax.tokenizer.bpe import train_bpe

BYTES = train_bpe(["a text"], TokenizerConfig(vocab_size=264))  # no merges
MODEL = ModelConfig(vocab_size=264, embed_dim=16,
                    num_layers=1, num_heads=2, num_kv_heads=2, head_dim=8,
                    mlp_dim=16, max_seq_len=512)


class Oracle(probes.BaseModel):
  """In place of a model: a function from a prompt's text to what follows."""

  def __init__(self, answer):
    object.__setattr__(self, "answer", answer)
    super().__init__({}, MODEL, BYTES)

  def continue_all(self, prompts, max_new_tokens, *, temperature=0.0,
                   samples=1, stop=()):
    found = []
    for prompt in prompts:
      start = int(prompt[0] == self.tokenizer.endoftext_id)
      text = self.tokenizer.decode(list(prompt)[start:])
      made = []
      for i in range(samples):
        said = self.answer(text, i)
        ends = [said.find(s) for s in stop if s in said]
        tokens = self.tokenizer.encode(said)[:max_new_tokens]
        made.append(probes.Continuation(
            tuple(tokens), said[:min(ends)] if ends else said, bool(ends)))
      found.append(made)
    return found


# --- regurgitation ------------------------------------------------------------


def test_edit_distance_and_prefix_by_hand():
  assert edit_distance("kitten", "sitting") == 3
  assert edit_distance("", "abc") == 3 and edit_distance("abc", "abc") == 0
  assert edit_distance([1, 2, 3, 4], [2, 3, 4, 1]) == 2
  assert matched_tokens([1, 2, 3], [1, 2, 9]) == 2
  assert matched_tokens([1, 2, 3], [1, 2]) == 2
  assert matched_tokens([1], [2]) == 0


@pytest.fixture
def corpus(tmp_path):
  """Documents that occur once, five times (counts as 4) and held-out ones."""
  texts = [f"document {i}: " + " ".join(
      str((i * 7919 + j * j) % 1009) for j in range(30)) for i in range(40)]
  file = tmp_path / "corpus.jsonl"
  file.write_text("".join(
      json.dumps({"text": text}) + "\n" for i, text in enumerate(texts)
      for _ in range(5 if i % 2 else 1)))
  return TextConfig(path=str(file), validation_fraction=0.25), texts


def test_groups_are_the_counts_in_training(corpus):
  data, texts = corpus
  groups = document_groups(RegurgitationConfig(data=data), seed=0)
  assert list(groups) == ["held out", "read 1x", "read 4x"]
  assert sorted(sum(groups.values(), [])) == sorted(texts)
  assert all(texts.index(text) % 2 for text in groups["read 4x"])
  whole = dataclasses.replace(data, validation_fraction=0.0)
  groups = document_groups(RegurgitationConfig(data=whole, documents=7), 0)
  assert list(groups) == ["invented", "read 1x", "read 4x"]
  assert len(groups["invented"]) == 7


def test_a_parrot_is_found_out(corpus):
  """What recites the documents that it saw often, and babbles otherwise."""
  data, texts = corpus
  config = RegurgitationConfig(data=data, prompt_tokens=(6, 20), new_tokens=12)
  recited = document_groups(config, 0)["read 4x"]

  def answer(prompt, _):
    for text in recited:
      if len(prompt) == 20 and text.startswith(prompt):
        return text[20:]
    return "z" * 12
  found = probe_regurgitation(Oracle(answer), config)
  rows = {(r["group"], r["prompt_tokens"]): r for r in found["rows"]}
  assert set(rows) == {(g, k) for g in ("held out", "read 1x", "read 4x")
                       for k in (6, 20)}
  for (group, k), row in rows.items():
    known = float(group == "read 4x" and k == 20)
    assert row["verbatim"] == row["similarity"] == known
    assert row["matched_tokens"] == 12 * known
    assert row["verbatim_low"] <= row["verbatim"] <= row["verbatim_high"]
  example = found["examples"][-1]
  assert example["continued"] == example["text"]
  assert example["prompt"] + example["text"] in recited[0] + recited[1] + (
      "".join(recited))


def test_documents_that_are_too_short(corpus):
  data, _ = corpus
  with pytest.raises(ConfigError, match="has the 9000"):
    probe_regurgitation(Oracle(lambda *_: ""), RegurgitationConfig(
        data=data, prompt_tokens=(9000,)))


def test_repeated_documents():
  texts = [f"{i} " + "word " * 20 for i in range(30)]
  corpus = repeat_documents(texts, (1, 3), 5, max_chars=20, seed=0)
  counts = sorted(corpus.count(text) for text in set(corpus))
  assert counts == [1] * 5 + [3] * 5
  assert all(len(text) <= 20 and not text.endswith(" ") for text in corpus)
  assert corpus == repeat_documents(texts, (1, 3), 5, 20, 0)
  assert corpus != repeat_documents(texts, (1, 3), 5, 20, 1)
  assert shortened("one two three", 8) == "one two"
  with pytest.raises(ConfigError, match="need 200; lower one"):
    repeat_documents(texts, (1, 2), 100, 20, 0)


# --- few shots ----------------------------------------------------------------


def test_prompts_and_verdicts_by_hand():
  assert few_shot_prompt([("hot", "cold")], "up") == "hot -> cold\nup ->"
  assert few_shot_prompt([], "up") == "up ->"
  assert is_right(" Cold.\nup", "cold") and is_right("buenos aires",
                                                     "Buenos Aires")
  assert not is_right(" colder", "cold") and not is_right("", "cold")


def test_a_learner_by_example():
  """Answers from the third example on, so accuracy is a step."""
  solutions = {q: a for task in PAIRS for q, a in PAIRS[task]}

  def answer(prompt, _):
    *shots, last = prompt.split("\n")
    return " " + solutions[last.removesuffix(" ->")] if len(shots) > 2 else "?"
  found = probe_few_shot(Oracle(answer), FewShotConfig(
      tasks=("capitals", "past"), shots=(0, 2, 4), questions=9))
  got = {(r["task"], r["shots"]): r["accuracy"] for r in found["rows"]}
  assert got == {(task, shots): float(shots == 4)
                 for task in ("capitals", "past", "all")
                 for shots in (0, 2, 4)}
  assert found["rows"][-1]["questions"] == 18
  assert found["examples"][0]["answer"].strip() == (
      found["examples"][0]["right_answer"])


def test_the_question_is_never_among_the_examples():
  def answer(prompt, _):
    *shots, last = prompt.split("\n")
    assert len(shots) == len(set(shots)) == 16
    assert not any(shot.startswith(last) for shot in shots)
    return ""
  probe_few_shot(Oracle(answer), FewShotConfig(shots=(16,)))


def test_tables_are_sound():
  for task in ("addition", *PAIRS):
    pairs = task_pairs(task)
    assert len(pairs) > 24 and len({q for q, _ in pairs}) == len(pairs)
    assert all(q and a and q != a for q, a in pairs)
  assert ("3 + 9", "12") in task_pairs("addition")
  assert len({q for q, _ in QUESTIONS}) == len(QUESTIONS) >= 24
  assert len(WELL_KNOWN) >= 24


# --- an assistant by prompt ---------------------------------------------------


def test_answers_are_whole_words():
  assert contains_answer("It is PARIS.", ("Paris",))
  assert contains_answer("They have 8 legs", ("eight", "8"))
  assert not contains_answer("18 legs", ("8",))
  assert not contains_answer("Parisian", ("Paris",))


def test_an_assistant_only_within_a_conversation():
  def answer(prompt, _):
    question = prompt.removesuffix("\nAssistant:").split("\n")[-1]
    if "Assistant:" not in prompt:
      return " is a question that many ask themselves."
    answers = dict(QUESTIONS)[question.removeprefix("Person: ")]
    return f" {answers[0]}.\n\nPerson: Thank you!"
  found = probe_prompted_assistant(Oracle(answer), PromptedAssistantConfig())
  rows = {r["prompt"]: r for r in found["rows"]}
  assert rows["conversation"]["answered"] == 1.0
  assert rows["conversation"]["ended"] == 1.0
  assert rows["question alone"]["answered"] < 0.1
  assert rows["question alone"]["ended"] == 0.0
  assert not any("Thank" in e["continued"] for e in found["examples"])


# --- hallucination ------------------------------------------------------------


def test_agreement_by_hand():
  assert agreement(["1", "1", "1"]) == 1.0
  assert agreement(["1", "1", "2", None]) == pytest.approx(1 / 6)
  assert agreement([None, None]) == 0.0
  assert year_in(" 1879, in Ulm") == "1879" and year_in(" of the dog") is None
  assert year_in(" 12345 or 476") == "476"


def test_one_who_knows_and_one_who_invents():
  def answer(prompt, i):
    name = prompt.removesuffix(" was born in the year")
    return f" {WELL_KNOWN.get(name, 1700 + i)}, and so on"
  found = probe_hallucination(Oracle(answer), HallucinationConfig(
      names=5, samples=4))
  known, invented = found["rows"]
  assert (known["gives_a_year"], known["agreement"], known["right"]) == (
      1, 1, 1)
  assert (invented["gives_a_year"], invented["agreement"],
          invented["right"]) == (1, 0, 0)
  assert len(found["examples"]) == 10


def test_invented_people_are_many_and_reproducible():
  names = invented_names(50, 0)
  assert len(set(names)) == 50 and names == invented_names(50, 0)
  assert names != invented_names(50, 1)
  texts = invented_biographies(20, 0)
  assert len(set(texts)) == 20 and all(len(t) > 400 for t in texts)


# --- the model and the table --------------------------------------------------


@pytest.fixture(scope="module")
def model():
  params = jax.jit(init_params, static_argnums=1)(jax.random.key(0), MODEL)
  return probes.BaseModel(params, MODEL, BYTES, batch_size=4)


@pytest.mark.slow
def test_batches_do_not_change_what_is_drawn(model):
  prompts = [model.encode(text) for text in ("a", "bb", "ccc", "d", "ee")]
  assert prompts[1] == [BYTES.endoftext_id, *BYTES.encode("bb")]
  whole = dataclasses.replace(model, batch_size=16)
  for options in ({}, {"temperature": 1.0, "samples": 2}):
    one, other = (m.continue_all(prompts, 4, **options)
                  for m in (model, whole))
    assert one == other
    assert [len(each) for each in one] == [options.get("samples", 1)] * 5
  assert len({each.tokens for row in one for each in row}) > 1


def test_a_prompt_and_its_continuation_must_fit(model):
  with pytest.raises(ConfigError, match="positions"):
    model.continue_all([[1] * 500], 40)


def test_intervals_and_table():
  row = {"group": "x", **probes.share("hits", [True, False, False, False]),
         **probes.mean("length", [0.0, 2.0], most=2.0)}
  assert row["hits"] == 0.25 and row["length"] == 1.0
  assert (row["length_low"], row["length_high"]) == (0.0, 2.0)
  text = probes.table([row, row])
  assert text.splitlines()[0].split() == ["group", "hits", "length"]
  assert "0.25 [0.0456, 0.699]" in text
