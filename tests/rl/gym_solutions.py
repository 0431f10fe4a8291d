"""Right and wrong answers to problems of reasoning-gym.

Most families give an answer with each problem. Of five that give none, three
have one among the metadata, and the other two are solved here.
"""

import collections
import json

# Families that need settings, or are slow or hard to solve without.
SETTINGS = {
    "composite": ('datasets=[{"name": "gcd", "weight": 1, "config": {}}, '
                  '{"name": "lcm", "weight": 2, "config": {}}]',),
    "rush_hour": ("max_moves=12",),
}


def right_answer(family, problem):
  """An answer that should get full marks."""
  metadata = problem.columns["metadata"]
  if family == "graph_color":
    return json.dumps(metadata["possible_answer"])
  if family == "propositional_logic":
    return metadata["example_answer"]
  if family == "rubiks_cube":
    return metadata["example_correct_answer"]
  if family == "boxnet":
    return json.dumps(boxes_moved(metadata["initial_state"]))
  if family == "rush_hour":
    return cars_moved(metadata["board_config"])
  assert problem.answer
  return problem.answer


def wrong_answer(family, problem):
  """One that should not."""
  if family == "game_of_life_halting":  # which once took any text
    return {"True": "False", "False": "True"}[problem.answer]
  return "xyzzy"


def boxes_moved(state):
  """A plan of boxnet: each box walks to a target of its colour."""
  plan = []
  for place, things in state.items():
    for box in (t for t in things if t.startswith("box_")):
      target = box.replace("box_", "target_")
      x, y = map(float, place.split("_"))
      goal = next(p for p, there in state.items() if target in there)
      goal_x, goal_y = map(float, goal.split("_"))
      while (x, y) != (goal_x, goal_y):
        next_x = x + (goal_x > x) - (goal_x < x)
        next_y = y if next_x != x else y + (goal_y > y) - (goal_y < y)
        plan.append({f"Agent[{x}, {y}]":
                     f"move({box}, square[{next_x}, {next_y}])"})
        x, y = next_x, next_y
      plan.append({f"Agent[{x}, {y}]": f"move({box}, {target})"})
  return plan


def cars_moved(board, size=6):
  """Moves of Rush Hour, by breadth-first search: A to the right edge."""
  walls = {i for i, c in enumerate(board) if c == "x"}
  labels = sorted(set(board) - {"o", "x"})
  cars = [[i for i, c in enumerate(board) if c == label] for label in labels]
  strides = [car[1] - car[0] for car in cars]
  lengths = [len(car) for car in cars]
  start = tuple(car[0] for car in cars)
  came = {start: None}
  waiting = collections.deque([start])
  while waiting:
    state = waiting.popleft()
    if (state[0] + lengths[0]) % size == 0:
      moves = []
      while came[state] is not None:
        state, move = came[state]
        moves.append(move)
      return " ".join(reversed(moves))
    taken = walls | {first + i * stride for first, stride, length
                     in zip(state, strides, lengths) for i in range(length)}
    for car, (first, stride, length) in enumerate(
        zip(state, strides, lengths)):
      for way, cell in ((-1, first - stride), (1, first + length * stride)):
        inside = 0 <= cell < size * size and (
            stride != 1 or cell // size == first // size)
        if inside and cell not in taken:
          after = (*state[:car], first + way * stride, *state[car + 1:])
          if after not in came:
            came[after] = (state, f"{chr(ord('A') + car)}{way:+d}")
            waiting.append(after)
  raise AssertionError("no solution")
