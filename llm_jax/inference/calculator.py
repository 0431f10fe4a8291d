"""Arithmetic in text, exact where it can be: no program, only numbers.

Whole numbers and decimal fractions are computed with as they are written, so
0.1 + 0.2 is 0.3 and 1/3*3 is 1; what has no exact value (a square root, a
sine) is a float. Python's grammar reads the expression, and this file walks
over what it made; whatever is no number, operator or function of `_FUNCTIONS`
is refused, and so are numbers that would become too large to be of use.
"""

from __future__ import annotations

import ast
import decimal
import math
import operator
from collections.abc import Callable
from fractions import Fraction

Number = int | Fraction | float

MAX_CHARACTERS = 500
_MAX_BITS = 2048  # of a numerator or denominator: about 600 digits
_MAX_DECIMALS = 20  # written out where a fraction has so many
_DIGITS = 12  # of a number that is not exact, or too long to be written so
_SIGNS = str.maketrans({"^": "**", "×": "*", "·": "*", "÷": "/", "−": "-",
                        "–": "-"})


class CalculatorError(ValueError):
  """What is wrong with an expression, for who wrote it."""


def calculate(expression: str) -> str:
  """The value of an arithmetic expression, written out.

  Args:
    expression: numbers with + - * / // % ** (or ^) ( ), and functions.

  Raises:
    CalculatorError: with a sentence on what is wrong with it.
  """
  if len(expression) > MAX_CHARACTERS:
    raise CalculatorError(f"the expression has {len(expression)} characters; "
                          f"at most {MAX_CHARACTERS} are read")
  text = expression.translate(_SIGNS).strip().removesuffix("=").strip()
  try:
    tree = ast.parse(text, mode="eval")
  except (SyntaxError, ValueError, RecursionError, MemoryError):
    raise CalculatorError(f"{expression!r} is not an arithmetic expression"
                          ) from None
  try:
    return written(_value(tree.body, text))
  except ZeroDivisionError:
    raise CalculatorError("division by zero") from None
  except (OverflowError, RecursionError):
    raise CalculatorError(_TOO_LARGE) from None


def written(value: Number) -> str:
  """A number as text: all digits of a whole number or a short decimal
  fraction, else 12 significant ones."""
  if isinstance(value, float):
    if not math.isfinite(value):
      raise CalculatorError(_TOO_LARGE)
    return f"{value:.{_DIGITS}g}"
  if value.denominator == 1:
    return str(value.numerator)
  twos = (value.denominator & -value.denominator).bit_length() - 1
  fives, rest = 0, value.denominator >> twos
  while rest % 5 == 0:
    fives, rest = fives + 1, rest // 5
  if rest == 1 and max(twos, fives) <= _MAX_DECIMALS:
    places = max(twos, fives)
    digits = str(abs(value.numerator) * 10**places // value.denominator)
    digits = digits.zfill(places + 1)
    sign = "-" if value < 0 else ""
    return f"{sign}{digits[:-places]}.{digits[-places:]}"
  quotient = decimal.Context(prec=_DIGITS).divide(
      decimal.Decimal(value.numerator), decimal.Decimal(value.denominator))
  return f"{quotient.normalize():g}"


def _value(node: ast.expr, text: str) -> Number:
  if isinstance(node, ast.Constant):
    return _constant(node, text)
  if isinstance(node, ast.UnaryOp) and type(node.op) in _SIGN:
    return _SIGN[type(node.op)](_value(node.operand, text))
  if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
    left, right = _value(node.left, text), _value(node.right, text)
    return _bounded(_OPERATORS[type(node.op)](left, right))
  if isinstance(node, ast.Name) and node.id in _CONSTANTS:
    return _CONSTANTS[node.id]
  if (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
      and node.func.id in _FUNCTIONS and not node.keywords):
    return _called(node.func.id, [_value(each, text) for each in node.args])
  if isinstance(node, ast.Tuple):
    raise CalculatorError("write numbers without commas, as 12000")
  part = ast.get_source_segment(text, node) or text
  raise CalculatorError(
      f"{part!r} is not arithmetic; there are numbers, + - * / // % ** and "
      f"{', '.join(_FUNCTIONS)}")


def _constant(node: ast.Constant, text: str) -> Number:
  if type(node.value) is int:
    return _bounded(node.value)
  if type(node.value) is not float:
    raise CalculatorError(f"{node.value!r} is not a number")
  exact = decimal.Decimal(ast.get_source_segment(text, node))
  if abs(exact.adjusted()) > _MAX_BITS // 4:  # 1e999999999 has few characters
    raise CalculatorError(_TOO_LARGE)
  return _simple(Fraction(exact))


def _called(name: str, values: list[Number]) -> Number:
  try:
    return _bounded(_FUNCTIONS[name](*values))
  except (TypeError, ValueError) as error:
    if isinstance(error, CalculatorError):
      raise
    given = ", ".join(map(written, values))
    raise CalculatorError(f"{name}({given}) has no value") from None


def _bounded(value: Number) -> Number:
  """`value`, a whole number as `int`; refused where it is too long."""
  if isinstance(value, complex):
    raise CalculatorError("the result is not a real number")
  if isinstance(value, float):
    return value
  if max(value.numerator.bit_length(),
         value.denominator.bit_length()) > _MAX_BITS:
    raise CalculatorError(_TOO_LARGE)
  return _simple(value)


def _simple(value: int | Fraction) -> int | Fraction:
  return value.numerator if value.denominator == 1 else value


def _divide(left: Number, right: Number) -> Number:
  if isinstance(left, float) or isinstance(right, float):
    return left / right
  return Fraction(left, right)


def _power(base: Number, exponent: Number) -> Number:
  if isinstance(base, float) or not isinstance(exponent, int):
    return float(base) ** float(exponent)
  length = max(base.numerator.bit_length(), base.denominator.bit_length())
  if abs(exponent) * max(length - 1, 1 if abs(base) > 1 else 0) > _MAX_BITS:
    raise CalculatorError(_TOO_LARGE)
  return Fraction(base) ** exponent


def _square_root(value: Number) -> Number:
  if not isinstance(value, float) and value >= 0:
    root = Fraction(math.isqrt(value.numerator), math.isqrt(value.denominator))
    if root * root == value:
      return root
  return math.sqrt(value)


def _round(value: Number, places: Number = 0) -> Number:
  if not isinstance(places, int) or abs(places) > _MAX_DECIMALS:
    raise ValueError
  return round(value, places)


def _factorial(value: Number) -> int:
  if not isinstance(value, int):
    raise ValueError
  if value > 300:
    raise CalculatorError(_TOO_LARGE)
  return math.factorial(value)


_TOO_LARGE = "the result is too large"
_SIGN: dict[type, Callable] = {ast.UAdd: operator.pos, ast.USub: operator.neg}
_OPERATORS: dict[type, Callable] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul,
    ast.Div: _divide, ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod,
    ast.Pow: _power}
_CONSTANTS = {"pi": math.pi, "e": math.e}
_FUNCTIONS: dict[str, Callable] = {
    "sqrt": _square_root, "abs": abs, "round": _round, "floor": math.floor,
    "ceil": math.ceil, "min": min, "max": max, "gcd": math.gcd,
    "lcm": math.lcm, "factorial": _factorial, "exp": math.exp,
    "log": math.log, "ln": math.log, "log2": math.log2, "log10": math.log10,
    "sin": math.sin, "cos": math.cos, "tan": math.tan}
