"""Stage 2 by a linear SVM (HeadConfig.variant f-svm): f(x) of the frozen encoder in, margins per expression out.

In:  StageInputs: the encoder of stage 1, a Fold, its Views, a TrainConfig whose budgets are resolved.
Out: SvmStage, for engine.loop.run_stage; its weights are encoder and head, head being plain tensors: weight, bias, mean, scale.

    code                        first DE-GAN, arXiv 1909.13135
    f                           f(x), the expression representation, the only thing that the SVM sees
"""

import warnings
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from fer_data.store.loader import Views
from fer_model.errors import RunError
from fer_model.networks import LinearSvm, to_input_size
from fer_model.stages.classifier import VOTES, probabilities
from fer_model.stages.inputs import FoldStage, StageInputs

__all__ = ["SvmStage", "fit_linear_svm"]

MAX_ITERATIONS = 10_000               # Newton steps at most; some dozens are usual
ENCODED_AT_ONCE = 128                 # views


def fit_linear_svm(f: np.ndarray, labels: np.ndarray, n_classes: int, c: float) -> dict[str, np.ndarray]:
    """Return weight (K, N_f), bias (K,), mean (N_f,), scale (N_f,) float32 of a linear SVM on f (n, N_f), labels (n,).

    f is standardised to mean 0 and deviation 1; scikit-learn's LinearSVC, one class against the rest, squared hinge, L2,
    solved in the primal: nothing in it is random, so the same f gives the same bits. Of two classes, the second has scikit-learn's
    margin and the first its negative; a class without a training face has the margin -inf, so it is never predicted.
    """
    from sklearn.exceptions import ConvergenceWarning  # about a second to import, needed only here
    from sklearn.svm import LinearSVC

    f = f.astype(np.float64)
    mean, scale = f.mean(0), f.std(0)
    scale[scale == 0] = 1                                                # a value that never changes tells nothing
    svm = LinearSVC(C=c, dual=False, max_iter=MAX_ITERATIONS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", ConvergenceWarning)
            svm.fit((f - mean) / scale, labels)
    except ConvergenceWarning as error:
        raise RunError(
            f"fitting the SVM on f(x): it did not converge in {MAX_ITERATIONS} iterations; choose head.svm_c smaller than {c:g}"
        ) from error
    found_w, found_b = svm.coef_, svm.intercept_                         # (K', N_f), (K',); one row if K' is 2
    if len(svm.classes_) == 2:
        found_w, found_b = np.concatenate([-found_w, found_w]), np.concatenate([-found_b, found_b])
    weight, bias = np.zeros((n_classes, f.shape[1])), np.full(n_classes, -np.inf)
    weight[svm.classes_], bias[svm.classes_] = found_w, found_b
    return {name: a.astype(np.float32) for name, a in {"weight": weight, "bias": bias, "mean": mean, "scale": scale}.items()}


class SvmStage(FoldStage):
    """Variant f-svm: one step that fits a linear SVM on f(x) of `svm_views` views of each training face."""

    name = "head"
    repeatable = False                # scikit-learn fits on the CPU

    def __init__(self, inputs: StageInputs):
        super().__init__(inputs)
        self.expression = self.fold.expression_labels(torch.device("cpu"))    # (n,) y^e
        self.encoder = inputs.encoder.requires_grad_(False).eval()
        self.svm = LinearSvm(self.run.network, len(self.fold.classes)).to(self.device).eval()
        self.learners = {}

    def _samples(self) -> tuple[Tensor, Tensor]:
        """Return every face with each of its views: faces (n,), views (n,), both int64, face by face."""
        k = torch.tensor(VOTES[self.config.svm_views])
        return torch.arange(self.views.n_faces).repeat_interleave(len(k)), k.repeat(self.views.n_faces)

    @torch.inference_mode()
    def _representations(self, faces: Tensor, k: Tensor) -> np.ndarray:
        """Return f(x) (n, N_f) float32, computed in fp32."""
        found = []
        for part in torch.arange(len(faces)).split(ENCODED_AT_ONCE):
            x = to_input_size(self.views.batch(faces[part], k[part]), self.run.network.image_size)
            found.append(self._f(x).cpu())                               # (b, N_f)
        return torch.cat(found).numpy()

    def draw(self, step: int) -> dict[str, Tensor]:
        return {}

    def compute(self, drawn: Mapping[str, Tensor], kind: None) -> dict[str, Tensor]:
        """Fit; return the share of the training views that the SVM gets wrong."""
        faces, k = self._samples()
        f, labels = self._representations(faces, k), self.expression[faces]
        fitted = fit_linear_svm(f, labels.numpy(), len(self.fold.classes), self.config.svm_c)
        for name, buffer in self.svm.named_buffers():
            buffer.copy_(torch.from_numpy(fitted[name]))
        wrong = self.svm(torch.from_numpy(f).to(self.device))[-1].argmax(1) != labels.to(self.device)
        return {"training_error": wrong.float().mean()}

    def rehearse(self) -> int:
        """Encode some of the views: nearly all of the time."""
        faces, k = (part[:ENCODED_AT_ONCE] for part in self._samples())
        return len(self._representations(faces, k))

    def logits(self, x: Tensor) -> Tensor:
        return self.svm.predict(self._f(x), ())                          # (B, K), margins

    def _f(self, x: Tensor) -> Tensor:                                   # (B, C, S, S) -> (B, N_f)
        """Return f(x): the encoder of DeRL is the whole G, which itself gives a face."""
        return self.encoder.with_taps(x, ())[0]

    def predict(self, views: Views, batch: int = 128) -> Tensor:
        """Return the softmax of the margins (n, K): it has their order, and is no probability that was fitted to anything."""
        return probabilities(self.logits, views, self.run.network.image_size, batch)

    def samples(self, step: int) -> list[str]:
        ids = self.fold.train["image_id"]
        return [f"{ids.iloc[face]}#{k}" for face, k in zip(*(part.tolist() for part in self._samples()), strict=True)]

    def networks(self) -> dict[str, nn.Module]:
        return {"encoder": self.encoder, "head": self.svm}

    def buffers(self) -> dict[str, Tensor]:
        return dict(self.svm.named_buffers())
