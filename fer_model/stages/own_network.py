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
from fer_model.stages.any_network import NetworkStage, first_line, rows_of, shape_of, tried, two_pictures

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
    except Exception as error:                                           # the user's code may raise anything
        what = "what it imports must be installed" if isinstance(error, ImportError) else "mend it there"
        raise RunError(f"loading the network {path}: {_said(error, str(path))}; {what}") from error
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
    that cannot be trained or kept. Only what training asks of it is asked; training mode is tried on a second one, so that weights,
    buffers and what else it counts stay as it made them. Layers without sizes (nn.LazyLinear) have them from the first picture.
    """
    name, given = config.own.network, {"channels": config.network.channels, "image_size": config.network.image_size, "n_classes": n_classes}
    made, size = _class_of(config), config.network.image_size
    try:
        inspect.signature(made).bind(**given)
    except TypeError as error:
        raise ConfigError(f"the network {name}: it is made with {', '.join(given)} by name ({error}); {_mend(made, '__init__')}") from error
    own = _asked(made, lambda: made(**given), name, "it cannot be made")
    network = OwnNetwork(own).eval()
    unfit = f"features does not take pictures of {size} x {size}"
    length = tried(lambda x: _asked(made, lambda: own.features(x), name, unfit), config, f"the network {name}", _mend(made, "features"))
    with torch.no_grad():
        logits = _asked(made, lambda: own.classify(torch.zeros(2, length)), name, "classify does not take its features")
    _refuse_logits(made, name, logits, n_classes)
    _refuse_tensors(network, name)
    _try_step(made, _asked(made, lambda: made(**given), name, "it cannot be made twice"), config, n_classes)
    return network.train()


def _asked(made: type, call: Callable[[], object], name: str, what: str) -> object:
    """Return what `call()` returns. Raises ConfigError with the line of the user's file if it raises anything."""
    try:
        return call()
    except Exception as error:
        file = _file_of(made)
        raise ConfigError(f"the network {name}: {what} ({_said(error, file)}); mend it in {file}") from error


def _file_of(made: type) -> str:
    return sys.modules[made.__module__].__file__


def _said(error: Exception, file: str) -> str:
    """Return what an error says, with its kind and the line of the user's file that it comes from."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    own = isinstance(error, SyntaxError) and error.filename == file      # it comes from no line that was run
    line, text = (error.lineno, error.msg) if own else (lines[-1] if lines else None, first_line(error))
    return f"{type(error).__name__}{f' in line {line}' if line else ''}: {text}"


def _mend(made: type, method: str) -> str:
    """Return where a method is to be mended, as the end of a sentence; of one that is not written in the file, no line."""
    code, file = getattr(inspect.unwrap(getattr(made, method, None)), "__code__", None), _file_of(made)
    line = f"line {code.co_firstlineno} of " if code and code.co_filename == file else ""
    return f"mend {method} in {line}{file}"


def _refuse_logits(made: type, name: str, logits: object, n_classes: int, mode: str = "") -> None:
    if shape_of(logits) != (2, n_classes):
        says = f"{mode}classify must give (B, {n_classes}) logits, of 2 pictures it gives {shape_of(logits)}"
        raise ConfigError(f"the network {name}: {says}; {_mend(made, 'classify')}")


def _try_step(made: type, own: nn.Module, config: TrainConfig, n_classes: int) -> None:
    """Raise ConfigError if a network cannot do in training mode what a step asks of it; afterwards it is not as it was made."""
    name, mode, pictures = config.own.network, "in training mode ", two_pictures(config)
    own.train()
    features = _asked(made, lambda: own.features(pictures), name, f"{mode}features does not take its pictures")
    if not rows_of(features, 2):
        says = f"{mode}its features must be (B, d), a row for each picture; of 2 pictures they are {shape_of(features)}"
        raise ConfigError(f"the network {name}: {says}; {_mend(made, 'features')}")
    logits = _asked(made, lambda: own.classify(features), name, f"{mode}classify does not take its features")
    _refuse_logits(made, name, logits, n_classes, mode)
    expression = torch.tensor([0, n_classes - 1])                                                      # (2,)
    expression = F.one_hot(expression, n_classes).float() if config.own.mixup else expression          # (2,), of mixtures (2, K)
    if getattr(own, "loss", None) is None:
        loss = F.cross_entropy(logits.float(), expression)
    else:
        does_not = "loss does not take its features, logits and expressions"
        loss = _asked(made, lambda: own.loss(features, logits.float(), expression), name, does_not)
        if shape_of(loss) != ():
            says = f"loss must give one number, of 2 pictures it gives {shape_of(loss)}; take its mean"
            raise ConfigError(f"the network {name}: {says}; {_mend(made, 'loss')}")
    _asked(made, loss.backward, name, "nothing can be learned from its loss")


def _refuse_tensors(network: OwnNetwork, name: str) -> None:
    """Raise ConfigError if a tensor has no size yet, nothing in a network learns, or one tensor has two names: a run keeps each once."""
    tensors = network.network.state_dict(keep_vars=True)
    if empty := next((key for key, tensor in tensors.items() if nn.parameter.is_lazy(tensor)), None):
        raise ConfigError(f"the network {name}: {empty} has no size after a picture has passed through; give its layer sizes, or use it")
    if not any(weight.requires_grad and weight.numel() for weight in network.parameters()):
        raise ConfigError(f"the network {name}: it has no parameter that learns, so there is nothing to train")
    names: dict[int, list[str]] = {}
    for key, tensor in tensors.items():
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
