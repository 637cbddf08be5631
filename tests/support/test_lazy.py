"""`import mmlite` and then any submodule by its dotted name."""

import json
import pkgutil
import subprocess
import sys

import pytest

import mmlite
from mmlite import experiments

# each in a process of its own, so that none finds what another has imported
EACH_ALONE = """
import json, os, sys, torch, torchvision
missing = []
for name in json.loads(sys.argv[1]):
    if (child := os.fork()) == 0:
        import mmlite
        try:
            eval(name)
        except AttributeError:
            os._exit(1)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        missing.append(name)
print(json.dumps(missing))
"""


def test_every_submodule_is_there_after_import_mmlite():
    names = [
        one.name
        for one in pkgutil.walk_packages(mmlite.__path__, "mmlite.")
        # the grader's own rooms, and what runs when it is imported
        if not one.name.startswith("mmlite.grading.")
        and not one.name.endswith(("__main__", "make_fashion"))
    ]
    assert {"mmlite.experiments.runs", "mmlite.support.checks"} <= set(names)
    command = [sys.executable, "-c", EACH_ALONE, json.dumps(names)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert json.loads(said) == []


def test_a_name_that_is_no_submodule_is_refused_as_python_does():
    with pytest.raises(AttributeError, match=r"'mmlite.experiments' has no attribute 'runz'"):
        _ = experiments.runz
    assert not hasattr(experiments, "__wrapped__")
