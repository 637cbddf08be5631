"""Small masters: an answer to write and a check with a hidden test."""

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook


def notebook(*sources: str, solution: bool = False):
    cells = [new_code_cell(source, id=f"cell-{i}") for i, source in enumerate(sources)]
    if solution:
        cells[0].metadata["nbgrader"] = {"solution": True}
    return new_notebook(cells=[new_markdown_cell("# title", id="title"), *cells])


ANSWER = """def square(x):
    ### BEGIN SOLUTION
    if x:
        return x * x
    return 0
    ### END SOLUTION
"""
CHECK = """check(square)
### BEGIN HIDDEN TESTS
assert square(3) == 9
### END HIDDEN TESTS
"""


def write(path, *sources):
    nbformat.write(notebook(*sources), path)
    return path
