"""Everything to learn from a GPU in seven minutes: does it compute what the CPU computes, how fast, and what waits for what.

In:  a folder that `make device` filled on a machine with packages and a CPU: prepared faces, the CPU's losses, wheels.
Out: OUT/report.jsonl, a line for each figure, written as soon as it is known; OUT/table.md, the same to read; OUT/tests.log;
     OUT/crossval.tar.gz: of each fold its configuration, log, result and predictions. Exit code 1 if a part fails, or any but the last
     meets its deadline. Nothing else is ever in OUT: runs are written next to what was prepared.

    make device                                                          # fills build/device, says how large it is
    python3 -m benchmarks.device --device cuda --out OUT                 # on the machine with the GPU
    python3 -m benchmarks.device --device cpu --tiny --out OUT           # whether the script runs; its figures mean nothing

That machine may have no package index: `python3 -m pip install --no-index --no-deps build/device/wheels/*.whl` first.

Each part is a process of its own with a deadline of its own; what it has written by then stays. The last part takes what is left.
"""

import argparse
import functools
import json
import math
import os
import platform
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from unittest import mock

from packaging.version import Version

__all__ = ["PARTS", "main", "on_device", "prepare", "refuse_old"]

ROOT = Path(__file__).resolve().parents[1]
TOTAL_S = 405                         # of all parts: a call of 410 s holds them
TINY_S = 600                          # of a part, with --tiny
TICK_S = 0.7                          # timed at least, of each cell of part `speed`; doubling up to it takes three times as long
FOLDS_AT_ONCE = (1, 10, 5, 2)
# Those that have a test for a GPU. No others: what they import may not be there.
CUDA_TESTS = ("tests/test_model_check_device.py", "tests/test_model_engine.py", "tests/test_model_norm_elu.py", "tests/test_views.py")
OLDEST = {"cv2": "4.11", "pandas": "3"}       # what parts of the program need, which such a machine has of its own
KEPT = ("config.json", "log.jsonl", "result.json", "predictions.csv")            # of each fold


@dataclass(frozen=True)
class Asked:
    """What the command line says."""

    device: str
    out: Path
    data: Path                        # what `prepare` left
    tiny: bool

    @property
    def runs(self) -> Path:
        """Where runs are written, to be removed at the end: few files and folders may come back from such a machine."""
        return self.data / "runs"

    def words(self) -> list[str]:
        """Return the command line again."""
        tiny = ["--tiny"] if self.tiny else []
        return ["--device", self.device, "--out", str(self.out), "--data", str(self.data), *tiny]


def environment(asked: Asked) -> Iterator[dict]:
    """Versions, and what the GPU is."""
    import cv2
    import numpy
    import pandas
    import torch

    from fer_model.engine.devices import use_device
    from fer_model.engine.norm_elu import why_not

    yield {"python": platform.python_version(), "torch": torch.__version__, "opencv": cv2.__version__, "pandas": pandas.__version__,
           "numpy": numpy.__version__, "compiler": shutil.which("gcc"), "torch threads": torch.get_num_threads()}
    refuse_old({"cv2": cv2.__version__, "pandas": pandas.__version__})
    if asked.device != "cpu":
        found = torch.cuda.get_device_properties(torch.device(asked.device))
        yield {"gpu": found.name, "gpus": torch.cuda.device_count(), "memory_gb": found.total_memory / 1e9,
               "cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
        for precision in ("fp32", "bf16"):
            why = why_not(use_device(asked.device), precision)
            yield {"precision": precision, "BN and ELU by Triton kernels": why or "yes"}


def refuse_old(found: dict[str, str]) -> None:
    """Raise RuntimeError if a package is older than what is needed of it."""
    if old := [name for name, least in OLDEST.items() if Version(found[name]) < Version(least)]:
        each = ", ".join(f"{name} {found[name]}, which has to be {OLDEST[name]} or newer" for name in old)
        raise RuntimeError(f"this machine has {each}; put a wheel of it into the folder of wheels and install it first")


def ceilings(asked: Asked) -> Iterator[dict]:
    """What memory and units could give: bytes a second of a copy, floating-point operations a second of a product."""
    import torch

    from fer_model.engine.devices import use_device

    device, side = use_device(asked.device), 256 if asked.tiny else 8192
    source = torch.rand(side * side * (1 if asked.tiny else 16), device=device)
    target = torch.empty_like(source)
    seconds = _seconds(lambda: target.copy_(source), device, asked.tiny)
    yield {"copy": 2 * source.nbytes / seconds / 1e12, "unit": "TB/s"}
    source = target = None            # 8.6 GB on a GPU
    for kind in (torch.float32, torch.bfloat16):
        a, b = (torch.randn(side, side, device=device, dtype=kind) for _ in range(2))
        yield {f"product {kind}": 2 * side**3 / _seconds(lambda a=a, b=b: a @ b, device, asked.tiny) / 1e12, "unit": "TFLOP/s"}


def tests(asked: Asked) -> Iterator[dict]:
    """The tests that want a GPU; newer packages may warn, which is shown and is no failure."""
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "filterwarnings=default", "-m", "cuda and not slow"]
    with (asked.out / "tests.log").open("w") as log:
        code = subprocess.run([*words, *CUDA_TESTS[-1 if asked.tiny else 0 :]], cwd=ROOT, stdout=log, stderr=log).returncode
    lines = (asked.out / "tests.log").read_text().splitlines()
    yield {"exit code": code, "last line": lines[-1] if lines else ""}
    if code:
        raise RuntimeError(f"tests: {lines[-1] if lines else 'nothing was printed'}")


def parity(asked: Asked) -> Iterator[dict]:
    """The losses of the first steps of each stage next to the CPU's, which were written down beforehand."""
    from fer_model.check_device import TOLERANCE, difference, worst_of
    from fer_model.engine.devices import use_device

    use_device(asked.device)
    worst = dict.fromkeys(TOLERANCE, 0.0)
    for name, expected in json.loads((asked.data / "reference.json").read_text()).items():
        for precision, allowed in TOLERANCE.items():
            got = _losses(name, asked.device, precision, len(next(iter(expected.values()))))
            for stage, steps in expected.items():
                early, late = difference(steps[:3], got[stage][:3]), difference(steps, got[stage])
                worst[precision] = worst_of([worst[precision], early])
                yield {"preset": name, "stage": stage, "precision": precision, "after 3 steps": early, "allowed": allowed,
                       f"after {len(steps)}": late}
    if not all(worst[precision] <= allowed for precision, allowed in TOLERANCE.items()):         # NaN is not allowed either
        raise RuntimeError(f"losses differ from the CPU's by {worst}, allowed are {TOLERANCE}")


def repeated(asked: Asked) -> Iterator[dict]:
    """Whether steps that are recorded once and repeated give the bits of steps that are done one by one, with cuDNN as it is and
    deterministic; of each stage, in fp32 and bf16."""
    import torch

    from fer_model.engine.devices import use_device

    device, steps = use_device(asked.device), 4 if asked.tiny else 40
    kinds = ((True, "fp32"), (True, "bf16"), (False, "fp32"), (False, "bf16"))
    for deterministic, precision in kinds[: 2 if asked.tiny else 4]:
        torch.backends.cudnn.deterministic = deterministic
        for stage in ("judges", "gan", "cnn"):
            one, other = (_steps(asked, stage, precision, device, recorded) for recorded in (False, True))
            one.do(0, steps)
            other.do(0, steps)
            worst = _apart(one.stage, other.stage)
            yield {"stage": stage, "precision": precision, "deterministic": deterministic, "steps": steps,
                   "recordings": len(other.recordings), "bit-equal": worst == 0, "largest relative difference": worst}
            if math.isnan(worst):
                raise RuntimeError(f"{stage} in {precision}: after {steps} steps a weight is no number")


def resume(asked: Asked) -> Iterator[dict]:
    """Whether half the steps, a checkpoint and the other half give the bits of all at once, with cuDNN as it is and deterministic."""
    import torch

    from fer_model.engine import checkpoint
    from fer_model.engine.devices import use_device

    device, steps = use_device(asked.device), 4 if asked.tiny else 40
    for deterministic in (False, True):
        torch.backends.cudnn.deterministic = deterministic
        whole, first, second = (_steps(asked, "gan", "fp32", device, recorded=True) for _ in range(3))
        whole.do(0, steps)
        first.do(0, steps // 2)
        with tempfile.TemporaryDirectory() as folder:
            checkpoint.save(Path(folder), "gan", steps // 2, first.stage.tensors(), first.stage.facts())
            second.stage.restore(checkpoint.latest(Path(folder), "gan"), folder)
        second.do(steps // 2, steps)
        worst = _apart(whole.stage, second.stage)
        yield {"deterministic": deterministic, "steps": steps, "bit-equal": worst == 0, "largest relative difference": worst}
        if math.isnan(worst):
            raise RuntimeError(f"gan: after {steps} steps a weight is no number")


def _steps(asked: Asked, stage: str, precision: str, device, recorded: bool):
    """Return what does the steps of a fresh stage on faces of noise."""
    from fer_data.store.loader import virtual_views
    from fer_model.check_device import noise_faces, noise_fold
    from fer_model.engine.capture import recorder_for
    from fer_model.engine.steps import Steps
    from fer_model.stages.inputs import StageInputs
    from fer_model.stages.registry import STAGES

    views = virtual_views(noise_faces()[:, 0].numpy(), device)
    made = STAGES[stage].make(StageInputs(_config("smoke" if asked.tiny else "small", 8, precision), noise_fold(), views, device))
    return Steps(made, recorder_for(made) if recorded else None)


def _apart(one, other) -> float:
    """Return the largest relative difference of two stages' states; NaN if a tensor holds one."""
    from fer_model.check_device import worst_of

    pairs = [(a.float(), other.tensors()[name].float()) for name, a in one.tensors().items()]
    return worst_of(((a - b).abs().max() / a.abs().max().clamp(min=1e-12)).item() for a, b in pairs)


def speed(asked: Asked) -> Iterator[dict]:
    """Images a second of stage 1, ours and as it is written first, in turn, ours also without the kernels for BN and ELU; peak memory."""
    import torch

    import benchmarks.training as training
    from fer_model import check_device
    from fer_model.engine.devices import use_device

    device = use_device(asked.device)
    check_device.TICK_SECONDS = 0.0 if asked.tiny else TICK_S
    sizes = (("smoke", 8),) if asked.tiny else (("paper", 150), ("paper", 600), ("small", 24), ("small", 240))
    eager = functools.partial(training.ours, recorded=False)
    pytorch, plain = (lambda *given, make=make: _without_kernels(make(*given)) for make in (training.ours, training.plain))
    kinds = (("plain, TF32", plain, "fp32", True), ("plain, fp32", plain, "fp32", False),
             ("ours, fp32", training.ours, "fp32", False), ("ours, bf16", training.ours, "bf16", False),
             ("ours, bf16, BN and ELU by PyTorch", pytorch, "bf16", False), ("ours, bf16, not recorded", eager, "bf16", False))
    for name, batch in sizes:
        for what, make, precision, tf32 in kinds:
            torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = tf32
            do = None                 # the networks before: their memory is none of the next ones' peak
            if device.type == "cuda":
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats(device)
            do = make("gan", _config(name, batch, precision), device)
            do(0, 3)                                                     # kernels are chosen, memory is taken
            rate = check_device.images_per_s(do, batch, device, 3)
            peak = torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else None
            yield {"preset": name, "batch": batch, "what": what, "images_per_s": rate, "peak_gb": peak}


def _without_kernels(do: Callable[[int, int], object]) -> Callable[[int, int], object]:
    """Return what does the same steps with PyTorch's own BN and ELU."""
    from fer_model.engine import norm_elu

    def steps(first: int, end: int) -> object:
        with mock.patch.object(norm_elu, "kernels_for", lambda x: None):
            return do(first, end)

    return steps


def profile(asked: Asked) -> Iterator[dict]:
    """What one step launches, and how long the device is busy with it: by itself, and repeated."""
    import torch
    from torch.profiler import ProfilerActivity

    import benchmarks.training as training
    from fer_model.engine.devices import use_device, wait_for

    device = use_device(asked.device)
    kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])]
    sizes = (("smoke", 8),) if asked.tiny else (("small", 24), ("paper", 150))
    for name, batch, recorded in ((*size, recorded) for size in sizes for recorded in (False, True)):
        do = training.ours("gan", _config(name, batch, "bf16"), device, recorded)
        do(0, 5)
        wait_for(device)
        began = time.perf_counter()
        with torch.profiler.profile(activities=kinds) as found:
            do(5, 6)
            wait_for(device)
        seconds, rows = time.perf_counter() - began, found.key_averages()
        busy = on_device(rows)
        waits = sum(row.count for row in rows if row.key in ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize"))
        yield {"preset": name, "batch": batch, "repeated": recorded, "seconds": seconds, "busy_s": sum(row[2] for row in busy),
               "kernels": sum(row[1] for row in busy), "waits, two of them ours": waits, "most time": busy[:25]}


def on_device(rows: Iterable) -> list[tuple[str, int, float]]:
    """Return (kernel, how often, seconds) of a profile, the longest first. The operations that launched them have that time once more."""
    import torch

    kernels = [row for row in rows if row.device_type != torch.autograd.DeviceType.CPU]
    return sorted(((row.key, row.count, row.self_device_time_total / 1e6) for row in kernels), key=lambda row: -row[2])


def folds(asked: Asked) -> Iterator[dict]:
    """Several folds on one device, on a GPU in turns: images a second of stage 1 of all together."""
    for jobs in (2,) if asked.tiny else FOLDS_AT_ONCE:
        run, kimg, judges = asked.runs / f"folds{jobs}", *((0.032, 0.032) if asked.tiny else (10, 1))
        wanted = ",".join(map(str, range(jobs)))
        budgets = ["--kimg-gan", kimg, "--kimg-head", 0.032, "--set", f"judges.kimg={judges}"]
        _crossval(asked, run, ["--folds", wanted, "--jobs", jobs, *budgets])
        logs = [[json.loads(line) for line in path.read_text().splitlines()] for path in sorted(run.glob("fold*/log.jsonl"))]
        ticks = [[line["images_per_s"] for line in log if line["event"] == "tick" and line["stage"] == "gan"] for log in logs]
        yield {"folds at once": jobs, "images_per_s together": sum(sorted(one)[len(one) // 2] for one in ticks)}


def crossval(asked: Asked) -> Iterator[dict]:
    """Ten folds of DE-GAN on the drawn people, as far as the time goes."""
    began = time.monotonic()
    budgets = ["--kimg-gan", 0.016, "--kimg-head", 0.016, "--set", "judges.kimg=0.016"]
    _crossval(asked, asked.runs / "crossval", budgets if asked.tiny else [])
    yield {"seconds": time.monotonic() - began}


# In this order: what each is, and its seconds at most. Together they are TOTAL_S, also if each takes all of its own; what the others leave
# is the last one's.
PARTS = {
    environment: 30, ceilings: 20, tests: 50, parity: 50, repeated: 25, resume: 20, speed: 100, profile: 30, folds: 50,
    crossval: TOTAL_S,
}


def prepare(data: Path, tiny: bool) -> None:
    """Fill `data` with what the parts need, and say how large it is."""
    from fer_data.prepare.plan import PrepareConfig
    from fer_data.prepare.run import prepare_dataset
    from fer_data.synthetic.ck_plus import write_ck_plus

    data.mkdir(parents=True, exist_ok=True)
    if not (data / "prepared" / "run.json").is_file():
        drawn = {"subjects": 4, "frames": (3, 3)} if tiny else {"subjects": 123}
        write_ck_plus(data / "drawn", **drawn)
        config = PrepareConfig(landmarks="dataset" if tiny else "dlib", folds=2 if tiny else 10, views="virtual")
        prepare_dataset("ck+", data / "drawn", data / "prepared", config)
        shutil.rmtree(data / "drawn")
        shutil.rmtree(data / "prepared" / "cache", ignore_errors=True)
    names, steps = (("smoke",), 4) if tiny else (("small", "paper"), 20)
    reference = {name: _losses(name, "cpu", "fp32", steps) for name in names}
    (data / "reference.json").write_text(json.dumps(reference))
    size = sum(path.stat().st_size for path in data.rglob("*") if path.is_file())
    print(f"{data}: {size / 1e6:.1f} MB")


def _losses(name: str, device: str, precision: str, steps: int) -> dict[str, list[dict[str, float]]]:
    from fer_model.check_device import noise_faces, noise_fold, run_stages
    from fer_model.engine.devices import resolve_device

    return run_stages(_config(name, 8, precision), noise_fold(), noise_faces(), resolve_device(device), precision, steps)[0]


def _config(name: str, batch: int, precision: str):
    """Return a preset with budgets that nothing reaches, and this batch in every stage."""
    from fer_model.config import preset, with_budgets

    config = with_budgets(replace(preset(name), precision=precision), gan=1000, head=1000, cnn=1000, judges=1000)
    if name == "smoke":               # asks whether it runs: pictures no larger than they must be
        config = replace(config, network=replace(config.network, image_size=16))
    return replace(config, **{stage: replace(getattr(config, stage), batch=batch) for stage in ("judges", "gan", "head", "cnn")})


def _seconds(call, device, tiny: bool) -> float:
    """Return the seconds of one call, the best of five times ten."""
    from fer_model.engine.devices import wait_for

    found = []
    for _ in range(2 if tiny else 6):                                    # the first one is slow: never the best
        began = time.perf_counter()
        for _ in range(10):
            call()
        wait_for(device)
        found.append((time.perf_counter() - began) / 10)
    return min(found)


def _crossval(asked: Asked, run: Path, words: list) -> None:
    given = ["--data", asked.data / "prepared", "--run", run, "--preset", "smoke" if asked.tiny else "small", "--devices", asked.device]
    small = ["--set", "network.image_size=16"] if asked.tiny else []
    command = [sys.executable, "-m", "cli.fer_model", "crossval", *map(str, [*given, *small, *words])]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def _write(asked: Asked, part: str, line: dict) -> None:
    with (asked.out / "report.jsonl").open("a") as file:
        file.write(json.dumps({"part": part, **line}) + "\n")


def _run(asked: Asked, part: str, seconds: float) -> str:
    """Run a part in a process of its own; return how it ended."""
    words = [sys.executable, "-m", "benchmarks.device", *asked.words(), "--part", part]
    with subprocess.Popen(words, cwd=ROOT, start_new_session=True, stderr=subprocess.PIPE, text=True) as process:
        try:
            _, said = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            return f"stopped at its deadline of {seconds:.0f} s"
    lines = said.strip().splitlines()
    return "passed" if process.returncode == 0 else f"failed: {lines[-1] if lines else process.returncode}"


def _pack(asked: Asked) -> None:
    """Keep what the last part left of each fold, and remove all runs."""
    with tarfile.open(asked.out / "crossval.tar.gz", "w:gz") as archive:
        for path in sorted(path for name in KEPT for path in asked.runs.glob(f"crossval/fold*/{name}")):
            archive.add(path, path.relative_to(asked.runs))
    shutil.rmtree(asked.runs, ignore_errors=True)


def _table(out: Path) -> str:
    found = [json.loads(line) for line in (out / "report.jsonl").read_text().splitlines()]
    shown = []
    for line in found:
        part, rest = line.pop("part"), ", ".join(f"{name} {_told(value)}" for name, value in line.items() if name != "most time")
        shown.append(f"| {part} | {rest} |")
    return "\n".join(["| part | figures |", "|---|---|", *shown]) + "\n"


def _told(value) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="measure what a GPU computes and how fast, in seven minutes")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N or cpu")
    parser.add_argument("--out", type=Path, default=Path("build/device-report"))
    parser.add_argument("--data", type=Path, default=Path("build/device"), help="what --prepare filled")
    parser.add_argument("--tiny", action="store_true", help="whether the script runs; the figures mean nothing")
    parser.add_argument("--prepare", action="store_true", help="fill the folder --data, on a machine with a CPU")
    parser.add_argument("--part", choices=[part.__name__ for part in PARTS], help="this part alone")
    options = parser.parse_args(words)
    if options.prepare:
        prepare(options.data, options.tiny)
        return 0
    asked = Asked(options.device, options.out.resolve(), options.data.resolve(), options.tiny)
    asked.out.mkdir(parents=True, exist_ok=True)
    parts = {part.__name__: part for part in PARTS}
    if options.part:
        for line in parts[options.part](asked):
            _write(asked, options.part, line)
        return 0
    if not (asked.data / "reference.json").is_file():
        parser.error(f"there is no {asked.data / 'reference.json'}; run `make device` on a machine with the project's packages first")
    (asked.out / "report.jsonl").unlink(missing_ok=True)
    shutil.rmtree(asked.runs, ignore_errors=True)
    limits = dict.fromkeys(PARTS, TINY_S) if asked.tiny else PARTS       # tiny asks whether it runs, on a busy machine too
    end, failed = time.monotonic() + (sum(limits.values()) if asked.tiny else TOTAL_S), False
    for part, seconds in limits.items():
        began = time.monotonic()
        ended = _run(asked, part.__name__, max(1.0, min(seconds, end - began)))
        failed |= ended.startswith("failed") or (ended != "passed" and part is not crossval)
        _write(asked, part.__name__, {"ended": ended, "seconds": round(time.monotonic() - began, 1)})
    _pack(asked)
    (asked.out / "table.md").write_text(_table(asked.out))
    print((asked.out / "table.md").read_text(), end="")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
