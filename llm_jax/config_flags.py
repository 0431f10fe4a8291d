"""Config dataclasses as absl flags.

`launch(PretrainConfig, run)` is the last line of every experiment. Each leaf
of the config is one flag with a dotted name (`--optimizer.learning_rate=3e-4`),
and `--config=FILE` names a Python file whose `get_config()` returns a config.
Later wins: the dataclass's defaults, the file, the flags that were typed.

Flags live in a `FlagValues` of their own, made for one parse, rather than in
the global `absl.flags.FLAGS`: two experiments can then be parsed in one process
(a test, a notebook, the quickstart), and "typed" is simply `flag.present`.
absl's own flags (`--verbosity`, `--pdb`, ...) go to the global FLAGS as usual.

Nothing here imports JAX, so `--help` is instant and touches no device.
"""

from __future__ import annotations

import csv
import dataclasses
import importlib.machinery
import importlib.util
import inspect
import io
import os
import sys
import textwrap
import traceback
from collections.abc import Callable
from typing import Any, TypeVar

from absl import app, flags

from llm_jax.config import ConfigError
from llm_jax.config_tree import (
    Leaf, flatten, from_dict, leaves, nearest, override, to_dict)
from llm_jax.host_memory import keep_freed_memory

Config = TypeVar("Config")


_BOOLS = {"true": True, "1": True, "yes": True,
          "false": False, "0": False, "no": False}


class _Parser(flags.ArgumentParser):
  """Text of one flag -> value; its errors finish absl's "flag --x=y: "."""

  def __init__(self, leaf: Leaf):
    super().__init__()
    self._leaf = leaf

  def flag_type(self) -> str:
    return self._leaf.type_name

  def parse(self, argument: Any) -> Any:
    if not isinstance(argument, str):
      return argument  # absl passes defaults through here too
    if not self._leaf.is_tuple:
      return self._element(argument)
    # A row of CSV, so that an element may hold a comma when it is quoted.
    try:
      rows = list(csv.reader([argument], strict=True))
    except csv.Error as error:
      raise ValueError(f"{error}; give a,b,c.") from None
    return tuple(self._element(part) for part in rows[0]) if rows else ()

  def _element(self, text: str) -> Any:
    kind = self._leaf.type
    try:
      return _BOOLS[text.lower()] if kind is bool else kind(text)
    except (ValueError, KeyError):
      wanted = {int: "a whole number, such as 32", bool: "true or false",
                float: "a number, such as 3e-4"}[kind]
      raise ValueError(f"give {wanted}.") from None


def _flag_values(config_cls: type) -> flags.FlagValues:
  """Fresh absl flags: `--config`, `--help` and one for each leaf."""
  values = flags.FlagValues()
  # With GNU style, a leaf may follow one of absl's flags written in two words.
  values.set_gnu_getopt(True)
  flags.DEFINE_string("config", None, "Python file with get_config()",
                      flag_values=values)
  flags.DEFINE_bool("help", False, "show this", short_name="h",
                    flag_values=values)
  for name in ("helpfull", "helpshort"):
    flags.DEFINE_bool(name, False, "as --help", flag_values=values)
  for leaf in leaves(config_cls):
    flag = flags.Flag(_Parser(leaf), None, leaf.name, None, leaf.help,
                      boolean=leaf.type is bool and not leaf.is_tuple)
    flags.DEFINE_flag(flag, flag_values=values)
  return values


def _unknown_flag(argument: str, config_cls: type) -> ConfigError:
  name = argument.lstrip("-").split("=", 1)[0]
  names = [leaf.name for leaf in leaves(config_cls)] + ["config", "help"]
  members = [n for n in names if n.startswith(name + ".")]
  if members:
    member = members[0].removeprefix(name + ".")
    return ConfigError(f"--{name} is a group of settings, not a flag; set one "
                       f"of its members, such as --{members[0]}, or several "
                       f"at once, --{name}={member}=VALUE,...")
  names += ["no" + leaf.name for leaf in leaves(config_cls)
            if leaf.type is bool and not leaf.is_tuple]
  near = " or ".join("--" + n for n in nearest(name, names))
  return ConfigError(f"Unknown flag --{name}; " + (
      f"did you mean {near}?" if near else "--help lists all flags."))


def _ungrouped(argv: list[str], config_cls: type) -> list[str]:
  """`argv` with --group=a=1,b=2 as --group.a=1 --group.b=2."""
  names, found = [leaf.name for leaf in leaves(config_cls)], []
  for argument in argv:
    group, equals, text = argument.lstrip("-").partition("=")
    members = [part.partition("=") for part in text.split(",")]
    if (equals and argument.startswith("-")
        and all(f"{group}.{name}" in names and mark
                for name, mark, _ in members)):
      found += [f"--{group}.{name}={value}" for name, _, value in members]
    else:
      found.append(argument)
  return found


def load_config_file(path: str, config_cls: type[Config]) -> Config:
  """The config that `get_config()` of a Python file returns.

  Args:
    path: the file, or FILE:NAME=VALUE,... with arguments of its get_config.
    config_cls: root dataclass of the experiment.

  Raises:
    ConfigError: no such file, the file fails, it has no get_config, or that
      returns something other than a `config_cls` or a class it extends, or
      takes no such arguments.
  """
  flag = f"--config={path}"
  config = _config_of_file(path)
  if type(config) is not config_cls and issubclass(config_cls, type(config)):
    # An experiment that extends another one reads that one's files, too.
    config = config_cls(**{field.name: getattr(config, field.name)
                           for field in dataclasses.fields(config)})
  if not isinstance(config, config_cls):
    raise ConfigError(
        f"{flag} is for another experiment: its get_config() returns a "
        f"{type(config).__name__}, but this one takes a {config_cls.__name__}.")
  return from_dict(type(config), to_dict(config), flag)  # checks the types


def _config_of_file(path: str) -> Any:
  """What get_config() of the file returns; see `load_config_file`."""
  flag, given = f"--config={path}", ""
  if not os.path.isfile(path):
    path, _, given = path.rpartition(":")
  if not os.path.isfile(path):
    raise ConfigError(f"{flag}: there is no such file; give a Python file with "
                      "a get_config().")
  # An explicit loader, so that the file need not end in .py.
  loader = importlib.machinery.SourceFileLoader("config_file", path)
  module = importlib.util.module_from_spec(
      importlib.util.spec_from_loader("config_file", loader))
  try:
    loader.exec_module(module)
    if not callable(getattr(module, "get_config", None)):
      raise ConfigError("it has no function get_config()")
    return module.get_config(**_arguments(module.get_config, given))
  except Exception as error:
    name = "" if isinstance(error, ConfigError) else f"{type(error).__name__}: "
    line = _line_in(path, error)
    told = str(error).removesuffix(".")
    raise ConfigError(f"{flag} cannot be used{line}: {name}{told}.") from error


def _arguments(get_config: Callable[..., Any], given: str) -> dict[str, Any]:
  """NAME=VALUE,... as keyword arguments, of the types of their defaults."""
  defaults = {name: parameter.default for name, parameter
              in inspect.signature(get_config).parameters.items()}
  found = {}
  for part in given.split(",") if given else ():
    name, equals, text = part.partition("=")
    if not equals:
      raise ConfigError(f"{part!r} after the file is not NAME=VALUE")
    if name not in defaults:
      raise ConfigError(f"its get_config has no argument {name!r}; it has "
                        f"{', '.join(defaults) or 'none'}")
    kind = type(defaults[name])
    try:
      found[name] = _BOOLS[text.lower()] if kind is bool else kind(text)
    except (ValueError, KeyError):
      raise ConfigError(f"its {name} is of type {kind.__name__}, which "
                        f"{text!r} is not") from None
  return found


def _line_in(path: str, error: BaseException) -> str:
  """" (line n)" where `path` failed, if the error came from within it."""
  lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__)
           if frame.filename == path]
  if isinstance(error, SyntaxError):
    lines = [error.lineno]
  return f" (line {lines[-1]})" if lines else ""


def root_of(roots: tuple[type, ...], argv: list[str]) -> type:
  """Of an experiment's roots the one that takes the file of --config.

  Args:
    roots: dataclasses; the first is for a command line without a file.
    argv: as `sys.argv`.

  Raises:
    ConfigError: the file cannot be used.
  """
  values = flags.FlagValues()
  flags.DEFINE_string("config", None, "", flag_values=values)
  values.set_gnu_getopt(True)
  try:
    values(argv, known_only=True)
  except flags.Error:  # told by `parse`
    return roots[0]
  if not values.config:
    return roots[0]
  kind = type(_config_of_file(values.config))
  return next((root for root in roots if issubclass(root, kind)), roots[0])


def parse(config_cls: type[Config] | tuple[type, ...],
          argv: list[str]) -> Config:
  """The config that the command line `argv` asks for, validated.

  Args:
    config_cls: root dataclass of the experiment, or several, see `root_of`.
    argv: as `sys.argv`: the program's name first.

  Raises:
    ConfigError: any mistake in the command line or in the values.
    SystemExit: `--help` was typed; the help is on stdout.
  """
  if isinstance(config_cls, tuple):
    config_cls = root_of(config_cls, argv)
  values = _flag_values(config_cls)
  try:
    rest = values(_ungrouped(argv, config_cls), known_only=True)
    rest = flags.FLAGS(rest, known_only=True)[1:]
  except (flags.Error, ValueError) as error:
    raise ConfigError(str(error)) from None
  base = config_cls()
  if values.config:
    base = load_config_file(values.config, config_cls)
  if values.help or values.helpfull or values.helpshort:
    try:
      print(help_text(base), flush=True)
    except BrokenPipeError:  # `--help | head` has read enough
      os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(0)
  unknown = [a for a in rest if a.startswith("-") and a.strip("-")]
  if unknown:
    raise _unknown_flag(unknown[0], config_cls)
  if rest:
    raise ConfigError(f"{rest[0]!r} stands alone on the command line; every "
                      "setting is a flag, --name=value (quote spaces).")
  typed = {leaf.name: values[leaf.name].value for leaf in leaves(config_cls)
           if values[leaf.name].present}
  config = override(base, typed)
  if hasattr(config, "validate"):
    config.validate()
  return config


def _as_typed(value: Any) -> str:
  """A value as it would be typed after `--name=`."""
  if isinstance(value, tuple):
    row = io.StringIO()
    csv.writer(row, lineterminator="").writerow(value)
    return row.getvalue() if value else "''"
  return str(value).lower() if isinstance(value, bool) else str(value) or "''"


_USAGE = """
Usage: python -m {program} [--config=FILE] [--name=value ...]
Later wins: defaults, the config file, flags that are typed. Lists are comma
separated; a flag x of type bool is set by --x and cleared by --nox; of a group
several may be set at once, --group=a=1,b=2.

  --config=FILE[:NAME=VALUE,...]
      a Python file whose get_config() returns a {config}
      and what to call it with, as in configs/speedrun_d12.py:depth=20"""


def help_text(config: Any) -> str:
  """All flags of `config`'s class with help, type and `config`'s values."""
  main = sys.modules.get("__main__")
  spec = getattr(main, "__spec__", None)
  lines = [(getattr(main, "__doc__", None) or "").strip(),
           _USAGE.format(program=spec.name if spec else "experiments.NAME",
                         config=type(config).__name__)]
  values = flatten(config)
  groups = {f.name: f.metadata.get("help", "")
            for f in dataclasses.fields(config)}
  last_group = ""
  # Plain settings first, then group by group.
  for leaf in sorted(leaves(type(config)), key=lambda leaf: "." in leaf.name):
    group = leaf.name.split(".")[0] if "." in leaf.name else ""
    if group != last_group:
      lines += ["", f"{group}: {groups[group]}"]
      last_group = group
    lines.append(f"  --{leaf.name}=<{leaf.type_name}>  "
                 f"(default: {_as_typed(values[leaf.name])})")
    lines += textwrap.wrap(leaf.help, 78, initial_indent=" " * 6,
                           subsequent_indent=" " * 6)
  return "\n".join(lines).strip()


def launch(config_cls: type[Config] | tuple[type, ...],
           run: Callable[[Config], Any]) -> None:
  """Parses the command line and calls `run(config)`; never returns.

  A `ConfigError`, from the flags or from `run`, is printed as its one sentence
  and ends the process with exit code 2. Whatever `run` returns is dropped, as
  `app.run` would take it for an exit code.

  Args:
    config_cls: root dataclass of the experiment, or several, see `root_of`.
    run: the experiment; heavy imports belong inside it.
  """
  def told(call: Callable[[], Any]) -> Any:
    try:
      return call()
    except ConfigError as error:
      print(error, file=sys.stderr)
      sys.exit(2)

  def main(config: Config) -> None:
    keep_freed_memory()
    # app.run raises the verbosity to INFO, and libraries are talkative there.
    if not flags.FLAGS["verbosity"].present:
      flags.FLAGS["verbosity"].value = -1
    told(lambda: run(config))

  app.run(main, flags_parser=lambda argv: told(lambda: parse(config_cls, argv)))
