"""Traces of chosen steps, and what devices say of their memory."""

import gzip
import json

import jax
import jax.numpy as jnp
import pytest

from llm_jax import metrics, profiling
from llm_jax.config import ConfigError, LoggingConfig


def traced_steps(workdir):
  """Step numbers of the marks in the one trace below `workdir`."""
  (path,) = (workdir / profiling.TRACES).glob("**/*.trace.json.gz")
  with gzip.open(path) as file:
    events = json.load(file)["traceEvents"]
  return sorted(int(e["args"]["step_num"]) for e in events
                if e.get("name") == "train" and "step_num" in e.get("args", {}))


def train(workdir, profile_steps, num_steps=6, start_step=0):
  config = LoggingConfig(every=1, tensorboard=False,
                         profile_steps=profile_steps)
  config.validate()
  step_fn = jax.jit(lambda x: x + 1)
  with metrics.MetricLogger(workdir, config, num_steps, start_step) as logger:
    x = jnp.zeros(())
    for step in range(start_step + 1, num_steps + 1):
      x = step_fn(x)
      logger.log(step, {"loss": x})


@pytest.mark.parametrize("profile_steps, start_step, found", [
    ("1:3", 0, [1, 2]), ("3:5", 0, [3, 4]), ("5:99", 0, [5, 6]),
    ("3:5", 2, [3, 4])])
@pytest.mark.slow
def test_the_steps_asked_for_are_traced(tmp_path, capsys, profile_steps,
                                        start_step, found):
  train(tmp_path, profile_steps, start_step=start_step)
  assert traced_steps(tmp_path) == found
  assert "xprof" in capsys.readouterr().out


@pytest.mark.parametrize("profile_steps, start_step", [("", 0), ("3:5", 3),
                                                       ("8:9", 0)])
def test_other_runs_have_no_trace(tmp_path, profile_steps, start_step):
  train(tmp_path, profile_steps, start_step=start_step)
  assert not (tmp_path / profiling.TRACES).exists()


@pytest.mark.parametrize("profile_steps", ["10", "5:5", "0:3", "a:b", "7:3"])
def test_steps_that_are_none_are_refused(profile_steps):
  with pytest.raises(ConfigError, match="logging.profile_steps.*FIRST:END"):
    LoggingConfig(profile_steps=profile_steps).validate()


class Device:
  def __init__(self, stats):
    self.stats = stats

  def memory_stats(self):
    return self.stats


def test_the_fullest_device_counts(monkeypatch):
  gib = 2**30
  monkeypatch.setattr(jax, "local_devices", lambda: [
      Device({"bytes_in_use": gib, "peak_bytes_in_use": 3 * gib}),
      Device({"bytes_in_use": 2 * gib, "peak_bytes_in_use": 2 * gib,
              "bytes_limit": 16 * gib})])
  assert profiling.device_memory() == {
      "hbm_gib": 2.0, "hbm_peak_gib": 3.0, "hbm_limit_gib": 16.0}


def test_a_device_that_does_not_tell_is_left_out(monkeypatch):
  monkeypatch.setattr(jax, "local_devices", lambda: [Device(None)])
  assert profiling.device_memory() == {}
