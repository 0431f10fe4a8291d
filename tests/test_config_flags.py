"""Flags and JSON of configs: precedence, help, and what mistakes are told."""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys

import pytest

from llm_jax import config, config_flags, config_tree
from llm_jax.config import ConfigError, setting

ROOT = pathlib.Path(__file__).parents[1]
EXPERIMENTS = [value for value in vars(config).values()
               if isinstance(value, type)
               and (value.__doc__ or "").startswith("experiments/")]


@dataclasses.dataclass(frozen=True)
class Part:
  rate: float = setting(0.5, "a rate")
  names: tuple[str, ...] = setting(("a", "b"), "some names")
  sizes: tuple[int, ...] = setting((), "some sizes")


@dataclasses.dataclass(frozen=True)
class Root:
  part: Part = setting(Part(rate=0.25), "a part")
  steps: int = setting(10, "how many steps")
  fast: bool = setting(False, "whether to hurry")
  loud: bool = setting(True, "whether to shout")
  text: str = setting("", "any text")

  def validate(self):
    config.require(self.steps > 0, f"steps is {self.steps}; give some.")


def parse(*arguments, config_cls=Root):
  return config_flags.parse(config_cls, ["program", *arguments])


def config_file(path, body):
  path.write_text("from llm_jax import config\n" + body)
  return f"--config={path}"


def test_typed_flags_of_every_kind():
  got = parse("--steps=3", "--fast", "--noloud", "--text", "a b",
              "--part.rate", "-1e-3", "--part.names=x,y z",
              "--part.sizes=1,2,3")
  assert got == Root(Part(-1e-3, ("x", "y z"), (1, 2, 3)), 3, True, False,
                     "a b")
  assert parse("--fast=true", "--loud=False") == Root(fast=True, loud=False)


def test_a_list_can_hold_a_comma_and_be_empty():
  assert parse('--part.names="a, b",c').part.names == ("a, b", "c")
  assert parse("--part.names=").part.names == ()


def test_without_flags_all_defaults_also_those_a_parent_gives():
  assert parse() == Root()
  assert parse("--part.names=z").part.rate == 0.25  # Root's, not Part's 0.5


def test_default_then_file_then_typed_flag(tmp_path):
  file = config_file(tmp_path / "c.py", """
def get_config():
  return config.PretrainConfig(num_steps=7, batch_size=3, seed=4)
""")
  got = parse(file, "--batch_size=6", config_cls=config.PretrainConfig)
  assert (got.num_steps, got.batch_size) == (7, 6)
  assert got.seq_len == config.PretrainConfig().seq_len
  # A flag typed with the dataclass's own default still beats the file.
  got = parse(file, "--seed=0", config_cls=config.PretrainConfig)
  assert got.seed == 0


def test_members_of_a_group_set_at_once():
  got = parse("--mesh=fsdp=64,tensor=4", "--mesh.data=1",
              config_cls=config.PretrainConfig).mesh
  assert (got.data, got.fsdp, got.tensor) == (1, 64, 4)
  # A plain flag may hold such a text.
  assert parse("--text=part=a,rate=b").text == "part=a,rate=b"
  with pytest.raises(ConfigError, match="--mesh.data, or several at once"):
    parse("--mesh=fsdp=2,tensr=4", config_cls=config.PretrainConfig)


def test_an_experiment_reads_files_of_the_one_that_it_extends(tmp_path):
  file = config_file(tmp_path / "c.py", """
def get_config():
  return config.PretrainConfig(num_steps=7, batch_size=3)
""")
  got = parse(file, "--topology=v5e:2x2",
              config_cls=config.CompileForTpuConfig)
  assert (got.num_steps, got.batch_size, got.topology) == (7, 3, "v5e:2x2")


@pytest.mark.parametrize("config_cls", EXPERIMENTS)
def test_every_experiment_has_flags_help_and_json(config_cls):
  leaves = config_tree.leaves(config_cls)
  help_text = config_flags.help_text(config_cls())
  for leaf in leaves:
    assert leaf.help, f"{leaf.name} has no help"
    assert f"--{leaf.name}=<" in help_text
  assert all(len(line) <= 80 for line in help_text.split("\n")
             if "(default" not in line)
  saved = json.loads(json.dumps(config_tree.to_dict(config_cls())))
  assert config_tree.from_dict(config_cls, saved) == config_cls()
  # Every default, typed as --help shows it, is read back as itself.
  values = config_tree.flatten(config_cls())
  flags = config_flags._flag_values(config_cls)
  for leaf in leaves:
    shown = config_flags._as_typed(values[leaf.name])
    flags([".", f"--{leaf.name}={'' if shown == chr(39) * 2 else shown}"])
    assert flags[leaf.name].value == values[leaf.name]


@pytest.mark.parametrize("argument, sentence", [
    ("--optimzer.learning_rate=1", "Unknown flag --optimzer.learning_rate; did "
     "you mean --optimizer.learning_rate?"),
    ("--learning_rate=1", "did you mean --optimizer.learning_rate?"),
    ("--batch-size=1", "did you mean --batch_size?"),
    ("--nologging.tensorbord", "did you mean --nologging.tensorboard?"),
    ("--zzzz=1", "Unknown flag --zzzz; --help lists all flags."),
    ("--optimizer=adamw", "such as --optimizer.name"),
    ("--batch_size=abc", "--batch_size=abc: give a whole number"),
    ("--batch_size=1.5", "--batch_size=1.5: give a whole number"),
    ("--optimizer.b1=x", "--optimizer.b1=x: give a number"),
    ("--logging.tensorboard=maybe", "give true or false"),
    ('--sample_prompts="a', "--sample_prompts"),
    ("--batch_size", "Missing value for flag --batch_size"),
    ("stray", "'stray' stands alone"),
    ("--optimizer.schedule=cosin", "optimizer.schedule is 'cosin'"),
    ("--config=no/such.py", "--config=no/such.py: there is no such file"),
])
def test_mistakes_on_the_command_line_are_told(argument, sentence):
  with pytest.raises(ConfigError) as error:
    parse(argument, config_cls=config.PretrainConfig)
  assert sentence in str(error.value)
  assert "\n" not in str(error.value)


@pytest.mark.parametrize("body, sentence", [
    ("x = 1\n", "no function get_config()"),
    ("def get_config(:\n", "(line 2)"),
    ("def get_config():\n  return config.SftConfig()\n",
     "returns a SftConfig, but this one takes a PretrainConfig"),
    ("def get_config():\n  return config.PretrainConfig(sed=1)\n",
     "(line 3): TypeError"),
    ("def get_config():\n  return config.PretrainConfig(seed='1')\n",
     "seed='1', but seed is of type int"),
    ("def get_config():\n  return config.PretrainConfig(seed=True)\n",
     "seed=True, but seed is of type int"),
])
def test_mistakes_in_a_config_file_are_told(tmp_path, body, sentence):
  file = config_file(tmp_path / "c.py", body)
  with pytest.raises(ConfigError) as error:
    parse(file, config_cls=config.PretrainConfig)
  assert sentence in str(error.value)
  assert str(tmp_path / "c.py") in str(error.value)


def test_a_config_file_may_give_lists_and_whole_numbers(tmp_path):
  file = config_file(tmp_path / "c", """
def get_config():
  return config.PretrainConfig(
      sample_prompts=["a"], optimizer=config.OptimizerConfig(clip_norm=1))
""")
  got = parse(file, config_cls=config.PretrainConfig)
  assert got.sample_prompts == ("a",)
  assert isinstance(got.optimizer.clip_norm, float)
  hash(got)  # so it can be a static argument of jit


DIAL = """
def get_config(depth: int = 12, wide: bool = False):
  return config.PretrainConfig(batch_size=depth, model=config.ModelConfig(
      embed_dim=depth * (128 if wide else 64)))
"""


def test_a_config_file_takes_arguments(tmp_path):
  file = config_file(tmp_path / "c.py", DIAL)
  for arguments, batch, width in (("", 12, 768), (":depth=3", 3, 192),
                                  (":depth=3,wide=true", 3, 384)):
    got = parse(file + arguments, config_cls=config.PretrainConfig)
    assert (got.batch_size, got.model.embed_dim) == (batch, width)


@pytest.mark.parametrize("arguments, sentence", [
    (":dept=3", "its get_config has no argument 'dept'; it has depth, wide."),
    (":depth", "'depth' after the file is not NAME=VALUE."),
    (":depth=deep", "its depth is of type int, which 'deep' is not."),
    (":wide=perhaps", "its wide is of type bool, which 'perhaps' is not."),
])
def test_mistaken_arguments_are_told(tmp_path, arguments, sentence):
  file = config_file(tmp_path / "c.py", DIAL)
  with pytest.raises(ConfigError) as error:
    parse(file + arguments, config_cls=config.PretrainConfig)
  assert sentence in str(error.value)


def test_json_of_older_and_of_mistaken_configs():
  assert config_tree.from_dict(Root, {"part": {"rate": 2}}) == Root(
      Part(rate=2.0))
  with pytest.raises(ConfigError, match="'part.rat'.*did you mean 'part.rate'"):
    config_tree.from_dict(Root, {"part": {"rat": 2}}, "c.json")
  with pytest.raises(ConfigError, match="group of settings"):
    config_tree.from_dict(Root, {"part": 3})


def test_override_by_dotted_names():
  got = config_tree.override(Root(), {"part.rate": 3.0, "steps": 1})
  assert got == Root(part=Part(rate=3.0), steps=1)
  with pytest.raises(ConfigError, match="type int"):
    config_tree.override(Root(), {"steps": "1"})


def test_a_field_no_flag_can_carry_is_refused():
  @dataclasses.dataclass(frozen=True)
  class Odd:
    table: dict = setting(None, "a dict")
  # The class is local: its annotations are real types, not strings.
  with pytest.raises(TypeError, match="Odd.table"):
    config_tree.leaves(Odd)


PROGRAM = '''"""Tries things."""
import sys
from llm_jax import config_flags
from llm_jax.config import ConfigError, PretrainConfig

def run(config):
  from absl import logging
  logging.info("chatter")
  print("running", config.seed)
  if config.seed == 13:
    raise ConfigError("13 is no seed.")
  if config.seed == 14:
    raise RuntimeError("a fault of ours")
  return {"a": "result"}

if __name__ == "__main__":
  try:
    config_flags.launch(PretrainConfig, run)
  finally:
    print("heavy:", [m for m in ("jax", "numpy", "flax") if m in sys.modules])
'''


def launch(tmp_path, *arguments):
  (tmp_path / "program.py").write_text(PROGRAM)
  return subprocess.run(
      [sys.executable, "program.py", *arguments], cwd=tmp_path, text=True,
      capture_output=True, env=os.environ | {"PYTHONPATH": str(ROOT)})


def test_help_ends_0_and_imports_nothing_heavy(tmp_path):
  got = launch(tmp_path, "--help")
  assert got.returncode == 0, got.stderr
  assert got.stdout.startswith("Tries things.")
  assert "  --optimizer.learning_rate=<float>  (default: 0.003)" in got.stdout
  assert "peak learning rate" in got.stdout
  assert "heavy: []" in got.stdout


def test_help_into_a_pipe_that_closes_early(tmp_path):
  (tmp_path / "program.py").write_text(PROGRAM)
  # `true` is gone long before Python has anything to say.
  command = f"{{ {sys.executable} program.py --help; echo $? >&2; }} | true"
  got = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True,
                       text=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
  assert got.stderr == "0\n"


def test_help_shows_the_defaults_of_the_config_file(tmp_path):
  file = config_file(tmp_path / "c.py", """
def get_config():
  return config.PretrainConfig(batch_size=17)
""")
  got = launch(tmp_path, file, "--help")
  assert got.returncode == 0
  assert "  --batch_size=<int>  (default: 17)" in got.stdout


@pytest.mark.parametrize("argument, told", [
    ("--sede=1", "Unknown flag --sede; did you mean --seed?\n"),
    ("--seed=x", "flag --seed=x: give a whole number, such as 32.\n"),
    ("--num_steps=0", "num_steps is 0; it must be positive.\n"),
    ("--seed=13", "13 is no seed.\n"),
])
def test_a_mistake_is_one_sentence_and_exit_code_2(tmp_path, argument, told):
  got = launch(tmp_path, argument)
  assert (got.returncode, got.stderr) == (2, told)


def test_a_run_that_works_ends_0_and_one_that_breaks_shows_its_trace(tmp_path):
  got = launch(tmp_path, "--seed=5")
  assert got.returncode == 0, got.stderr
  assert "running 5" in got.stdout
  assert not got.stderr  # neither the result nor the libraries' INFO lines
  assert "chatter" in launch(tmp_path, "--verbosity", "0", "--seed=5").stderr
  got = launch(tmp_path, "--seed=14")
  assert got.returncode == 1
  assert "RuntimeError: a fault of ours" in got.stderr
