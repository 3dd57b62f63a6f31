"""Take stage 1 as it is from an earlier run (--gan).

In:  the folder of a complete run; the resolved configuration and the fold that it is to serve.
Out: GanSource: gan.safetensors as bytes, and its entry in the log. What does not fit is refused in one sentence.
"""

from dataclasses import asdict, dataclass
from pathlib import Path

from fer_data.files import sha256_of_bytes, write_bytes_atomically
from fer_model.config import TrainConfig
from fer_model.data.fold import Fold
from fer_model.errors import ConfigError
from fer_model.runs.differences import first_difference
from fer_model.runs.folder import RunFolder

__all__ = ["GanSource", "read_gan", "refuse_itself"]

# Fields of TrainConfig that, with the data, decide stage 1.
DECIDING = ("fold", "fold_rule", "fold_seed", "seed", "selection", "validation_share", "init", "network", "gan")


@dataclass(frozen=True)
class GanSource:
    """A trained stage 1 to be used as it is: the same fold, data, networks and settings."""

    run: Path
    weights: bytes                    # gan.safetensors
    others: dict[str, bytes]          # files that came with it: samples.png, judges.safetensors
    seconds: float                    # that training it took, on the clock
    processor_seconds: float | None   # and of processors; None: a run of before
    stage: str = "gan"                # which stage it is

    def entry(self) -> dict:
        """Return what log.jsonl and result.json say of it."""
        costs = {"seconds": self.seconds, "processor_seconds": self.processor_seconds}
        return {"run": str(self.run), "sha256": sha256_of_bytes(self.weights), **costs}

    def copy_to(self, folder: RunFolder) -> None:
        """Put stage 1 into a run folder, the weights last: with them it is complete."""
        for name, data in self.others.items():
            write_bytes_atomically(folder.path / name, data)
        write_bytes_atomically(folder.weights("gan"), self.weights)


def refuse_itself(run: Path, source: Path | None) -> None:
    """Raise ConfigError if a run is to take something from itself: starting it again would remove what it needs."""
    if source is not None and source.resolve() == run.resolve():
        raise ConfigError(f"taking weights from {source}: this is the run to be trained; choose another run")


def read_gan(run: Path, config: TrainConfig, fold: Fold) -> GanSource:
    """Return stage 1 of a complete run, to train another head on it.

    Raises RunError if the run is not complete, ConfigError if its stage 1 is not the one that `config` and `fold` would
    train, naming the first difference.
    """
    folder = RunFolder(run)
    theirs, content = folder.read_config()
    result = folder.read_result()
    if "gan" not in config.stages or "gan" not in theirs.stages:
        raise ConfigError(f"taking stage 1 from {run}: both runs need one; the methods are {theirs.method} there, {config.method} here")
    there, here = ({name: asdict(c)[name] for name in DECIDING} for c in (theirs, config))
    there |= {"manifest_sha256": content["manifest_sha256"], "identities": content["identities"]}
    here |= {"manifest_sha256": fold.manifest_sha256, "identities": list(fold.identities)}
    found = first_difference(there, here)
    if found is not None:
        name, old, new = found
        raise ConfigError(
            f"taking stage 1 from {run}: it is not the one that would be trained here, {name} is {old!r} there and {new!r} here"
        )
    others = {path.name: path.read_bytes() for path in (folder.samples, folder.weights("judges")) if path.is_file()}
    costs = result["stages"]["gan"]
    return GanSource(Path(run), folder.read_weights("gan"), others, costs["seconds"], costs.get("processor_seconds"))
