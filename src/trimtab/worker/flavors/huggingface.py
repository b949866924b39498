"""The Hugging Face container (sagemaker-huggingface-inference-toolkit): a transformers pipeline without a script."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

from trimtab.worker import codecs, media
from trimtab.worker.answers import Fault
from trimtab.worker.environment import thread_count
from trimtab.worker.failures import StartFailed, require
from trimtab.worker.faults import hugging_face_fault_of
from trimtab.worker.flavors.stock import StockDefaults

# By the end of the architecture's name in config.json, longest first (the toolkit's ARCHITECTURES_2_TASK).
_TASKS = {
    "ForTokenClassification": "token-classification",
    "ForSequenceClassification": "text-classification",
    "ForMultipleChoice": "multiple-choice",
    "ForQuestionAnswering": "question-answering",
    "ForMaskedLM": "fill-mask",
    "ForCausalLM": "text-generation",
    "ForConditionalGeneration": "text2text-generation",
    "MTModel": "text2text-generation",
    "EncoderDecoderModel": "text2text-generation",
    "GPT2LMHeadModel": "text-generation",
    "T5WithLMHeadModel": "text2text-generation",
    "ForImageClassification": "image-classification",
    "ForObjectDetection": "object-detection",
    "ForCTC": "automatic-speech-recognition",
}


class HuggingfaceDefaults(StockDefaults):
    """`inputs` and `parameters` in, what the pipeline says out. Every exception is HTTP 400."""

    flavor = "Hugging Face"
    modules: tuple[str, ...] = ("numpy", "torch", "transformers.pipelines")

    def model_fn(self, model_dir: str) -> Any:
        """A pipeline of the artifact's files, or of HF_MODEL_ID; its task from HF_TASK, or from the files."""
        transformers, torch = require("transformers"), require("torch")
        torch.set_num_threads(thread_count(self.environment))
        has_files = (Path(model_dir) / "config.json").is_file() or (Path(model_dir) / "model_index.json").is_file()
        name = self.environment.get("HF_MODEL_ID", "")
        if not has_files and not name:
            raise StartFailed(
                "ArtifactInvalid",
                "The artifact holds no config.json, and HF_MODEL_ID is not set: there is no model.",
            )
        task = self.environment.get("HF_TASK") or (infer_task(Path(model_dir)) if has_files else "")
        if not task:
            raise StartFailed("ModelLoadFailed", "Set HF_TASK: the task cannot be told from HF_MODEL_ID alone.")
        transformers.utils.logging.disable_progress_bar()  # a log holds lines
        return transformers.pipeline(
            task,
            model=model_dir if has_files else name,
            revision=None if has_files else self.environment.get("HF_MODEL_REVISION"),
            device=0 if torch.cuda.is_available() else -1,
            trust_remote_code=self.environment.get("HF_TRUST_REMOTE_CODE", "").lower() in ("1", "true"),
        )

    def input_fn(self, input_data: Any, content_type: str) -> Any:
        """A dict with `inputs`: JSON as it is; CSV rows by its header; images as PIL images; audio as bytes."""
        kind = media.base(content_type)
        if kind == media.JSON:
            return codecs.decode_json(input_data)
        if kind == media.CSV:
            return _decode_csv(codecs.text_of(input_data))
        if kind.startswith("image/"):
            return {"inputs": require("PIL.Image").open(io.BytesIO(input_data))}
        if kind.startswith("audio/"):
            return {"inputs": bytearray(input_data)}
        raise media.unsupported(content_type, (media.JSON, media.CSV, "image/*", "audio/*"))

    def predict_fn(self, data: Any, model: Any) -> Any:
        """`model(inputs, **parameters)`."""
        inputs, parameters = data, None
        if isinstance(data, dict):
            inputs = data.pop("inputs", data)
            parameters = data.pop("parameters", None)
        return model(inputs, **parameters) if parameters is not None else model(inputs)

    def output_fn(self, prediction: Any, accept: str) -> Any:
        """JSON; CSV with a header for a list of dicts."""
        chosen = media.negotiate(accept, (media.JSON, media.CSV), self.accept)
        if chosen == media.CSV and isinstance(prediction, list) and all(isinstance(row, dict) for row in prediction):
            out = io.StringIO()
            writer = csv.DictWriter(out, fieldnames=list(prediction[0]) if prediction else [], lineterminator="\n")
            writer.writeheader()
            writer.writerows(prediction)
            return out.getvalue(), chosen
        return codecs.encode(prediction, chosen), chosen

    def fault_of(self, error: BaseException) -> Fault:
        """HTTP 400 with the toolkit's JSON."""
        return hugging_face_fault_of(error)


def infer_task(model_dir: Path) -> str:
    """The pipeline's task by the architecture in config.json. Raises StartFailed when it is not known."""
    if (model_dir / "model_index.json").is_file():
        return "text-to-image"
    try:
        config = json.loads((model_dir / "config.json").read_text())
        architectures = [str(name) for name in config.get("architectures") or []]
    except (json.JSONDecodeError, AttributeError, OSError, UnicodeDecodeError) as error:
        raise StartFailed("ArtifactInvalid", f"The artifact's config.json cannot be read: {error}.") from error
    for architecture in architectures:
        for ending, task in _TASKS.items():
            if architecture.endswith(ending):
                return task
    raise StartFailed(
        "ModelLoadFailed",
        f"The task cannot be told from config.json (architectures: {', '.join(architectures) or 'none'}). Set HF_TASK.",
    )


def _decode_csv(text: str) -> dict[str, Any]:
    rows = list(csv.DictReader(io.StringIO(text)))
    if not rows or not {"inputs", "question", "context"} & set(rows[0]):
        raise Fault(400, "A CSV body needs a header with the column `inputs` (or `question` and `context`).")
    if "question" in rows[0]:
        return {"inputs": rows}
    return {"inputs": [row["inputs"] if set(row) == {"inputs"} else row for row in rows]}
