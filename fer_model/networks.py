"""The networks: views in, representations, faces and logits out.

In:  views (B, C, 96, 96) float32 in [-1, 1], brought to the network's own size by to_input_size.
Out: f(x) (B, N_f), synthesised faces (B, C, S, S) in [-1, 1], logits (B, classes), all before any softmax.

Letters: B batch, C channels, S image size (96, 48, 32 or 16), K classes, N_f representation, N_i identities, N_z noise.

    code                        paper (fig. 1-3)            layers
    Trunk, Encoder              G_en; D below its heads     table A of DR-GAN (Tran, Yin, Liu, CVPR 2017)
    Decoder                     G_de                        table B of DR-GAN
    ConditionalDecoder          G_de of the auto-encoder    table B; I and f(x) scale and shift every layer
    Discriminator               D = [D^e, D^i]              table A, then one fully connected layer in two parts
    LocalCnn, Head              local CNNs, L_1 .. L_5      open in the paper; see HeadConfig
    MlpHead, LinearSvm          MLP, SVM of 1909.13135      f(x) alone; open there too
    BaselineCnn                 CNN (baseline)              open in the paper: eight convolutions, one hidden layer
    NeutralGenerator            G of DeRL                   tables A and B; open in its paper
    PairDiscriminator           D of DeRL                   table A on two faces
    IdentityAwareCnn            IACNN of table 1            the baseline's convolutions, two branches; see IacnnConfig
    AveragedCnns                                            several of them, their probabilities averaged

3x3 kernels; BN and ELU after each layer; a stride of 2 instead of pooling. Padding is 1 on all sides, also at stride 2
(TensorFlow's 'SAME' of the official code pads right and bottom only there, which shifts each scale by half a pixel);
the decoder's output_padding=1 mirrors exactly this. The official code has no activation on f(x) either.
"""

import math
from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fer_data.faces.views import VIEW_SIZE
from fer_data.text import unknown
from fer_model.config import CnnConfig, HeadConfig, IacnnConfig, NetworkConfig
from fer_model.engine import distributed, norm_elu
from fer_model.engine.randomness import uniform
from fer_model.errors import ConfigError, ShapeError

__all__ = [
    "TRUNK", "DECODER", "AveragedCnns", "BaselineCnn", "ConditionalDecoder", "Decoder", "Discriminator", "Encoder", "Generator", "Head",
    "IdentityAwareCnn", "LinearSvm", "LocalCnn", "MlpHead", "NeutralGenerator", "Norm1d", "Norm2d", "PairDiscriminator", "Trunk", "build",
    "dropout", "expect_shape", "make_cnn", "make_head", "one_hot", "spectral", "to_input_size",
]

# Table A: name, output channels at width 1 (None: N_f), stride.
TRUNK = (
    ("conv11", 32, 1), ("conv12", 64, 1),
    ("conv21", 64, 2), ("conv22", 64, 1), ("conv23", 128, 1),
    ("conv31", 128, 2), ("conv32", 96, 1), ("conv33", 192, 1),
    ("conv41", 192, 2), ("conv42", 128, 1), ("conv43", 256, 1),
    ("conv51", 256, 2), ("conv52", 160, 1), ("conv53", None, 1),
)
# Table B: name, output channels at width 1 (None: the channels of a face), stride.
DECODER = (
    ("fconv52", 160, 1), ("fconv51", 256, 1),
    ("fconv43", 256, 2), ("fconv42", 128, 1), ("fconv41", 192, 1),
    ("fconv33", 192, 2), ("fconv32", 96, 1), ("fconv31", 128, 1),
    ("fconv23", 128, 2), ("fconv22", 64, 1), ("fconv21", 64, 1),
    ("fconv13", 64, 2), ("fconv12", 32, 1), ("fconv11", None, 1),
)
HALVINGS = 4                          # strides of 2 in the trunk, blocks of the baseline
DOWNSAMPLING = 2**HALVINGS


def expect_shape(tensor: Tensor, shape: tuple[int | None, ...], what: str) -> None:
    """Raise ShapeError unless `tensor` has `shape`, None standing for any size; the message names the dimension."""
    if tensor.ndim != len(shape):
        raise ShapeError(f"{what}: expected {len(shape)} dimensions {shape}, got {tensor.ndim}: {tuple(tensor.shape)}")
    for dimension, (expected, got) in enumerate(zip(shape, tensor.shape, strict=True)):
        if expected is not None and expected != got:
            raise ShapeError(f"{what}: dimension {dimension} must be {expected}, got {got}: {tuple(tensor.shape)}")


def to_input_size(views: Tensor, image_size: int) -> Tensor:
    """Return views (B, C, 96, 96) as (B, C, S, S), channels last: the exact mean of each block of 96/S x 96/S pixels.

    The only place where a view changes its size.
    """
    expect_shape(views, (None, None, VIEW_SIZE, VIEW_SIZE), "views")
    if image_size != VIEW_SIZE:
        views = F.avg_pool2d(views, VIEW_SIZE // image_size)                     # (B, C, S, S)
    return views.contiguous(memory_format=torch.channels_last)


def one_hot(labels: Tensor, n: int) -> Tensor:
    """Return labels (B,) int64 as (B, n) float32. PyTorch's own reads the labels on a CPU, to check them."""
    return torch.zeros(len(labels), n, device=labels.device).scatter_(1, labels[:, None], 1.0)


def dropout(x: Tensor, share: float, key: Tensor | None, place: int = 0) -> Tensor:
    """Return x (B, d) with a share of its values at 0, the others scaled up; x itself without a key (evaluation).

    `key`, `place`: as in randomness.uniform; its rows are those of the batch of all processes.
    """
    if key is None or share == 0:
        return x
    first = distributed.rank() * len(x) if distributed.size() > 1 else 0
    kept = (uniform(key, range(first, first + len(x)), x.shape[1], place) >= share).to(x.dtype)
    return x * kept / (1 - share)


def _mean_of_softmaxes(logits: Sequence[Tensor]) -> Tensor:
    """Return the logarithm of the mean of several softmaxes: logits (B, K) again."""
    return torch.stack([one.log_softmax(1) for one in logits]).logsumexp(0) - math.log(len(logits))


def _scaled(channels: int, width: float) -> int:
    return max(1, round(channels * width))


class _Norm(nn.modules.batchnorm._BatchNorm):
    """BN that does not count its batches: with a fixed momentum nobody reads the count, and on a GPU it is a kernel a layer."""

    def forward(self, x: Tensor) -> Tensor:
        self._check_input_dim(x)
        kept = self.track_running_stats or not self.training             # not: normalised by the batch, running statistics stay
        running = (self.running_mean, self.running_var) if kept else (None, None)
        return F.batch_norm(x, *running, self.weight, self.bias, self.training, self.momentum, self.eps)


class Norm1d(_Norm, nn.BatchNorm1d):
    """nn.BatchNorm1d."""


class Norm2d(_Norm, nn.BatchNorm2d):
    """nn.BatchNorm2d."""


class _NormElu(nn.Sequential):
    """What may come first, then BN and ELU; a GPU does these two as one in training. SyncBatchNorm, in BN's place, is left alone."""

    def forward(self, x: Tensor) -> Tensor:
        *before, norm, activation = self
        for part in before:
            x = part(x)
        kernels = norm_elu.kernels_for(x) if isinstance(norm, Norm2d) and norm.training else None
        return activation(norm(x)) if kernels is None else norm_elu.norm_elu(x, norm, kernels)


def _layer(convolution: nn.Module, channels: int, activation: bool = True, norm: bool = True) -> nn.Sequential:
    parts = [convolution, Norm2d(channels) if norm else nn.Identity()]
    return _NormElu(*parts, nn.ELU(inplace=True)) if activation else nn.Sequential(*parts)


def spectral(network: nn.Module, generator: torch.Generator) -> nn.Module:
    """Divide every convolution's and linear layer's weights by their largest singular value, from now on; a step of power
    iteration a pass in training mode. Its first vectors are drawn from `generator`."""
    with torch.random.fork_rng(devices=[]):                              # PyTorch draws them from the global generator
        torch.default_generator.manual_seed(int(torch.randint(2**31, (), generator=generator)))    # those of GPUs stay as they are
        for module in list(network.modules()):
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.utils.parametrizations.spectral_norm(module)
    return network


def _convolution(inputs: int, outputs: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)          # BN's shift is the bias


class Trunk(nn.Module):
    """Table A: a face in, f(x) out."""

    def __init__(self, config: NetworkConfig, without_norm: tuple[str, ...] = (), faces: int = 1):
        """`without_norm` names layers that have no BN; `faces`: how many are looked at together, as channels.

        Raises ConfigError for a layer that is not in table A.
        """
        super().__init__()
        known = [name for name, _, _ in TRUNK]
        for name in without_norm:
            if name not in known:
                raise ConfigError(f"configuration: {unknown('layer of network.d_without_norm', name, known)}")
        inputs, size = faces * config.channels, config.image_size
        self.shape = (None, inputs, size, size)
        self.sizes: dict[str, tuple[int, int]] = {}                              # layer -> (channels, pixels)
        self.layers = nn.ModuleDict()
        for name, channels, stride in TRUNK:
            outputs = config.representation if channels is None else _scaled(channels, config.width)
            # No activation before f(x), as in DR-GAN's official code: f(x) then lies on both sides of 0.
            norm = name not in without_norm
            self.layers[name] = _layer(_convolution(inputs, outputs, stride), outputs, activation=channels is not None, norm=norm)
            inputs, size = outputs, size // stride
            self.sizes[name] = (outputs, size)
        self.shortcuts = nn.ModuleDict(_shortcuts(self.layers)) if config.residual else None

    def forward(self, x: Tensor) -> Tensor:                                      # (B, C, S, S) -> (B, N_f)
        return self.with_taps(x, ())[0]

    def with_taps(self, x: Tensor, names: tuple[str, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return f(x) (B, N_f) and the outputs of the named layers, in the order of `names`."""
        expect_shape(x, self.shape, "trunk input")
        taps, before = {}, x
        for name, layer in self.layers.items():
            x = layer(x)                                                         # (B, channels, size, size)
            if self.shortcuts is not None and name in self.shortcuts:            # the last layer of a scale
                x = before = x + self.shortcuts[name](before)
            if name in names:
                taps[name] = x
        return x.float().mean((2, 3)), tuple(taps[name] for name in names)       # (B, N_f)


def _shortcuts(layers: nn.ModuleDict) -> dict[str, nn.Sequential]:
    """Return, by the last layer of each scale of table A, a way round it: 2x2 means if the scale halves the picture, a 1x1
    convolution, BN. (Not a 1x1 convolution of stride 2: PyTorch 2.13 corrupts memory in its backward pass on a CPU.)
    """
    found, inputs, stride = {}, layers[TRUNK[0][0]][0].in_channels, 1
    for number, (name, _, own_stride) in enumerate(TRUNK):
        stride *= own_stride
        if number + 1 == len(TRUNK) or TRUNK[number + 1][2] > 1:
            outputs = layers[name][0].out_channels
            found[name] = nn.Sequential(nn.AvgPool2d(stride), nn.Conv2d(inputs, outputs, 1, bias=False), Norm2d(outputs))
            inputs, stride = outputs, 1
    return found


Encoder = Trunk                       # G_en is table A and nothing else


class Decoder(nn.Module):
    """Table B: f(x), an identity code and noise in, a face in [-1, 1] out."""

    def __init__(self, config: NetworkConfig, n_identities: int, noise: int | None = None):
        """`noise`: N_z; None: that of the configuration."""
        super().__init__()
        self.inputs = (config.representation, n_identities, config.noise if noise is None else noise)
        self.base = config.image_size // DOWNSAMPLING                            # 6 at 96 px
        self.code_scale = config.code_scale
        channels = config.representation
        self.fc = nn.Linear(sum(self.inputs), channels * self.base**2, bias=False)
        self.fc_norm = _NormElu(Norm2d(channels), nn.ELU(inplace=True))
        self.layers = nn.ModuleDict()
        for name, width_1, stride in DECODER:
            outputs = config.channels if width_1 is None else _scaled(width_1, config.width)
            last = width_1 is None
            up = nn.ConvTranspose2d(channels, outputs, 3, stride, padding=1, output_padding=stride - 1, bias=last)
            self.layers[name] = nn.Sequential(up, nn.Tanh()) if last else _layer(up, outputs)
            channels = outputs

    def forward(self, f: Tensor, code: Tensor, noise: Tensor) -> Tensor:
        """f (B, N_f), code (B, N_i) one-hot, noise (B, N_z) -> faces (B, C, S, S)."""
        return list(self.outputs(f, code, noise))[-1][1].float()

    def outputs(self, f: Tensor, code: Tensor, noise: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yield each layer's name and output (B, channels, size, size), from the smallest size to the face."""
        for tensor, size, what in zip((f, code, noise), self.inputs, ("f(x)", "identity code", "noise"), strict=True):
            expect_shape(tensor, (None, size), f"decoder input {what}")
        x = self.fc(torch.cat([f, self.code_scale * code, noise], dim=1))                          # (B, N_f * base * base)
        x = x.unflatten(1, (self.inputs[0], self.base, self.base))               # (B, N_f, base, base)
        x = self.fc_norm(x.contiguous(memory_format=torch.channels_last))
        for name, layer in self.layers.items():
            x = layer(x)
            yield name, x


class ConditionalNorm(nn.Module):
    """BN whose scale and shift follow from a condition (B, n) (Dumoulin et al., ICLR 2017), then ELU."""

    def __init__(self, channels: int, condition: int):
        super().__init__()
        self.norm = Norm2d(channels, affine=False)
        self.affine = nn.Linear(condition, 2 * channels)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:                   # (B, channels, s, s) -> the same
        scale, shift = self.affine(condition)[..., None, None].chunk(2, dim=1)   # (B, channels, 1, 1)
        return F.elu(self.norm(x) * (1 + scale) + shift)


class ConditionalDecoder(nn.Module):
    """Table B with I and f(x) at every scale: they scale and shift each layer. A face in [-1, 1] out.

    f(x) is standardised, and all of its values together are half as large as the embedding of I: 350 values as large as the
    embedding's own drown I out. Noise is taken, so that it is called as Decoder is, and not used:
    targets that are real faces leave nothing to it.
    """

    def __init__(self, config: NetworkConfig, embedding: int, n_identities: int):
        super().__init__()
        self.inputs = (config.representation, n_identities)
        self.base, condition = config.image_size // DOWNSAMPLING, config.representation + embedding
        self.f_norm = Norm1d(config.representation, affine=False)
        self.f_scale = 0.5 * math.sqrt(embedding / config.representation)
        self.embedding = nn.Linear(n_identities, embedding, bias=False)
        self.embedding.init_std = 1.0                                            # as large as values of f(x), once they are standardised
        channels = _scaled(DECODER[1][1], config.width)
        self.fc = nn.Linear(condition, channels * self.base**2, bias=False)
        self.fc_norm = ConditionalNorm(channels, condition)
        self.layers, self.norms = nn.ModuleDict(), nn.ModuleDict()
        for name, width_1, stride in DECODER:
            outputs, last = config.channels if width_1 is None else _scaled(width_1, config.width), width_1 is None
            self.layers[name] = nn.ConvTranspose2d(channels, outputs, 3, stride, padding=1, output_padding=stride - 1, bias=last)
            if not last:
                self.norms[name] = ConditionalNorm(outputs, condition)
            channels = outputs

    def forward(self, f: Tensor, code: Tensor, noise: Tensor | None = None) -> Tensor:
        """f (B, N_f), code (B, N_i) one-hot or a mixture -> faces (B, C, S, S)."""
        for tensor, size, what in zip((f, code), self.inputs, ("f(x)", "identity code"), strict=True):
            expect_shape(tensor, (None, size), f"decoder input {what}")
        condition = torch.cat([self.f_scale * self.f_norm(f), self.embedding(code)], dim=1)     # (B, N_f + embedding)
        x = self.fc(condition).unflatten(1, (-1, self.base, self.base))          # (B, channels, base, base)
        x = self.fc_norm(x.contiguous(memory_format=torch.channels_last), condition)
        for name, norm in self.norms.items():
            x = norm(self.layers[name](x), condition)
        return torch.tanh(self.layers[DECODER[-1][0]](x)).float()                # (B, C, S, S)


class Generator(nn.Module):
    """G = (G_en, G_de): a face, an identity code, noise in; a face of that identity with the input's expression out."""

    def __init__(self, encoder: Encoder, decoder: nn.Module):
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def forward(self, x: Tensor, code: Tensor, noise: Tensor) -> Tensor:         # -> (B, C, S, S)
        return self.decoder(self.encoder(x), code, noise)


class NeutralGenerator(nn.Module):
    """G of DeRL: a face in, the same person's neutral face out. What makes the difference stays in its layers, the residue."""

    def __init__(self, config: NetworkConfig):
        super().__init__()
        self.encoder, self.decoder = Encoder(config), Decoder(config, 0, noise=0)

    @property
    def sizes(self) -> dict[str, tuple[int, int]]:
        """Return, by the layer of the encoder, (channels, pixels) of it and of the decoder's layer of the same size together."""
        mirrored = {name.removeprefix("f"): layer[0].out_channels for name, layer in self.decoder.layers.items()}
        return {name: (own + mirrored[name], size) for name, (own, size) in self.encoder.sizes.items() if name in mirrored}

    def forward(self, x: Tensor) -> Tensor:                                      # (B, C, S, S) -> the same
        return self.decoder(self.encoder(x), *self._nothing(x))

    def with_taps(self, x: Tensor, names: tuple[str, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return f(x) (B, N_f), the last encoding layer, and the residue at the named layers of the encoder, in the order of `names`:
        each with the decoder's layer of the same size, side by side (B, channels, size, size)."""
        f, taps = self.encoder.with_taps(x, names)
        mirrored = {}
        for name, output in self.decoder.outputs(f, *self._nothing(x)):
            mirrored[name] = output
            if all(f"f{tap}" in mirrored for tap in names):                      # nobody looks at the layers behind
                break
        return f, tuple(torch.cat([tap, mirrored[f"f{name}"]], dim=1) for name, tap in zip(names, taps, strict=True))

    @staticmethod
    def _nothing(x: Tensor) -> tuple[Tensor, Tensor]:
        """Return a code and noise of length 0: G of DeRL has neither."""
        n = x.shape[0]                                                           # len(x) would stand in an exported graph as a constant
        return x.new_zeros(n, 0), x.new_zeros(n, 0)                              # (B, 0), (B, 0)


class PairDiscriminator(nn.Module):
    """D of DeRL's conditional GAN: is the second face the neutral one of the first, or G's?"""

    def __init__(self, config: NetworkConfig):
        super().__init__()
        self.trunk = Trunk(config, config.d_without_norm, faces=2)
        self.real = nn.Linear(config.representation, 1)

    def forward(self, x: Tensor, neutral: Tensor) -> Tensor:                     # two of (B, C, S, S) -> (B,)
        return self.real(self.trunk(torch.cat([x, neutral], dim=1)))[:, 0].float()


class Discriminator(nn.Module):
    """Table A, then one fully connected layer in two parts: N_e + 1 expressions (the last is fake), N_i identities.

    Where people are unknown, N_i is 0 and there is no second part.
    """

    def __init__(self, config: NetworkConfig, n_classes: int, n_identities: int):
        super().__init__()
        self.trunk = Trunk(config, config.d_without_norm)
        self.expression = nn.Linear(config.representation, n_classes + 1)
        self.identity = nn.Linear(config.representation, n_identities) if n_identities else None

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """x (B, C, S, S) -> expression logits (B, N_e + 1), identity logits (B, N_i); None: people unknown."""
        features = self.trunk(x)                                                 # (B, N_f)
        return self.expression(features).float(), None if self.identity is None else self.identity(features).float()


def _block(inputs: int, outputs: int) -> list[nn.Module]:
    """Two 3x3 convolutions, then the largest of each 2x2: (B, inputs, s, s) -> (B, outputs, s / 2, s / 2)."""
    first, second = (_layer(_convolution(channels, outputs, 1), outputs) for channels in (inputs, outputs))
    return [first, second, nn.MaxPool2d(2)]


class LocalCnn(nn.Module):
    """One local CNN: a tap of the encoder in, its last fully connected layer FC_i and its own logits out.

    It goes on from the tap's scale as the baseline would: the same blocks, as wide as the baseline's there. Its features
    are flattened, not averaged: where on the aligned face something moves is what tells expressions apart.
    """

    def __init__(self, inputs: int, size: int, base: int, config: HeadConfig, n_classes: int):
        super().__init__()
        self.shape = (None, inputs, size, size)
        n_blocks, layers = round(math.log2(size / base)), []                      # down to the last scale
        for block in range(HALVINGS - n_blocks, HALVINGS):
            channels = config.local_channels * 2**block
            layers += _block(inputs, channels)
            inputs = channels
        channels = config.local_channels * 2 ** (HALVINGS - 1)
        layers.append(_layer(_convolution(inputs, channels, 1), channels))
        self.layers = nn.Sequential(*layers)
        self.fc = nn.Linear(channels * base**2, config.local_features)
        self.dropout = config.local_dropout
        self.logits = nn.Linear(config.local_features, n_classes)

    def forward(self, tap: Tensor, key: Tensor | None = None, place: int = 0) -> tuple[Tensor, Tensor]:
        """tap (B, C, s, s) -> FC_i (B, features), logits (B, K); `key`, `place`: as in dropout."""
        expect_shape(tap, self.shape, "local CNN input")
        features = F.elu(self.fc(self.layers(tap).flatten(1)))                   # (B, features)
        return features, self.logits(dropout(features, self.dropout, key, place)).float()


class Head(nn.Module):
    """Four local CNNs on the encoder's taps, and the classifier on concat(FC_1 .. FC_4, f(x)); variant taps leaves f(x) out."""

    def __init__(self, network: NetworkConfig, config: HeadConfig, n_classes: int, body: type[nn.Module] = Trunk):
        """`body`: what gives the taps, Trunk or NeutralGenerator."""
        super().__init__()
        with torch.device("meta"):
            sizes = body(network).sizes
        for name in config.taps:
            if name not in sizes:
                raise ConfigError(f"configuration: {unknown('layer of head.taps', name, sizes)}")
        base = network.image_size // DOWNSAMPLING
        self.representation, self.dropout, self.with_f = network.representation, config.dropout, config.variant == "both"
        self.prediction = config.prediction
        self.local = nn.ModuleList(LocalCnn(*sizes[name], base, config, n_classes) for name in config.taps)
        beside = network.representation if self.with_f else 0
        self.classifier = nn.Linear(len(config.taps) * config.local_features + beside, n_classes)

    def forward(self, f: Tensor, taps: tuple[Tensor, ...], key: Tensor | None = None) -> tuple[Tensor, ...]:
        """f (B, N_f) and the taps -> five logits (B, K): the local CNNs', then the prediction's. `key`: dropout's."""
        expect_shape(f, (None, self.representation), "head input f(x)")
        local = [cnn(tap, key, place) for place, (cnn, tap) in enumerate(zip(self.local, taps, strict=True), 1)]
        features, logits = zip(*local, strict=True)
        parts = [*features, f] if self.with_f else features
        joined = dropout(torch.cat(parts, dim=1), self.dropout, key)             # (B, 4 * features [+ N_f])
        return (*logits, self.classifier(joined).float())

    def predict(self, f: Tensor, taps: tuple[Tensor, ...]) -> Tensor:
        """Return the prediction's logits (B, K): those of L5, or the logarithm of the mean of the five softmaxes."""
        logits = self(f, taps)
        if self.prediction == "joined":
            return logits[-1]
        return _mean_of_softmaxes(logits)


class MlpHead(nn.Module):
    """f(x) alone, each of its values standardised (BN), through one hidden layer."""

    def __init__(self, network: NetworkConfig, config: HeadConfig, n_classes: int):
        super().__init__()
        self.representation, self.dropout = network.representation, config.dropout
        self.norm = Norm1d(network.representation)
        self.fc = nn.Linear(network.representation, config.mlp_features)
        self.classifier = nn.Linear(config.mlp_features, n_classes)

    def forward(self, f: Tensor, taps: tuple[Tensor, ...] = (), key: Tensor | None = None) -> tuple[Tensor]:
        """f (B, N_f) -> the logits (B, K), alone in a tuple; `taps` are not looked at. `key`: dropout's."""
        expect_shape(f, (None, self.representation), "head input f(x)")
        features = F.elu(self.fc(self.norm(f)))                                  # (B, features)
        return (self.classifier(dropout(features, self.dropout, key)).float(),)

    def predict(self, f: Tensor, taps: tuple[Tensor, ...]) -> Tensor:
        """Return the logits (B, K)."""
        return self(f)[-1]


class LinearSvm(nn.Module):
    """f(x) alone through a linear SVM that was fitted elsewhere: one margin per class. It has no parameters to descend on."""

    def __init__(self, network: NetworkConfig, n_classes: int):
        super().__init__()
        n_f = network.representation
        self.representation = n_f
        for name, shape in {"weight": (n_classes, n_f), "bias": (n_classes,), "mean": (n_f,), "scale": (n_f,)}.items():
            self.register_buffer(name, torch.zeros(shape))

    def forward(self, f: Tensor, taps: tuple[Tensor, ...] = ()) -> tuple[Tensor]:
        """f (B, N_f) -> the margins (B, K), alone in a tuple; `taps` are not looked at."""
        expect_shape(f, (None, self.representation), "head input f(x)")
        return (F.linear((f.float() - self.mean) / self.scale, self.weight, self.bias),)

    def predict(self, f: Tensor, taps: tuple[Tensor, ...]) -> Tensor:
        """Return the margins (B, K)."""
        return self(f)[-1]


def make_head(network: NetworkConfig, config: HeadConfig, n_classes: int, body: type[nn.Module] = Trunk) -> nn.Module:
    """Return the head of config.variant: f(x) (B, N_f) and config.taps_used of `body` in, logits (B, K) out, the prediction's last."""
    if config.variant == "f-svm":
        return LinearSvm(network, n_classes)
    return MlpHead(network, config, n_classes) if config.variant == "f-mlp" else Head(network, config, n_classes, body)


class BaselineCnn(nn.Module):
    """The paper's CNN (baseline), which it does not describe: a plain CNN of eight convolutions, a face in, logits out."""

    def __init__(self, network: NetworkConfig, config: CnnConfig | IacnnConfig, n_classes: int):
        super().__init__()
        self.shape = (None, network.channels, network.image_size, network.image_size)
        self.dropout = config.dropout
        inputs, layers = network.channels, []
        for outputs in (config.channels * 2**block for block in range(HALVINGS)):
            layers += _block(inputs, outputs)
            inputs = outputs
        self.layers = nn.Sequential(*layers)                                     # (B, 8 c, S / 16, S / 16)
        self.fc = nn.Linear(inputs * (network.image_size // DOWNSAMPLING) ** 2, config.features)
        self.classifier = nn.Linear(config.features, n_classes)

    def features(self, x: Tensor) -> Tensor:                                     # (B, C, S, S) -> (B, features)
        """Return the hidden layer, what its softmax layer sees."""
        return self.scales(x)[-1]

    def scales(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return what each block of x (B, C, S, S) gives, from the first to the last, then the hidden layer (B, features)."""
        expect_shape(x, self.shape, "baseline input")
        found = []
        for layer in self.layers:
            x = layer(x)
            if isinstance(layer, nn.MaxPool2d):                                  # the last of a block
                found.append(x)
        return (*found, F.elu(self.fc(x.flatten(1))))

    def carried(self) -> dict[str, Tensor]:
        """Return what a run that starts from another takes of it: all but the classifier."""
        return {name: tensor for name, tensor in self.state_dict().items() if not name.startswith("classifier.")}

    def classify(self, features: Tensor, key: Tensor | None = None) -> Tensor:   # (B, features) -> (B, K)
        """Return the logits of the hidden layer; `key`: dropout's."""
        return self.classifier(dropout(features, self.dropout, key)).float()

    def forward(self, x: Tensor, key: Tensor | None = None) -> Tensor:           # (B, C, S, S) -> (B, K)
        return self.classify(self.features(x), key)


class IdentityAwareCnn(BaselineCnn):
    """IACNN (Meng et al., FG 2017), one of its two streams, which share their weights: the baseline with two branches.

    One branch is trained to know the expression, the other the person; both together are classified.
    """

    def __init__(self, network: NetworkConfig, config: IacnnConfig, n_classes: int):
        super().__init__(network, config, n_classes)
        self.expression, self.identity = (nn.Linear(config.features, config.branch) for _ in range(2))
        for branch in (self.expression, self.identity):
            branch.init_std = config.features**-0.5                              # with 0.02 hardly anything of the hidden layer arrives
        self.expression_classifier = nn.Linear(config.branch, n_classes)
        self.classifier = nn.Linear(2 * config.branch, n_classes)

    def branches(self, x: Tensor) -> tuple[Tensor, Tensor]:                      # (B, C, S, S) -> (B, branch), (B, branch)
        """Return the branch of the expression and that of the person."""
        hidden = self.scales(x)[-1]                                              # (B, features)
        return self.expression(hidden), self.identity(hidden)

    def features(self, x: Tensor) -> Tensor:                                     # (B, C, S, S) -> (B, 2 * branch)
        """Return both branches, what the softmax layer sees."""
        return torch.cat(self.branches(x), dim=1)


class AveragedCnns(nn.Module):
    """Several baselines, trained apart: the mean of their probabilities (Lakshminarayanan et al., NeurIPS 2017)."""

    def __init__(self, network: NetworkConfig, config: CnnConfig, n_classes: int):
        super().__init__()
        self.members = nn.ModuleList(BaselineCnn(network, config, n_classes) for _ in range(config.members))

    def carried(self) -> dict[str, Tensor]:
        """Return what a run that starts from another takes of it: all but the classifiers."""
        return {f"members.{number}.{name}": tensor for number, one in enumerate(self.members) for name, tensor in one.carried().items()}

    def features(self, x: Tensor) -> Tensor:                                     # (B, C, S, S) -> (B, members * features)
        """Return the members' hidden layers, one behind the other."""
        return torch.cat([member.features(x) for member in self.members], dim=1)

    def forward(self, x: Tensor) -> Tensor:                                      # (B, C, S, S) -> (B, K)
        return _mean_of_softmaxes([member(x) for member in self.members])


def make_cnn(network: NetworkConfig, config: CnnConfig, n_classes: int) -> nn.Module:
    """Return the baseline, or config.members of them: a face in, logits (B, K) out."""
    return (AveragedCnns if config.members > 1 else BaselineCnn)(network, config, n_classes)


def build(
    make: Callable[[], nn.Module], device: torch.device, std: float, generator: torch.Generator,
    finish: Callable[[nn.Module], nn.Module] = lambda network: network,        # what else is drawn, such as `spectral`; on the CPU too
) -> nn.Module:
    """Return the network that `make()` makes, on the device, channels last, with all weights drawn from `generator`.

    Weights ~ N(0, std), section 4.1, but those of a layer with an init_std of its own; biases 0; BN scales 1 and shifts 0. They are
    drawn on the CPU in the order of the modules, so that every device starts from the same numbers. The network is made without storage,
    so PyTorch's own initialisation, which would draw from the global generator, does nothing.
    """
    with torch.device("meta"):
        network = make()
    network = network.to_empty(device="cpu")
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(module.weight, 0.0, getattr(module, "init_std", std), generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.reset_parameters()                                            # scale 1, shift 0, mean 0, variance 1
        elif next(module.parameters(recurse=False), None) is not None:
            raise TypeError(f"no initialisation is written down for {type(module).__name__}")
    network = finish(network.to(memory_format=torch.channels_last))
    return distributed.same_norms(network.to(device), device, (Norm1d, Norm2d))
