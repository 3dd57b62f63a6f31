"""A network of the library timm, by its name: grey pictures in, expressions out.

In:  config.timm.arch; pictures (B, C, S, S) in [-1, 1].
Out: TimmStage, for engine.loop.run_stage; make_timm, its network; its weights are timm.

Grey is repeated to three channels, which is exact; mean and standard deviation are those of the architecture, kept with the weights.
The pictures come as all networks here get them, so timm's size, interpolation and crop are not used. Needs the extra [timm].
"""

from pathlib import Path

import torch
from packaging.version import Version
from torch import Tensor, nn

from fer_data.text import did_you_mean, either
from fer_model.config import TrainConfig
from fer_model.errors import ConfigError, RunError
from fer_model.stages.any_network import UNFIT, NetworkStage, tried

__all__ = ["INSTALL", "TimmNetwork", "TimmStage", "hub_file", "import_timm", "make_timm"]

INSTALL = (
    "install torchvision from the index that torch came from (pip install torchvision --index-url THE_SAME, such as"
    " https://download.pytorch.org/whl/cpu), then: pip install 'fer-degan[timm]'"
)
LEAST = Version("1.0.26")             # before, timm opened weights on disk in a way that can run code


def import_timm():
    """Return the library. Raises RunError, with what to install, if it is missing, too old, or torchvision does not fit torch."""
    try:
        import timm
    except ModuleNotFoundError as error:
        raise RunError(f"method timm: the package {error.name} is missing; {INSTALL}") from error
    except RuntimeError as error:                                        # operator torchvision::nms does not exist
        if "torchvision" not in str(error):
            raise
        raise RunError(f"method timm: torchvision was not made for this torch {torch.__version__} ({error}); {INSTALL}") from error
    if Version(timm.__version__) < LEAST:
        raise RunError(f"method timm: timm {timm.__version__} is too old, {LEAST} is needed; {INSTALL}")
    return timm


class TimmNetwork(nn.Module):
    """timm's network without its classifier, and a new one."""

    inside = "trunk."                 # stands before timm's own names

    def __init__(self, trunk: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]):
        """`mean`, `std`: of each channel of pictures in [0, 1]."""
        super().__init__()
        self.trunk, self.classifier = trunk, nn.Identity()
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))

    def carried(self) -> dict[str, Tensor]:
        """Return what a run that starts from another, or from a file, takes of it: timm's own tensors."""
        return {f"{self.inside}{name}": tensor for name, tensor in self.trunk.state_dict().items()}

    def features(self, x: Tensor) -> Tensor:                             # (B, C, S, S) -> (B, d)
        """Return what the classifier sees: pooled, before dropout."""
        return self.trunk(((x.expand(-1, 3, -1, -1) + 1) / 2 - self.mean) / self.std)

    def classify(self, features: Tensor) -> Tensor:                      # (B, d) -> (B, K)
        """Return the logits."""
        return self.classifier(features).float()

    def forward(self, x: Tensor) -> Tensor:                              # (B, C, S, S) -> (B, K)
        return self.classify(self.features(x))


def make_timm(config: TrainConfig, n_classes: int) -> TimmNetwork:
    """Return config.timm.arch with random weights: pictures (B, C, S, S) in [-1, 1] in, logits (B, K) out.

    Raises RunError if timm cannot be used, ConfigError if it has no such architecture or that takes no pictures of this size.
    """
    timm, arch, size = import_timm(), config.timm.arch, config.network.image_size
    _refuse_unknown(timm, arch)
    what = f"configuration: timm.arch {arch}"
    try:
        trunk = _created(timm, arch, size)
    except UNFIT as error:
        raise ConfigError(f"{what} cannot be made for pictures of {size} x {size} ({error}); choose another one") from error
    data = timm.data.resolve_model_data_config(trunk)
    network = TimmNetwork(trunk, tuple(data["mean"]), tuple(data["std"])).eval()
    way_out = "choose another network.image_size (96, 48, 32, 16) or another network"
    network.classifier = nn.Linear(tried(network.features, config, what, way_out), n_classes)
    return network.train()


def _created(timm, arch: str, size: int) -> nn.Module:
    """Return the architecture without its classifier; `img_size` is said only to those that ask for it."""
    try:
        return timm.create_model(arch, pretrained=False, num_classes=0, img_size=size)
    except TypeError as error:
        if "img_size" not in str(error):
            raise
    return timm.create_model(arch, pretrained=False, num_classes=0)


def _refuse_unknown(timm, arch: str) -> None:
    name, _, weights = arch.partition(".")
    known, tags = timm.list_models(), timm.list_pretrained(f"{name}.*") if weights else []
    if name in known and (not weights or arch in tags):
        return
    kind, near = ("weights", tags) if name in known else ("architecture", known)
    raise ConfigError(
        f"configuration: timm.arch is {arch!r}; timm {timm.__version__} has no {kind} of that name{did_you_mean(arch, near)};"
        " timm.list_models() lists all in Python"
    )


def hub_file(config: TrainConfig, fetch: bool = True) -> tuple[Path, str]:
    """Return the file of weights that timm names for config.timm.arch, fetched from the Hub unless it was before, and whose they are.

    Raises ConfigError if the method is another one or timm names none, RunError if they cannot be fetched; or, without `fetch`, if they
    were not.
    """
    if config.method != "timm":
        raise ConfigError(f"fetching weights: --pretrained is for --method timm, not for {config.method}; leave it out")
    timm, arch = import_timm(), config.timm.arch
    _refuse_unknown(timm, arch)
    said = timm.get_pretrained_cfg(arch)
    if said is None or not said.hf_hub_id:
        known = timm.list_pretrained(f"{arch.partition('.')[0]}.*")
        other = f"; choose {either(known)}" if known else "; use another network, or --weights FILE"
        raise ConfigError(f"fetching weights: timm names none on the Hub for {arch}{other}")
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError

    repository = said.hf_hub_id
    try:
        path = Path(hf_hub_download(repository, "model.safetensors", local_files_only=not fetch))
    except (OSError, ValueError, HfHubHTTPError) as error:               # offline is an OSError, as is not there
        if not fetch:
            raise RunError(
                f"fetching weights: a dry run fetches nothing, and the weights of {repository} are not on this machine; leave"
                f" --dry-run out, or fetch model.safetensors from https://huggingface.co/{repository} and give it with --weights FILE"
            ) from error
        raise RunError(
            f"fetching weights: {repository} cannot be reached ({' '.join(str(error).split())[:120]}); fetch model.safetensors from"
            f" https://huggingface.co/{repository} elsewhere and give it with --weights FILE"
        ) from error
    return path, f"{said.tag or 'what is not said'} ({repository}, licence {said.license or 'not said'})"


class TimmStage(NetworkStage):
    """A network of timm, trained as the baseline is."""

    name = "timm"
    make = staticmethod(make_timm)
