"""Write the logs of runs as event files for TensorBoard.

In:  run folders or folders of them, finished or still training.
Out: LOGDIR/<run>/: one curve a number of log.jsonl, against images seen; the sheets of synthesised faces.

log.jsonl remains the record. Event files follow from it alone, so training knows nothing of TensorBoard and any run can be shown.
Extra [tensorboard]; nothing is sent anywhere.
"""

import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from fer_data.files import occupied
from fer_data.store.own_files import refuse_own_file
from fer_data.text import counted
from fer_model.engine.journal import read_log
from fer_model.errors import RunError
from fer_model.runs.folder import RunFolder, runs_below

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
    folder of a run's own.
    """
    refuse_own_file("writing for TensorBoard", logdir)
    folders = _folders(runs)
    if not folders:
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
    """The event files of one run. A log that was rewound, because a run was resumed from a checkpoint, is written again."""

    def __init__(self, run: Path, folder: Path):
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise RunError("writing for TensorBoard: the package tensorboard is needed; pip install -e '.[tensorboard]'") from error
        self._make = SummaryWriter
        self.run, self.folder = RunFolder(run), folder
        if problem := occupied(folder, "event files", lambda path: path.is_dir() or path.name.startswith("events.out.tfevents")):
            raise RunError(f"writing for TensorBoard: {problem}")
        self.lines: list[dict] = []
        self.sheets: set[str] = set()
        self.writer = None

    def update(self) -> int:
        """Write what has come to the log since the last call; return how many lines that were."""
        lines = read_log(self.run.log)                                   # a line that is being written waits
        if self.writer is None or lines[: len(self.lines)] != self.lines:
            self._start_again()
        new = lines[len(self.lines) :]
        clock = _Clock()
        for number, entry in enumerate(lines):
            clock.see(entry)
            if number >= len(self.lines) and entry["event"] == "tick":
                self._add(entry, clock.now)
        self.lines = lines
        self._add_sheets()
        self.writer.flush()
        return len(new)

    def _start_again(self) -> None:
        if self.writer is not None:
            self.writer.close()
        for path in self.folder.glob("events.out.tfevents*"):
            path.unlink()
        self.lines, self.sheets = [], set()
        self.writer = self._make(str(self.folder))

    def _add(self, entry: dict, when: float) -> None:
        seen = round(entry["seen_kimg"] * 1000)
        for name, value in entry.items():
            if name not in SKIPPED:
                self.writer.add_scalar(f"{entry['stage']}/{name}", value, seen, walltime=when)

    def _add_sheets(self) -> None:
        import cv2

        for path in sorted(self.run.sheets.glob("step-*.png")):
            if path.name in self.sheets:
                continue
            config, _ = self.run.read_config()
            stage = config.synthesiser
            sheet = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
            seen = int(path.stem.removeprefix("step-")) * getattr(config, stage).batch
            self.writer.add_image(f"{stage}/synthesised faces", sheet, seen, dataformats="HWC")
            self.sheets.add(path.name)


class _Clock:
    """When a tick was: the start of its process, and the seconds of its ticks since."""

    now = 0.0

    def see(self, entry: dict) -> None:
        if entry["event"] == "start":
            self.now = datetime.strptime(entry["time"], "%Y-%m-%dT%H:%M:%S%z").timestamp()
        self.now += entry.get("seconds", 0.0) if entry["event"] == "tick" else 0.0
