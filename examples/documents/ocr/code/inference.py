"""Reads the text of a page image: detection, direction and recognition by RapidOCR, whose models are in its wheel."""

import json

from rapidocr_onnxruntime import RapidOCR


def model_fn(model_dir):
    return RapidOCR(intra_op_num_threads=1, inter_op_num_threads=1)


def input_fn(body, content_type):
    if not content_type.startswith("image/"):
        raise ValueError(f"send an image, not {content_type}")
    return bytes(body)


def predict_fn(image, engine):
    found, _ = engine(image)
    return [{"text": text, "sure": round(float(sure), 3), "corners": corners} for corners, text, sure in found or []]


def output_fn(lines, accept):
    return json.dumps(lines), "application/json"
