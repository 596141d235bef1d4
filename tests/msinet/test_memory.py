"""Freed memory stays in a loop and goes back to the system after it."""

import json
import platform
import subprocess
import sys

import pytest

PROGRAM = """
import gc, json, resource
from pathlib import Path
import numpy as np
from msinet.engine.memory import kept_memory

def faults():  # pages that the system had to give for 100 MB, the second time
    for _ in range(2):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        block = np.ones(100 * 2**20, np.uint8)
        del block
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024

start = resident()
try:
    with kept_memory():
        kept, held = faults(), resident() - start
        raise RuntimeError
except RuntimeError:
    after = resident() - start
print(json.dumps({"kept": kept, "held": held, "after": after, "usual": faults()}))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_memory_is_kept_while_it_lasts_also_when_it_ends_with_an_error() -> None:
    # Without the large pages of the system, which would give too few faults to count.
    environment = {"NUMPY_MADVISE_HUGEPAGE": "0"}
    ran = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=environment, check=False)
    assert ran.returncode == 0, ran.stderr
    figures = json.loads(ran.stdout)
    assert figures["kept"] < 1000
    assert figures["held"] > 90, "MB"
    assert figures["after"] < 20, "MB"
    assert figures["usual"] > 20_000
