"""Dotted names in, modules and lines out: where is a symbol that a page names, and which modules does a package have? No Sphinx here."""

import ast
import importlib
import inspect
import pkgutil
from pathlib import Path

__all__ = ["line_of", "modules_of", "resolve"]


def resolve(symbol: str) -> str:
    """Return the module in which a dotted name is found. Raises ImportError or AttributeError if it is not there."""
    parts = symbol.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for name in parts[cut:]:
            fields = getattr(found, "__dataclass_fields__", {})
            found = fields[name] if name in fields else getattr(found, name)
        return ".".join(parts[:cut])
    raise ImportError(f"no module begins {symbol}")


def line_of(symbol: str) -> tuple[str, int]:
    """Return (file, line) where a symbol is written down; of a field or method, in the class that declares it."""
    module = resolve(symbol)
    name, _, attribute = symbol.removeprefix(module).lstrip(".").partition(".")
    found = getattr(importlib.import_module(module), name)
    if not attribute:
        home = getattr(found, "__module__", module) if inspect.isclass(found) or inspect.isroutine(found) else module
        return _line(home, name)
    owner = next(kind for kind in found.__mro__ if attribute in vars(kind) or attribute in inspect.get_annotations(kind))
    return _line(owner.__module__, owner.__name__, attribute)


def _line(module: str, *names: str) -> tuple[str, int]:
    """Return file and line of a name at the top of a module, or of one inside a class there."""
    file = Path(importlib.import_module(module).__file__)
    node = ast.parse(file.read_text(encoding="utf-8"))
    for name in names:
        node = next(one for one in node.body if name in _named(one))
    root = Path(importlib.import_module(module.partition(".")[0]).__file__).parents[1]
    return file.relative_to(root).as_posix(), node.lineno


def _named(node: ast.stmt) -> list[str]:
    """Return the names that a statement gives."""
    if isinstance(node, ast.ClassDef | ast.FunctionDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [inner.id for target in targets for inner in ast.walk(target) if isinstance(inner, ast.Name)]


def modules_of(package: str, deep: bool = False) -> list[str]:
    """Return the modules of a package, itself first if it has a docstring; with `deep` those of its packages too."""
    top = importlib.import_module(package)
    found = [package] if top.__doc__ else []
    for one in sorted(pkgutil.iter_modules(top.__path__), key=lambda one: (one.ispkg, one.name)):
        name = f"{package}.{one.name}"
        if not one.ispkg:
            found.append(name)
        elif deep:
            found += modules_of(name, deep)
    return found
