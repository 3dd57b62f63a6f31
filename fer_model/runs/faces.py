"""Say how faces were found and framed, those of a run and those of a prepared folder, and what differs between the two.

In:  config.json of a run; settings.json of prepared folders.
Out: what decides how faces are framed; sentences for whoever tests a run on other faces, with the commands that make them alike.
"""

from pathlib import Path

from fer_data.datasets.published import FILES, parts_of
from fer_data.faces.landmarks.none import NO_POINTS

__all__ = ["faces_of", "faces_of_run", "how_framed", "unlike"]

_CROPPED = ("ck48", "fer2013", "rafdb", "affectnet", "expw", "sfew")     # their pictures are faces: `fer-data prepare` asks no detector
_AS_CROPPED = (*_CROPPED, "folder")   # what it takes without landmarks
_OWN_POINTS = {"dataset": ("ck+",)}   # backends that some databases alone have
_UNLIKE = "accuracy on faces that are framed otherwise than those of the training is far below what the network can do"


def faces_of(settings: dict) -> dict:
    """Return what of a prepared folder's settings decides how faces are found and aligned: a run needs it to look at new pictures."""
    names = ("landmarks", "detector", "colour")
    return {**{name: settings["config"][name] for name in names}, "backend": settings["backend"], "pipeline": settings["pipeline_version"]}


def faces_of_run(content: dict) -> dict | None:
    """Return how the faces of a run were found, by its config.json; of a run of before that was written there, by its prepared folder.

    None: it does not say, and the folder is gone or another one by now.
    """
    if content.get("faces"):
        return content["faces"]
    from fer_data.store.manifest import read_settings  # pandas is slow to import

    data = Path(content["data"])
    if not (data / "settings.json").is_file():
        return None
    settings = read_settings(data)
    return faces_of(settings) if settings["manifest_sha256"] == content["manifest_sha256"] else None


def how_framed(faces: dict) -> str:
    """Return how faces came onto the canvas, in a few words."""
    if faces["landmarks"] == NO_POINTS:
        return "as they were cropped, without landmarks"
    whole = ", found in the whole picture" if faces.get("detector") == "whole" else ""
    return f"aligned by the landmarks of {faces['landmarks']} {faces['backend']['version']}".strip() + whole


def unlike(run: str, trained: dict | None, trained_on: str, data: Path, settings: dict) -> list[str]:
    """Return what whoever tests a run on other faces must know of how the two were found and framed; nothing if they are alike.

    run, data    as they are called in the sentences
    trained      faces_of_run; None: it is not known
    trained_on   the run's data set
    settings     of the prepared folder that is tested on
    """
    tested, tested_on = faces_of(settings), settings["dataset"]
    if trained is None:
        return [f"How the faces were framed that {run} was trained on is not known; those of {data} are {how_framed(tested)}."]
    both = f"The faces that {run} was trained on are {how_framed(trained)}; those of {data} are {how_framed(tested)}"
    names = trained["landmarks"], tested["landmarks"]
    if NO_POINTS in names and names[0] != names[1]:
        commands = _commands(trained_on, trained, tested_on, tested)
        return [f"{both}: {_UNLIKE}. {commands}"]
    if names == (NO_POINTS, NO_POINTS):
        return [f"The faces that {run} was trained on and those of {data} are as others cropped them, and nobody knows whether alike."
                f" Prepare both with --landmarks dlib to have them framed alike."] if trained_on != tested_on else []
    if names[0] != names[1] or any(trained["backend"].get(key) != tested["backend"].get(key) for key in ("version", "weights_sha256")):
        return [f"{both}: they lie a little otherwise. {_commands(trained_on, trained, tested_on, tested)}"]
    return []


def _commands(trained_on: str, trained: dict, tested_on: str, tested: dict) -> str:
    """Return which command prepares one of two databases as the other is."""
    ways = [_command(tested_on, trained, "")] + [_command(trained_on, tested, ", and train again")]
    return f"To have them alike: {' or '.join(way for way in ways if way)}." if any(ways) else ""


def _command(dataset: str, faces: dict, then: str) -> str:
    """Return the command that prepares a database with the landmarks of `faces`, or "" if there is none."""
    name, landmarks = dataset if dataset in FILES else "folder", faces["landmarks"]
    if len(parts_of(dataset)) > 1:
        return ""
    if name not in (_AS_CROPPED if landmarks == NO_POINTS else _OWN_POINTS.get(landmarks, (name,))):
        return ""
    if landmarks == "openface" and name in (*_CROPPED, "caer-s"):
        return ""
    fan = landmarks == "fan" and faces.get("detector", "sfd") not in ("sfd", "whole") and name not in _CROPPED
    more = f" --detector {faces['detector']}" if fan else " --openface DIR" if landmarks == "openface" else ""
    return f"`fer-data prepare {name} ROOT OUT --landmarks {landmarks}{more}`{then}"
