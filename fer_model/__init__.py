"""From faces to a number and a use: training, evaluation, prediction.

`load(run).predict(picture)` finds the faces of a picture and says which expression each shows. Nothing heavy is imported here.
"""

__all__ = ["load"]


def load(run, device="auto", landmarks=None):
    """Return what predicts with a trained network: a run folder, or *.onnx or *.safetensors of `fer-model export`.

    device      auto, cpu, cuda, cuda:N; an ONNX file runs on the CPU, and torch is not imported, except by FAN
    landmarks   fan, dlib or none, in place of the backend with which the training faces were found
    Its `predict(image)` takes a file or an array and returns a Prediction (use/prediction.py). Raises children of FerError.
    """
    from fer_model.use.predictor import load as library

    return library(run, device, landmarks)
