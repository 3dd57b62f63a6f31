"""Dotted names in, modules out: does a symbol that a page names exist, and which modules does a package have? No Sphinx here."""

import importlib
import pkgutil

__all__ = ["modules_of", "resolve"]


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
