"""Run the Python blocks of the pages named on the command line, one namespace a page.

What a line gives is printed, as at Python's prompt: copy it into the page from here.
"""

import ast
import os
import re
import sys
import tempfile
import time
from pathlib import Path

import torch

torch.set_num_threads(1)


def run(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    namespace = {"__name__": path.stem}
    for block in re.finditer(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        before = "\n" * text[: block.start(1)].count("\n")  # a traceback names the page's line
        for statement in ast.parse(before + block[1]).body:
            exec(compile(ast.Interactive([statement]), str(path), "single"), namespace)  # noqa: S102


for path in [Path(name).resolve() for name in sys.argv[1:]]:
    print(f"-- {path.name}")
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:  # pages write files
        os.chdir(folder)
        run(path)
        os.chdir(path.parent)
    print(f"-- {path.name}: the code runs, {time.perf_counter() - started:.0f} s")
