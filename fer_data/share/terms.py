"""What may be done with a prepared set of faces, as sentences for cards and exports.

In:  settings.json of a prepared folder; published facts of its database.
Out: Terms: the warning that comes before anything else, licence, citation, and what the faces do not show.
"""

from dataclasses import dataclass

from fer_data.datasets.published import Facts, parts_of
from fer_data.report.content import citations, every_facts_of, facts_of, licences

__all__ = ["Terms", "terms_of"]

# (title, text)
_POSED = (
    "Posed expressions are not emotions",
    "A label says which expression was asked for, or which muscles were seen to move. It does not say what anybody felt, and a model that"
    " predicts it does not read feelings. Do not use it to judge people: at work, at school, at a border, in court, in care.",
)
_PERSONAL = (
    "Personal data",
    "A face identifies a person: it is personal data, and biometric data where it is used to tell people apart. Whoever holds these"
    " files answers for them as for the database itself, and removes them when its owners ask for it.",
)
_UNKNOWN = (
    "Whom the data cover is unknown",
    "Age, sex and origin of the people are not recorded here. Databases of this kind hold few people, filmed in one place: how well a"
    " model does on other people, in other light or on unposed faces cannot be said from them.",
)
_DRAWN = (
    "Synthetic people",
    "A program draws them from a few numbers. What a model reaches on them says that programs do what they should; it says nothing about"
    " people.",
)


@dataclass(frozen=True)
class Terms:
    """What may be done with the faces of one prepared folder."""

    name: str                         # of the data set, for people
    drawn: bool                       # nobody's face is in it
    warning: str                      # one paragraph
    licence: str
    citations: tuple[str, ...]
    limits: tuple[tuple[str, str], ...]          # (title, text)

    @property
    def public(self) -> bool:
        """Whether nothing known here speaks against publishing it."""
        return self.drawn


def terms_of(settings: dict) -> Terms:
    """Return the terms of a prepared folder from its settings."""
    facts, drawn = every_facts_of(settings["dataset"]), settings["drawn"]
    name = " + ".join(known.name if (known := facts_of(one)) else one for one in parts_of(settings["dataset"]))
    if drawn:
        name = f"Synthetic people in the layout of {name}"
        return Terms(name, True, _OF_DRAWN, "Drawn by fer-data (MIT licence)", tuple(citations([], settings)), (_DRAWN, _POSED))
    strange = len(facts) < len(parts_of(settings["dataset"]))            # a folder of pictures is among them
    licence = " ".join(filter(None, (licences(settings["dataset"]), "Unknown: ask whoever owns the pictures." if strange else "")))
    name = f"Faces of {settings['dataset']}" if not facts else name
    return Terms(name, False, _warning(facts, licence, strange), licence, tuple(citations(facts, settings)), (_PERSONAL, _POSED, _UNKNOWN))


_OF_DRAWN = (
    "The people are drawn: nobody's face is in these files, and the licence of the database whose layout they have does not apply."
    " Numbers that come from them say nothing about real faces."
)


def _warning(facts: list[Facts], licence: str, strange: bool) -> str:
    """Return what comes first; `strange`: the licence of some faces is unknown."""
    if not facts:
        return (
            "DO NOT PUBLISH. These are faces of people, from pictures whose licence is not known here. Pass them on only if the licence"
            " and the people shown allow it."
        )
    names, access = (" and ".join(getattr(one, field) for one in facts) for field in ("name", "access"))
    whose = "Its licence" if len(facts) == 1 else "Their licences"
    if not strange and all(one.passing_on for one in facts):
        conditions = " ".join(dict.fromkeys(one.passing_on for one in facts))
        return f"These are faces of people from {names}. {whose}: {licence} {conditions} Access: {access}"
    return (
        f"DO NOT PUBLISH, DO NOT PASS ON. These are faces of people from {names}. {whose}: {licence} In another format"
        " they are the same faces under the same licence: whoever wants them asks the owners of the database."
        f" Access: {access}"
    )
