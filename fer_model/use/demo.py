"""Serve a local web page to try a network on a picture or the camera.

In:  RUN of `fer-model train`, or an exported file; pictures, from a file or the camera, in a browser on this machine.
Out: http://127.0.0.1:PORT, until it is stopped. Pictures are kept in a temporary folder meanwhile, which is removed with the page,
     also when its terminal is closed (SIGHUP) or it is asked to end (SIGTERM).

Gradio draws the page. It is told to ask nothing of other machines and to tell them nothing.
"""

import importlib.util
import os
import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from fer_data.errors import ImageError, UnreadableError
from fer_data.files import read_file
from fer_data.pictures.decode import decode
from fer_model.errors import RunError
from fer_model.use.annotate import draw_prediction
from fer_model.use.prediction import Prediction
from fer_model.use.predictor import Predictor, load

__all__ = ["HOST", "PORT", "demo", "open_page", "require_gradio", "sheet_of", "uploaded"]

HOST, PORT = "127.0.0.1", 7860
KEPT_S = 60                           # how long what is uploaded or drawn is kept at most, while the page is open
LARGEST_FILE = 256 << 20               # bytes of an upload
BUTTONS = ["fullscreen", "download"]    # of a picture; left out is "share", which sends it to Hugging Face
# Faces of 48 pixels are small at their own size, and the label would lie on them.
STYLE = """
#sheet .image-frame { width: 100%; justify-content: center; }
#sheet .image-frame img { max-width: 60rem; object-fit: contain; }
#seen img, #sheet img { box-sizing: border-box; padding-top: 30px; }
"""
SETTINGS = {
    "GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1",
    "GRADIO_SHARE": "False", "GRADIO_SERVER_NAME": HOST, "NO_PROXY": f"{HOST},localhost", "no_proxy": f"{HOST},localhost",
}


def require_gradio() -> None:
    """Raise RunError with what to install, if Gradio is missing."""
    if importlib.util.find_spec("gradio") is None:
        raise RunError("opening the demo: the package gradio is missing; install it with: pip install 'fer-degan[demo]'")


def demo(run: Path, port: int = PORT, device: str = "auto", landmarks: str | None = None, say: Callable = print) -> None:
    """Open the page and stay until Ctrl-C, SIGTERM or SIGHUP.

    Raises RunError without Gradio or if the port is taken, children of FerError for the run."""
    require_gradio()
    _refuse_taken(port)
    model = load(run, device, landmarks)
    with _signals_interrupt(), tempfile.TemporaryDirectory(prefix="fer-demo-") as folder:
        page = open_page(model, run, port, device, Path(folder))
        say(f"open http://{HOST}:{port} in a browser on this machine; Ctrl-C ends it")
        try:
            page.block_thread()
        finally:
            page.close(verbose=False)


@contextmanager
def _signals_interrupt() -> Iterator[None]:
    """Let a closed terminal (SIGHUP) and a request to end (SIGTERM) interrupt the block as Ctrl-C does, so that it can remove its files."""
    if threading.current_thread() is not threading.main_thread():        # Python lets only the main thread handle signals
        yield
        return

    def interrupt(number, frame):
        for one in before:                                               # a terminal that closes sends several: not while files are removed
            signal.signal(one, signal.SIG_IGN)
        raise KeyboardInterrupt

    # One that is ignored stays so: `nohup` asks for it.
    before = {one: signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(one) is not signal.SIG_IGN}
    try:
        for one in before:
            signal.signal(one, interrupt)
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def _refuse_taken(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            why = f"port {port} of {HOST} cannot be used ({error.strerror})"
            raise RunError(f"opening the demo: {why}; choose another with --port") from error


def uploaded(name: str, folder: Path) -> tuple[np.ndarray, str]:
    """Return a picture that was given to the page, (H, W, 3) uint8, read as `predict` reads it, and its remark or "".

    Raises ImageError if it cannot be read, is no longer kept, or lies outside `folder`: whoever reaches the page may ask it for any
    path, and Gradio checks only those that are marked as files.
    """
    path = Path(name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise ImageError("reading a picture: only what was uploaded to the page is read, the path that came lies elsewhere")
    try:
        picture, remark = decode(read_file(path), True, path.name)
    except UnreadableError as error:
        raise ImageError(f"reading a picture: {path.name} {error.why}; a picture is kept for {KEPT_S} seconds, give it again") from error
    return picture, remark.text and f"it {remark.text}"


def open_page(model: Predictor, run: Path, port: int, device: str, folder: Path):
    """Return the page (gradio.Blocks), which is being served from now on; what it is given is stored in `folder`."""
    os.environ.update(SETTINGS)                                                  # before it is imported: it reads them then
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    import gradio

    trained, why_not = _decoder_of(run, device)
    theme = gradio.themes.Base(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])       # none of Google's

    def look(file):
        if file is None:
            return None, None, "", None
        try:
            picture, remark = uploaded(file["path"], folder)
        except ImageError as error:
            raise gradio.Error(str(error), print_exception=False) from error
        one = replace(model.predict(picture), remark=remark)
        return draw_prediction(picture, one), _label(one), _words(one), picture

    def move(picture, people):
        if picture is None or not people:
            raise gradio.Error("A picture that was looked at and at least one identity are needed.", print_exception=False)
        sheet = sheet_of(model, trained, picture, tuple(people))
        if sheet is None:
            raise gradio.Error("No face was found.", print_exception=False)
        return sheet, "Left to right: the input, as the network sees it; " + ", ".join(people)

    with gradio.Blocks(title="fer-degan", analytics_enabled=False, delete_cache=(KEPT_S, KEPT_S)) as page:
        gradio.Markdown(f"# {model.recipe.name}, trained on {model.recipe.dataset}\n\n" + "\n".join(f"* {note}" for note in _limits(model)))
        with gradio.Row():
            picture = gradio.Image(label="Picture", sources=["upload", "webcam"], buttons=BUTTONS[:1], elem_id="picture")
            with gradio.Column():
                seen = gradio.Image(label="Faces found", interactive=False, format="png", buttons=BUTTONS, elem_id="seen")
                label = gradio.Label(label="Expression of the largest face", elem_id="label")
                words = gradio.Markdown(elem_id="words")
        # In memory, as long as the page is open in the browser: its file is gone after a minute.
        kept = gradio.State()
        as_it_is = {"preprocess": False, "api_name": False}        # the file, which is read as `predict` reads it
        forgotten = picture.change(lambda: None, None, kept, api_name=False)          # until the new picture has been looked at
        forgotten.then(look, picture, [seen, label, words, kept], **as_it_is)
        if trained is None:
            gradio.Markdown(f"Expressions cannot be moved to other people: {why_not}", elem_id="why-not")
        else:
            names = list(trained.identities)
            people = gradio.Dropdown(names, value=names[:4], multiselect=True, label="Identities: training people", elem_id="people")
            button = gradio.Button("Move the expression to them", elem_id="move")
            sheet = gradio.Image(label="The expression on them", interactive=False, format="png", buttons=BUTTONS, elem_id="sheet")
            order = gradio.Markdown(elem_id="order")
            button.click(move, [kept, people], [sheet, order], **as_it_is)
    try:
        page.launch(
            server_name=HOST, server_port=port, share=False, quiet=True, prevent_thread_lock=True, inbrowser=False, theme=theme, css=STYLE,
            footer_links=[], enable_monitoring=False, ssr_mode=False, show_error=True, max_file_size=LARGEST_FILE,
        )
    except OSError as error:                                                     # Gradio always says that the port is taken
        why = f"Gradio does not serve {HOST}:{port} within 5 seconds"
        raise RunError(f"opening the demo: {why}: something has taken the port since, or the machine is busy; try again") from error
    return page


def _decoder_of(run: Path, device: str) -> tuple:
    """Return the trained run and "", or None and why it cannot draw."""
    if not run.is_dir():
        return None, "an exported file holds no decoder; open the run folder."
    from fer_model.runs.trained import load_run

    trained = load_run(run, device)
    if trained.generator is None:
        return None, f"that needs a decoder, a run of method {trained.config.method} has none."
    return trained, ""


def sheet_of(model: Predictor, trained, picture: np.ndarray, people: tuple[str, ...]) -> np.ndarray | None:
    """Return the face that `predict` names first and its expression on each of the people, left to right; None without one."""
    import torch

    from fer_data.store.loader import virtual_views
    from fer_model.engine.randomness import stream
    from fer_model.stages.classifier import centre_inputs
    from fer_model.stages.sample_sheet import draw_noise, draw_sheet

    face = model.first_face(picture)
    if face is None:
        return None
    network = trained.config.network
    x = centre_inputs(virtual_views(face[None], trained.device), torch.tensor([0]), network.image_size)   # (1, C, S, S)
    noise = draw_noise(1, network.noise, stream(0, "transfer/noise"))
    columns = torch.tensor([trained.identities.index(name) for name in people])
    return draw_sheet(trained.generator, x, columns, noise)


def _limits(model: Predictor) -> tuple[str, ...]:
    return (*model.notes, model.recipe.limits)


def _label(one: Prediction) -> dict[str, float] | None:
    return dict(one.faces[0].probabilities) if one.faces else None


def _words(one: Prediction) -> str:
    """Return what is to be said of each face, with its doubts, and of the picture."""
    lines = []
    for number, face in enumerate(one.faces, 1):
        doubts = "; ".join(face.doubts)
        lines.append(f"* face {number}: {face.expression} {face.probability:.0%}" + (f" (**doubtful**: {doubts})" if doubts else ""))
    return "\n".join(lines + ([one.note] if one.note else []))
