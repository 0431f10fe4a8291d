"""Peak memory of a piece of work, measured in a process of its own.

Linux keeps a process's greatest resident memory (VmHWM), and lets it be set
back; what was there before the work (imports, inputs, a compiler's leavings)
is then taken off. A child's figure is its own: it is started anew, not forked.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any


def reset_peak() -> int:
  """Sets the peak back to what is resident now; returns that, in bytes."""
  with open("/proc/self/clear_refs", "w") as file:
    file.write("5")
  return _status("VmRSS")


def peak() -> int:
  """Greatest resident memory since `reset_peak`, in bytes."""
  return _status("VmHWM")


def _status(name: str) -> int:
  with open("/proc/self/status") as file:
    for line in file:
      if line.startswith(name + ":"):
        return 1024 * int(line.split()[1])
  raise RuntimeError(f"/proc/self/status has no {name}")


def in_child(module: str, *arguments: str) -> dict[str, Any]:
  """What `python -m module arguments` prints as its last line, as JSON."""
  done = subprocess.run([sys.executable, "-m", module, *arguments],
                        capture_output=True, text=True, check=False)
  if done.returncode:
    raise RuntimeError(f"{module} {' '.join(arguments)}: {done.stderr[-3000:]}")
  return json.loads(done.stdout.splitlines()[-1])
