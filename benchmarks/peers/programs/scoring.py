"""The model as every peer has it. Runs in the peers' environments: the standard library, numpy and onnxruntime only."""

import os

import numpy as np

MAX_BATCH = int(os.environ.get("BENCH_MAX_BATCH", "0"))  # 0: batching is off
MAX_DELAY_S = int(os.environ.get("BENCH_MAX_DELAY_MS", "0")) / 1000


class Scorer:
    """Rows in, one answer for each row out."""

    def __init__(self):
        self.kind = os.environ["BENCH_MODEL"]
        if self.kind == "echo":
            return
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        path = os.environ["BENCH_MODEL_PATH"]
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.input = self.session.get_inputs()[0].name

    def __call__(self, rows):
        """Lists to lists."""
        if self.kind == "echo":
            return rows
        return self.session.run(None, {self.input: np.array(rows, np.float32)})[0].tolist()

    def array(self, rows):
        """Array to array."""
        return rows if self.kind == "echo" else self.session.run(None, {self.input: rows})[0]

    def many(self, requests):
        """Several requests, each of some rows, in one run of the model."""
        if len(requests) == 1:
            return [self(requests[0])]
        answers = self([row for rows in requests for row in rows])
        cut, at = [], 0
        for rows in requests:
            cut.append(answers[at : at + len(rows)])
            at += len(rows)
        return cut
