"""The form of what is read from JSON: which keys there must be, and what kind of value each has.

In:  a value, and its form: a type or several, [form of each], {str: form of each value} or {key: form}; more keys may be there.
Out: where it first differs, in words; None if it fits.
"""

__all__ = ["misfit"]


def misfit(value, form, where: str = "it") -> str | None:
    """Return where `value` first differs from `form`, or None.

    >>> misfit({"a": [1, 2]}, {"a": [int]}), misfit({"a": [1, "2"]}, {"a": [int]}), misfit({}, {"a": str})
    (None, 'a[1] must be int, got str', 'a must be str, got nothing')
    """
    if isinstance(form, list):
        parts = [(f"{where}[{index}]", one, form[0]) for index, one in enumerate(value)] if isinstance(value, list) else None
    elif isinstance(form, dict):
        keys = value.keys() if str in form and isinstance(value, dict) else form
        inside = "" if where == "it" else f"{where}."
        parts = [(f"{inside}{key}", value.get(key, ...), form.get(str, form.get(key))) for key in keys] if isinstance(value, dict) else None
    else:
        parts = [] if isinstance(value, form) else None
    if parts is None:
        got = "nothing" if value is ... else type(value).__name__
        return f"{where} must be {_words(form)}, got {got}"
    return next((odd for at, one, inner in parts if (odd := misfit(one, inner, at))), None)


def _words(form) -> str:
    kinds = form if isinstance(form, tuple) else (type(form) if isinstance(form, list | dict) else form,)
    return " or ".join("null" if kind is type(None) else kind.__name__ for kind in kinds)
