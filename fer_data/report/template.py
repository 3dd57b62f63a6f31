"""Fill a template: one HTML page that loads nothing from elsewhere.

In:  the name of a template that extends base.html, its values, names of style sheets and scripts in the same folder.
Out: the bytes of the page: styles and scripts inside, a Content-Security-Policy that allows these (by hash) and pictures
     that are part of the page, and nothing else: no request, no inline handler, no form that is sent.

Every value is escaped. A page of another package passes its own folder: templates, styles and scripts are looked for
there first, then here (base.html, macros.html, page.css are the family's).
"""

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

__all__ = ["HERE", "render_page"]

HERE = Path(__file__).parent


def render_page(
    template: str, values: dict, styles: Sequence[str] = ("page.css",), scripts: Sequence[str] = (), folder: Path = HERE
) -> bytes:
    """Return the page as UTF-8. The same values give the same bytes.

    template   file name in `folder` or here; extends base.html
    styles     file names of CSS, in order
    scripts    file names of JavaScript, in order; they run after the page is parsed
    """
    folders = [Path(folder), HERE]
    environment = Environment(
        loader=FileSystemLoader(folders), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["count"] = _count
    css, js = _joined(styles, folders), _joined(scripts, folders)
    frame = {"css": Markup(css), "js": Markup(js), "policy": _policy(css, js)}  # ours, checked in _joined
    return environment.get_template(template).render(**values, **frame).encode()


def _count(number: int) -> str:
    """Return a number with commas at the thousands.

    >>> _count(60600)
    '60,600'
    """
    return f"{number:,}"


def _joined(names: Sequence[str], folders: list[Path]) -> str:
    """Return the files' text in order; each is taken from the first folder that has it."""
    texts = []
    for name in names:
        path = next((folder / name for folder in folders if (folder / name).is_file()), None)
        assert path is not None, name
        texts.append(path.read_text(encoding="utf-8"))
    text = "\n".join(texts)
    assert "</" not in text, "a style sheet or script must not close its own element"
    return text


def _policy(css: str, js: str) -> str:
    """Return the Content-Security-Policy of a page whose one style and one script element hold `css` and `js`."""
    scripts = f"script-src {_source(js)}" if js else "script-src 'none'"
    return f"default-src 'none'; img-src data:; style-src {_source(css)}; {scripts}; base-uri 'none'; form-action 'none'"


def _source(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
