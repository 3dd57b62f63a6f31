"""Read the trailing comments of fields and constants from the source: they are this project's documentation of fields.

In:  a dataclass, or the text of a module.
Out: comments_of: (class name or "", name) -> comment. fields_of: the fields of a dataclass with default and comment. Help texts
     and the documentation use them. Where an installation has no sources, comments are "".
"""

import ast
import inspect
import io
import sys
import tokenize
from dataclasses import MISSING, dataclass, fields
from functools import cache

__all__ = ["DocumentedField", "comments_of", "fields_of"]


@dataclass(frozen=True)
class DocumentedField:
    """One field of a frozen dataclass."""

    name: str
    default: object                   # MISSING: the field has none
    comment: str                      # "" if it has none
    owner: str                        # the class that declares it last


def comments_of(text: str) -> dict[tuple[str, str], str]:
    """Return the comment behind each assignment of a module and of its classes, continuation lines joined.

    >>> comments_of("class A:\\n    x: int = 3   # px; the\\n                 # paper's\\n    y: int = 4\\nZ = 1  # last\\n")
    {('A', 'x'): "px; the paper's", ('', 'Z'): 'last'}
    >>> comments_of("# What it is.\\nZ = (1,)\\n")
    {('', 'Z'): 'What it is.'}
    """
    lines = text.splitlines()
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    comments = {token.start[0]: token.string.lstrip("# ").rstrip() for token in tokens if token.type == tokenize.COMMENT}
    found = {}
    for owner, node in _assignments(ast.parse(text)):
        line = node.end_lineno
        if line not in comments:
            parts = [] if owner else _above(lines, comments, node.lineno - 1)
            found |= {(owner, name): " ".join(parts) for name in _names(node) if parts}
            continue
        parts = [comments[line]]
        while line + 1 in comments and lines[line].lstrip().startswith("#") and _column(lines[line]) >= _column(lines[node.lineno - 1]) + 8:
            line += 1
            parts.append(comments[line])
        for name in _names(node):
            found[owner, name] = " ".join(parts)
    return found


def _above(lines: list[str], comments: dict[int, str], line: int) -> list[str]:
    """Return the lines of comment that stand right above a constant; `line` is the one before it, counted from 1."""
    parts: list[str] = []
    while line in comments and lines[line - 1].startswith("#") and not comments[line].startswith("---"):
        parts.insert(0, comments[line])
        line -= 1
    return parts


def fields_of(kind: type) -> list[DocumentedField]:
    """Return the fields of a dataclass in order, each with the comment of the class that declares it last with one."""
    found = []
    for one in fields(kind):
        owners = [base for base in kind.__mro__ if one.name in inspect.get_annotations(base)]
        comments = [_of_module(owner.__module__).get((owner.__name__, one.name), "") for owner in owners]
        comment, owner = next(filter(None, comments), ""), owners[0]
        default = one.default if one.default_factory is MISSING else one.default_factory()
        found.append(DocumentedField(one.name, default, comment, owner.__name__))
    return found


@cache
def _of_module(name: str) -> dict[tuple[str, str], str]:
    try:
        return comments_of(inspect.getsource(sys.modules[name]))
    except OSError:                   # installed without sources
        return {}


def _assignments(module: ast.Module):
    """Yield (class name or "", assignment) for module level and one level of classes."""
    for node in module.body:
        if isinstance(node, ast.ClassDef):
            yield from ((node.name, inner) for inner in node.body if isinstance(inner, ast.AnnAssign | ast.Assign))
        elif isinstance(node, ast.AnnAssign | ast.Assign):
            yield "", node


def _names(node) -> list[str]:
    targets = [node.target] if isinstance(node, ast.AnnAssign) else node.targets
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _column(line: str) -> int:
    return len(line) - len(line.lstrip())
