"""A user's own network, from a file that is not in this program: pictures in, expressions out.

In:  FILE.py:Class, or the name of an installed entry point of the group NETWORKS, from the user; config.own, which names it and its sha256.
Out: OwnStage, for engine.loop.run_stage; make_own, its network; its weights are own.

Code runs only if the user names it in this call: `allow` is called for an option, never for what a run or a file says. A run knows the
sha256 of its code, and takes no other. The hash is of the one file; what that imports must be installed.

    class Net(torch.nn.Module):
        __init__(channels, image_size, n_classes)      of pictures (B, channels, image_size, image_size) in [-1, 1]
        features(x) -> (B, d)                          before the classifier; what probes look at
        classify(features) -> (B, n_classes)           logits
        loss(features, logits, expression) -> ()       optional; expression (B,) int64, or (B, n_classes) where views are mixed
"""

import importlib.util
import inspect
import sys
import traceback
import types
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fer_data.files import sha256_of_bytes
from fer_data.text import either
from fer_model.config import NETWORKS, TrainConfig
from fer_model.errors import ConfigError, RunError
from fer_model.stages.any_network import UNFIT, NetworkStage, first_line, tried

__all__ = ["OwnNetwork", "OwnStage", "allow", "allowed", "make_own"]

_METHODS = ("features", "classify")
_ALLOWED: dict[tuple[str, str], tuple[str, type]] = {}           # (name, sha256) -> as the user named it, and the class; `allow` alone adds


def allow(given: str) -> tuple[str, str]:
    """Run the code that the user names, FILE.py:Class or an entry point; return its name in a run (net.py:Net) and its sha256.

    Raises RunError if it is not there or is no network, in one sentence.
    """
    path, name, package = _place(given)
    if not path.is_file():
        raise RunError(f"loading the network {given}: there is no file {path}")
    data = path.read_bytes()
    sha256 = sha256_of_bytes(data)
    known = given if ".py:" not in given else f"{path.name}:{name}"
    _ALLOWED[known, sha256] = (given if ".py:" not in given else f"{path.resolve()}:{name}", _class_in(data, path, name, package, sha256))
    return known, sha256


def allowed() -> list[str]:
    """Return what `allow` was given, for another process of the same call."""
    return [given for given, _ in _ALLOWED.values()]


def _place(given: str) -> tuple[Path, str, str]:
    """Return the file and the class that a name means, and the package that the file belongs to ("": none)."""
    if ".py:" in given:
        path, _, name = given.rpartition(":")
        return Path(path), name, ""
    found = entry_points(group=NETWORKS, name=given)
    if not found:
        there = either(sorted(entry_points(group=NETWORKS).names)) or "none is installed"
        raise RunError(f"loading the network {given}: FILE.py:Class is needed, or an entry point of {NETWORKS} ({there})")
    module, _, name = next(iter(found)).value.partition(":")
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise RunError(f"loading the network {given}: its entry point names {module}, which has no file")
    return Path(spec.origin), name, module.rpartition(".")[0]


def _class_in(data: bytes, path: Path, name: str, package: str, sha256: str) -> type:
    """Run the bytes that were hashed, as a module of its own, and return the class in it."""
    module = types.ModuleType(f"own_network_{sha256[:12]}")
    module.__file__, module.__package__ = str(path), package
    sys.modules[module.__name__] = module
    try:
        exec(compile(data, str(path), "exec"), module.__dict__)
    except (SyntaxError, ImportError) as error:
        raise RunError(f"loading the network {path}: {type(error).__name__}, {error}; what it imports must be installed") from error
    found = vars(module).get(name)
    if not inspect.isclass(found) or not issubclass(found, nn.Module):
        there = [key for key, one in vars(module).items() if inspect.isclass(one) and issubclass(one, nn.Module)]
        raise RunError(f"loading the network {path}: {name} must be a class of torch.nn.Module; the file has {either(there) or 'none'}")
    missing = [method for method in _METHODS if not callable(getattr(found, method, None))]
    if missing:
        raise RunError(f"loading the network {path}: {name} must have the method {missing[0]}; docs/extend/method.md says what it does")
    return found


class OwnNetwork(nn.Module):
    """The user's network, called as all are."""

    inside = "network."               # stands before the user's own names

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def carried(self) -> dict[str, Tensor]:
        """Return what a run that starts from a file takes of it: all tensors but those of a part named `classifier`."""
        theirs = self.network.state_dict()
        return {f"{self.inside}{name}": tensor for name, tensor in theirs.items() if name.partition(".")[0] != "classifier"}

    def features(self, x: Tensor) -> Tensor:                             # (B, C, S, S) -> (B, d)
        """Return what the classifier sees."""
        return self.network.features(x)

    def classify(self, features: Tensor) -> Tensor:                      # (B, d) -> (B, K)
        """Return the logits."""
        return self.network.classify(features).float()

    def forward(self, x: Tensor) -> Tensor:                              # (B, C, S, S) -> (B, K)
        return self.classify(self.features(x))


def make_own(config: TrainConfig, n_classes: int) -> OwnNetwork:
    """Return the network that config.own names, as it makes itself: pictures (B, C, S, S) in [-1, 1] in, logits (B, K) out.

    Raises RunError if the user has not named its code, ConfigError if it does not take these pictures, has other outputs, or tensors
    that cannot be trained or kept. Only what training asks of it is asked; its weights and buffers stay as it made them.
    """
    name, given = config.own.network, {"channels": config.network.channels, "image_size": config.network.image_size, "n_classes": n_classes}
    made = _class_of(config)
    try:
        inspect.signature(made).bind(**given)
    except TypeError as error:
        raise ConfigError(f"the network {name}: it is made with {', '.join(given)} by name ({error})") from error
    own = _asked(made, lambda: made(**given), name, "it cannot be made")
    network = OwnNetwork(own).eval()
    features = torch.zeros(2, tried(network.features, config, f"the network {name}"))                  # (2, d)
    before = {key: tensor.clone() for key, tensor in own.state_dict().items()}
    with torch.no_grad():
        logits = _asked(made, lambda: own.classify(features), name, "classify does not take its features")
        if _shape(logits) != (2, n_classes):
            raise ConfigError(f"the network {name}: classify must give (B, {n_classes}) logits, of 2 pictures it gives {_shape(logits)}")
        if getattr(own, "loss", None) is not None:
            _try_loss(made, own, config, features, logits.float())
    own.load_state_dict(before)                                          # a loss may keep means of its own
    _refuse_tensors(network, name)
    return network.train()


def _asked(made: type, call: Callable[[], object], name: str, what: str) -> object:
    """Return what `call()` returns. Raises ConfigError with the line of the user's file if it raises what a network's code may."""
    try:
        return call()
    except UNFIT as error:
        file = sys.modules[made.__module__].__file__
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
        where = f" in line {lines[-1]}" if lines else ""
        raise ConfigError(f"the network {name}: {what} ({type(error).__name__}{where}: {first_line(error)}); mend it in {file}") from error


def _shape(value: object) -> tuple[int, ...] | str:
    """Return the shape of a tensor, of anything else its kind."""
    return tuple(value.shape) if isinstance(value, Tensor) else f"a {type(value).__name__}"


def _try_loss(made: type, own: nn.Module, config: TrainConfig, features: Tensor, logits: Tensor) -> None:
    """Raise ConfigError if the network's own loss does not give one number for the expressions that training gives it."""
    name, expression = config.own.network, torch.tensor([0, logits.shape[1] - 1])                      # (2,)
    expression = F.one_hot(expression, logits.shape[1]).float() if config.own.mixup else expression    # (2,), of mixtures (2, K)
    loss = _asked(made, lambda: own.loss(features, logits, expression), name, "loss does not take its features, logits and expressions")
    if _shape(loss) != ():
        raise ConfigError(f"the network {name}: loss must give one number, of 2 pictures it gives {_shape(loss)}; take its mean")


def _refuse_tensors(network: OwnNetwork, name: str) -> None:
    """Raise ConfigError if nothing in a network learns, or if one tensor has two names: the file of a run keeps each once."""
    if not any(weight.requires_grad and weight.numel() for weight in network.parameters()):
        raise ConfigError(f"the network {name}: it has no parameter that learns, so there is nothing to train")
    names: dict[int, list[str]] = {}
    for key, tensor in network.network.state_dict().items():
        if tensor.numel():
            names.setdefault(tensor.data_ptr(), []).append(key)
    if tied := next((two for two in names.values() if len(two) > 1), None):
        raise ConfigError(f"the network {name}: {' and '.join(tied)} are one tensor (tied weights), which a run keeps once; make two of it")


def _class_of(config: TrainConfig) -> type:
    name, sha256 = config.own.network, config.own.sha256
    if name is None or sha256 is None:
        raise ConfigError("configuration: method own is a network of yours; name it: --method FILE.py:Class")
    if (name, sha256) in _ALLOWED:
        return _ALLOWED[name, sha256][1]
    other = [hashed for known, hashed in _ALLOWED if known == name]
    what = f"the file that was given has {other[0][:12]}..., so it was changed since" if other else "it is not run unless you name it"
    where = f"path/to/{name}" if ".py:" in name else name
    raise RunError(f"the network {name} is code that is not in this program (sha256 {sha256[:12]}...); {what}: --method {where}")


class OwnStage(NetworkStage):
    """A user's network, trained as the baseline is, or with the loss that it has itself."""

    name = "own"
    make = staticmethod(make_own)

    def loss(self, features: Tensor, logits: Tensor, expression: Tensor) -> Tensor:
        own = getattr(self.learner.network.network, "loss", None)
        return super().loss(features, logits, expression) if own is None else own(features, logits, expression)
