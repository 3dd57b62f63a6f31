"""Take stage 1 as it is from an earlier run (--gan).

In:  the folder of a complete run; the resolved configuration and the fold that it is to serve.
Out: GanSource: the weights as bytes, and their entries in the log. What does not fit is refused in one sentence.
"""

from dataclasses import asdict, dataclass
from pathlib import Path

from fer_data.files import sha256_of_bytes, write_bytes_atomically
from fer_data.text import listed
from fer_model.config import METHODS, STAGES_OF, SYNTHESISERS, TrainConfig
from fer_model.data.fold import Fold
from fer_model.errors import ConfigError
from fer_model.runs.differences import first_difference, used
from fer_model.runs.fold_runs import FoldRun
from fer_model.runs.folder import RunFolder

__all__ = ["GanSource", "read_gan", "refuse_itself"]

# Fields of TrainConfig that, with the data, decide stage 1.
DECIDING = ("fold", "fold_rule", "fold_seed", "seed", "selection", "validation_share", "init", "precision", "network", "gan",
            "critics", "ae")


@dataclass(frozen=True)
class GanSource:
    """A trained stage 1 to be used as it is, with what is trained before it: the same fold, data, networks and settings."""

    run: Path
    weights: dict[str, bytes]         # of each stage up to stage 1, in order: gan; or critics and ae
    others: dict[str, bytes]          # files that came with it: samples.png, judges.safetensors
    costs: dict[str, dict]            # of each stage: seconds on the clock, and of processors (none: a run of before)
    code_versions: tuple[str, ...]    # that trained it

    def entry(self, stage: str) -> dict:
        """Return what log.jsonl and result.json say of a stage."""
        sha256 = sha256_of_bytes(self.weights[stage])
        return {"run": str(self.run), "sha256": sha256, "code_versions": list(self.code_versions), **self.costs[stage]}

    def copy_to(self, folder: RunFolder, stage: str) -> None:
        """Put a stage into a run folder, the weights last: with them it is complete."""
        for name, data in self.others.items():
            write_bytes_atomically(folder.path / name, data)
        write_bytes_atomically(folder.weights(stage), self.weights[stage])


def refuse_itself(run: Path, *sources: Path | None) -> None:
    """Raise ConfigError if a run is to take something from itself: starting it again would remove what it needs."""
    for source in sources:
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
    if config.synthesiser is None:
        able = [method for method, stages in STAGES_OF.items() if method in METHODS and set(stages) & set(SYNTHESISERS)]
        why = f"method {config.method} has none that can be taken over, {listed(able)} have one; leave --gan out"
        raise ConfigError(f"taking stage 1 from {run}: {why}")
    if config.synthesiser != theirs.synthesiser:
        both = f"the methods are {theirs.method} there, {config.method} here"
        raise ConfigError(f"taking stage 1 from {run}: both runs need the same kind of it; {both}")
    there, here = ({name: value for name, value in used(asdict(c)).items() if name in DECIDING} for c in (theirs, config))
    if content["manifest_sha256"] != fold.manifest_sha256:
        raise ConfigError(f"taking stage 1 from {run}: it is on other data, the prepared folder is another one or has changed since")
    there |= {"identities": content["identities"]}
    here |= {"identities": list(fold.identities)}
    found = first_difference(there, here)
    if found is not None:
        name, old, new = found
        raise ConfigError(
            f"taking stage 1 from {run}: it is not the one that would be trained here, {name} is {old!r} there and {new!r} here"
        )
    others = {path.name: path.read_bytes() for path in (folder.samples, folder.weights("judges")) if path.is_file()}
    stages = config.stages[: config.stages.index(config.synthesiser) + 1]
    costs = {stage: {name: result["stages"][stage].get(name) for name in ("seconds", "processor_seconds")} for stage in stages}
    versions = FoldRun(Path(run), config.fold, content, "complete").code_versions
    return GanSource(Path(run), {stage: folder.read_weights(stage) for stage in stages}, others, costs, versions)
