"""What spare workers do ahead of their order."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import onnx

from trimtab.worker import rehearsal


def test_the_small_model_is_what_its_comment_says() -> None:
    model = onnx.load_from_string(rehearsal._ONNX)
    onnx.checker.check_model(model, full_check=True)
    assert [node.op_type for node in model.graph.node] == ["MatMul", "Sigmoid", "TreeEnsembleClassifier"]
    assert [opset.version for opset in model.opset_import] == [13, 1]


def in_a_process(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(program)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_rehearsal_leaves_no_thread_no_descriptor_and_no_variable_behind() -> None:
    said = in_a_process(
        """
        import os, sys, onnxruntime, numpy
        from trimtab.worker.rehearsal import rehearse

        def traces():
            return len(os.listdir("/proc/self/task")), sorted(os.listdir("/proc/self/fd")), dict(os.environ)

        before = traces()
        rehearse()
        assert traces() == before, (before, traces())
        print("the same")
        """
    )
    assert said == "the same\n"


def test_a_runtime_that_is_not_imported_is_not_imported_for_a_rehearsal() -> None:
    said = in_a_process(
        """
        import sys
        from trimtab.worker.rehearsal import rehearse

        rehearse()
        print(sorted({"onnxruntime", "torch", "numpy"} & set(sys.modules)))
        """
    )
    assert said == "[]\n"
