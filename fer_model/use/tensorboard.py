"""Write the logs of runs as event files for TensorBoard.

In:  run folders or folders of them, finished or still training.
Out: LOGDIR/<run>/: one curve a number of log.jsonl, against images seen; the sheets of synthesised faces.

log.jsonl remains the record. Event files follow from it alone, so training knows nothing of TensorBoard and any run can be shown.
Extra [tensorboard]; nothing is sent anywhere.
"""

import io
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from importlib import import_module
from pathlib import Path

from fer_data.errors import StorageError
from fer_data.files import make_folder, occupied, reported
from fer_data.store.own_files import refuse_own_folder
from fer_data.text import counted
from fer_model.engine.journal import read_log
from fer_model.errors import RunError
from fer_model.runs.folder import RunFolder, refuse_prepared, runs_below

__all__ = ["EventFiles", "write_events"]

# of a tick: where it stands, not what it measured
SKIPPED = {"event", "stage", "step", "steps", "seen_kimg", "seconds", "processor_seconds"}


def write_events(
    runs: Sequence[Path],
    logdir: Path,
    follow_s: float | None = None,    # look again after so many seconds, until interrupted; None: once
    say: Callable[[str], None] = print,
) -> int:
    """Write what the runs have logged so far; return how many runs that were.

    Raises RunError if none of the folders holds a run, if LOGDIR holds something else, or without the package; StorageError if LOGDIR is a
    run or a prepared folder, or cannot be written to.
    """
    refuse_own_folder("writing for TensorBoard", logdir)
    folders = _folders(runs)
    if not folders:
        for run in runs:
            refuse_prepared(run)
        raise RunError(f"writing for TensorBoard: {', '.join(map(str, runs))} must hold a log.jsonl of fer-model train; there is none")
    files = [EventFiles(folder, logdir / name) for name, folder in folders.items()]
    while True:
        added = sum(one.update() for one in files)
        if added:
            say(f"{counted(added, 'line')} of {counted(len(files), 'run')} written to {logdir}; look with: tensorboard --logdir {logdir}")
        if follow_s is None:
            return len(files)
        time.sleep(follow_s)


def _folders(runs: Sequence[Path]) -> dict[str, Path]:
    """Return name -> run folder of everything below `runs` that has a log: fold0, or cnn/fold0 where another one is called so."""
    below = {
        run.resolve(): [folder for folder in runs_below(run.resolve()) if RunFolder(folder).log.is_file()] for run in runs
    }
    length = dict.fromkeys(below, 1)                                     # how many of the last folders of its path name a folder of runs
    while True:
        found: dict[str, dict[Path, Path]] = {}                          # name -> run folder -> below which of `runs`
        for run, folders in below.items():
            for folder in folders:
                name = "/".join((*run.parts[1:][-length[run] :], *folder.relative_to(run).parts))
                found.setdefault(name, {})[folder] = run
        alike = {run for owners in found.values() if len(owners) > 1 for run in owners.values()}
        if not alike:
            return {name: next(iter(owners)) for name, owners in found.items()}
        length.update((run, length[run] + 1) for run in alike)


class EventFiles:
    """The event file of one run. A log that was rewound, because a run was resumed from a checkpoint, is written again.

    TensorBoard's own SummaryWriter writes in a thread, which prints a traceback where the disk is full.
    """

    def __init__(self, run: Path, folder: Path):
        try:
            import_module("torch.utils.tensorboard")                     # it says whether the package is there
        except ImportError as error:
            raise RunError("writing for TensorBoard: the package tensorboard is needed; pip install -e '.[tensorboard]'") from error
        self.run, self.folder = RunFolder(run), folder
        if problem := occupied(folder, "event files", lambda path: path.is_dir() or path.name.startswith("events.out.tfevents")):
            raise RunError(f"writing for TensorBoard: {problem}")
        self.lines: list[dict] = []
        self.sheets: set[str] = set()
        self.path: Path | None = None
        self.events = io.BytesIO()                                       # of this update

    def update(self) -> int:
        """Write what has come to the log since the last call; return how many lines that were."""
        lines = read_log(self.run.log)                                   # a line that is being written waits
        try:
            with reported("writing for TensorBoard", self.folder):
                return self._added(lines)
        except StorageError:
            with suppress(OSError):                                      # a half is no use, and takes what space there is
                self._remove()
            raise

    def _added(self, lines: list[dict]) -> int:
        """Write what is new of a log; return how many lines that were."""
        self.events = io.BytesIO()
        if self.path is None or lines[: len(self.lines)] != self.lines:
            self._start_again()
        new = lines[len(self.lines) :]
        clock = _Clock()
        for number, entry in enumerate(lines):
            clock.see(entry)
            if number >= len(self.lines) and entry["event"] == "tick":
                self._add(entry, clock.now)
        self.lines = lines
        self._add_sheets()
        with self.path.open("ab") as file:
            file.write(self.events.getvalue())
        return len(new)

    def _start_again(self) -> None:
        make_folder(self.folder)
        self._remove()
        self.lines, self.sheets = [], set()
        self.path = self.folder / f"events.out.tfevents.{time.time():.6f}.{socket.gethostname()}"
        self._put(time.time(), file_version="brain.Event:2")

    def _remove(self) -> None:
        for path in self.folder.glob("events.out.tfevents*"):
            path.unlink()

    def _put(self, when: float, **content) -> None:
        """Add an event as TensorBoard has them: its length and content, each with a checksum."""
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter

        RecordWriter(self.events).write(Event(wall_time=when, **content).SerializeToString())

    def _add(self, entry: dict, when: float) -> None:
        from torch.utils.tensorboard.summary import scalar

        seen = round(entry["seen_kimg"] * 1000)
        for name, value in entry.items():
            if name not in SKIPPED:
                self._put(when, step=seen, summary=scalar(f"{entry['stage']}/{name}", value))

    def _add_sheets(self) -> None:
        import cv2
        from torch.utils.tensorboard.summary import image

        for path in sorted(self.run.sheets.glob("step-*.png")):
            if path.name in self.sheets:
                continue
            config, _ = self.run.read_config()
            stage = config.synthesiser
            sheet = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
            seen = int(path.stem.removeprefix("step-")) * getattr(config, stage).batch
            self._put(time.time(), step=seen, summary=image(f"{stage}/synthesised faces", sheet, dataformats="HWC"))
            self.sheets.add(path.name)


class _Clock:
    """When a tick was: the start of its process, and the seconds of its ticks since."""

    now = 0.0

    def see(self, entry: dict) -> None:
        if entry["event"] == "start":
            self.now = datetime.strptime(entry["time"], "%Y-%m-%dT%H:%M:%S%z").timestamp()
        self.now += entry.get("seconds", 0.0) if entry["event"] == "tick" else 0.0
