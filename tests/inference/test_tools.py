"""Tools: what a model reads of them, and that nothing it writes raises."""

import json

import jsonschema
import pytest

from llm_jax.config import ConfigError
from llm_jax.config_tools import ProgramLimits, ToolsConfig
from llm_jax.inference.sandbox.monty import MontySandbox
from llm_jax.inference.sandbox.process import ProcessSandbox
from llm_jax.inference.search import Bm25Index, Hit
from llm_jax.inference.tools import (
    Tool, calculator_tool, call_tool, load_sandbox, load_tools, python_tool,
    search_tools)
from llm_jax.tokenizer.chat import tools_line
from llm_jax.tokenizer.messages import check_tools, tool_call

LIMITS = ProgramLimits(seconds=5, output_characters=100)
PAGES = [("Ada Lovelace", "Ada Lovelace was born in 1815. She wrote."),
         ("Paris", "Paris is a city. Ada never lived there.")]


@pytest.fixture(scope="module")
def tools(tmp_path_factory):
  folder = tmp_path_factory.mktemp("corpus")
  (folder / "pages.jsonl").write_text("".join(
      json.dumps({"title": title, "text": text}) + "\n"
      for title, text in PAGES))
  return load_tools(ToolsConfig(names=("python", "calculator", "search"),
                                corpus=str(folder)))


def test_their_schemas_are_openai_s(tools):
  schemas = [tool.schema for tool in tools]
  check_tools(schemas)
  assert tools_line(schemas) == ("Tools: python(code), calculator(expression)"
                                 ", search(query), open(title)")
  for schema in schemas:
    assert schema["type"] == "function" and schema["function"]["description"]
    parameters = schema["function"]["parameters"]
    jsonschema.Draft202012Validator.check_schema(parameters)
    assert parameters["required"] == list(parameters["properties"])


@pytest.mark.parametrize("name, argument, result", [
    ("python", "print(2 + 2)", "4"), ("python", "2 + 2", "4"),
    ("python", "print('a\\nb')\n'c'", "a\nb\n'c'"),
    ("python", "x = 1", "(no output)"), ("python", "", "(no output)"),
    ("calculator", "2 * (3 + 4)", "14"),
    ("calculator", "1/0", "Error: division by zero"),
    ("search", "ada lovelace",
     "Ada Lovelace: Ada Lovelace was born in 1815.\nParis: Paris is a city."),
    ("search", "zebra", "Nothing was found for 'zebra'."),
    ("open", "paris", "Paris is a city. Ada never lived there."),
    ("open", "Ada", "There is no page 'Ada'. There are: Ada Lovelace, Paris."),
    ("open", "zebra", "There is no page 'zebra'.")])
def test_results(tools, name, argument, result):
  tool = next(each for each in tools if each.name == name)
  (key,) = tool.parameters["required"]
  assert tool.run({key: argument}) == result
  assert call_tool(tools, tool_call(name, {key: argument}), 500) == result


def test_output_and_error_are_both_told(tools):
  result = tools[0].run({"code": "print(1)\n1/0"})
  first, second = result.split("\n")
  assert first == "1" and second.startswith("Error: ZeroDivisionError")


@pytest.mark.parametrize("arguments", [
    {}, {"x": "y"}, {"code": 3}, {"code": None}, {"code": ["x"]},
    {"code": True}, {"code": "1", "x": "y"}, {3: 4}])
def test_nothing_in_the_arguments_raises(tools, arguments):
  for tool in tools:
    assert tool.run(arguments).startswith("Error: ")


@pytest.mark.parametrize("arguments", ["", "{", "[1]", "x" * 10**6])
def test_no_text_of_arguments_raises(tools, arguments):
  result = call_tool(tools, tool_call("python", arguments), 200)
  assert "not a JSON object like {\"code\": \"...\"}" in result
  assert len(result) <= 200


def test_types_are_those_of_the_schema():
  tool = Tool("f", "", {"type": "object", "properties": {
      "n": {"type": "integer"}, "x": {}}}, str)
  assert call_tool([tool], tool_call("f", {"n": 1, "x": [2]}), 99) == (
      "{'n': 1, 'x': [2]}")


@pytest.mark.parametrize("characters", [1, 2, 10])
def test_results_are_cut(tools, characters):
  result = call_tool(tools, tool_call("open", {"title": "Paris"}), characters)
  assert len(result) == characters and result.endswith("…")


def test_a_search_service_fits():
  """Anything with two methods is a backend."""
  class Service:
    def search(self, query, limit):
      return [Hit(f"{query} {n}", "...") for n in range(limit)]

    def open(self, title):
      return "" if "2" in title else title.upper()

  search, open_page = search_tools(Service(), hits=2)
  assert search.run({"query": "x"}) == "x 0: ...\nx 1: ..."
  assert open_page.run({"title": "x 1"}) == "X 1"
  assert "There are: x 2 0, x 2 1" in open_page.run({"title": "x 2"})


def test_the_sandbox_is_chosen():
  assert isinstance(load_sandbox(ToolsConfig()), MontySandbox)
  config = ToolsConfig(names=("python",), sandbox="process",
                       allow_partial_sandbox=True)
  assert isinstance(load_sandbox(config), ProcessSandbox)
  (tool,) = load_tools(config)
  assert tool.run({"code": "import sys\nsys.flags.isolated"}) == "1"


def test_a_machine_that_cannot_hold_a_process_is_told(monkeypatch):
  monkeypatch.setattr("llm_jax.inference.sandbox.process.LAYERS", ("limits",))
  monkeypatch.setattr(ProcessSandbox.__init__, "__defaults__", (("limits",),))
  with pytest.raises(ConfigError, match="allow_partial_sandbox=true"):
    load_tools(ToolsConfig(names=("python",), sandbox="process"))


@pytest.mark.parametrize("settings, told", [
    ({"names": ("pyton",)}, "tools.names is 'pyton'; choose one of python"),
    ({"names": ("python", "python")}, "names one tool twice"),
    ({"sandbox": "docker"}, "tools.sandbox is 'docker'; choose one of monty"),
    ({"max_calls": 0}, "tools.max_calls is 0; it must be positive"),
    ({"hits": -1}, "tools.hits is -1"), ({"corpus": ""}, "corpus is empty"),
    ({"limits": ProgramLimits(seconds=0)}, "tools.limits.seconds is 0"),
    ({"limits": ProgramLimits(memory_mb=0)}, "tools.limits.memory_mb is 0"),
    ({"limits": ProgramLimits(recursion=3)}, "choose 10 to 5000"),
    ({"names": ("search",), "corpus": "nowhere.jsonl"}, "does not exist")])
def test_mistakes_are_told(settings, told):
  with pytest.raises(ConfigError, match=told):
    load_tools(ToolsConfig(**settings))


def test_limits_reach_the_program():
  tool = python_tool(MontySandbox(), LIMITS)
  assert tool.run({"code": "print('x' * 200)"}).startswith("x" * 100 + "\n")
  assert calculator_tool().run({"expression": "9**9**9"}) == (
      "Error: the result is too large")
  index = Bm25Index.build(PAGES)
  assert len(search_tools(index, 1)[0].run({"query": "ada"}).split("\n")) == 1
