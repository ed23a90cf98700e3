"""The inputs of every matrix product of an open model, squared and summed, while llama.cpp decodes.

The library's scheduler asks of each node of the graph whether anybody wants to see it, and shows it when it is computed
(`cb_eval`). What is kept and what is passed over is as in llama.cpp's tools/imatrix/imatrix.cpp.
"""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from models.errors import InternalError, ModelError
from quantize.calibration.corpus import Ids
from quantize.calibration.imatrix import Entry
from runtime.backends.llama_library import LlamaLibrary

_F32 = 0
_LEAST_ROWS = 16
"""Products of fewer rows are passed over, as llama-imatrix does."""
_BATCH = 512
_SEQUENCES = 64


class _Tensor(ctypes.Structure):
    """`struct ggml_tensor` of ggml.h, as the pinned llama-cpp-python carries it."""


_Tensor._fields_ = [
    ("type", ctypes.c_int),
    ("buffer", ctypes.c_void_p),
    ("ne", ctypes.c_int64 * 4),
    ("nb", ctypes.c_size_t * 4),
    ("op", ctypes.c_int),
    ("op_params", ctypes.c_int32 * 16),
    ("flags", ctypes.c_int32),
    ("src", ctypes.POINTER(_Tensor) * 10),
    ("view_src", ctypes.c_void_p),
    ("view_offs", ctypes.c_size_t),
    ("data", ctypes.c_void_p),
    ("name", ctypes.c_char * 64),
    ("extra", ctypes.c_void_p),
    ("padding", ctypes.c_char * 8),
]


class _Ggml:
    """The few functions of ggml that are needed here."""

    def __init__(self, library: LlamaLibrary) -> None:
        handle = library.c._lib
        self._op_name = ctypes.CFUNCTYPE(ctypes.c_char_p, ctypes.c_int)(("ggml_op_name", handle))
        self._nbytes = ctypes.CFUNCTYPE(ctypes.c_size_t, ctypes.c_void_p)(("ggml_nbytes", handle))
        self._get = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t)(
            ("ggml_backend_tensor_get", handle)
        )
        self._get_name = ctypes.CFUNCTYPE(ctypes.c_char_p, ctypes.c_void_p)(("ggml_get_name", handle))

    def operation(self, number: int) -> str:
        return str(self._op_name(number).decode())

    def require_layout(self, tensor: _Tensor) -> None:
        """Raise InternalError where the structure is not laid out as above: the library is another one."""
        if self._get_name(ctypes.addressof(tensor)) != tensor.name:
            raise InternalError("This build of llama.cpp lays its tensors out in a way that is unknown here.")

    def bytes(self, tensor: _Tensor) -> npt.NDArray[np.uint8]:
        """A copy of a tensor's memory, wherever it lies, from its first to its last byte."""
        found = np.empty(self._nbytes(ctypes.addressof(tensor)), np.uint8)
        self._get(ctypes.addressof(tensor), found.ctypes.data, 0, found.nbytes)
        return found

    def array(self, tensor: _Tensor, kind: type) -> npt.NDArray[Any]:
        """A copy as an array of four dimensions, the contiguous one last."""
        return np.lib.stride_tricks.as_strided(
            self.bytes(tensor).view(kind), tuple(tensor.ne)[::-1], tuple(tensor.nb)[::-1], writeable=False
        )


class ImatrixCollector:
    """Give `callback` to a context as its `cb_eval`, decode, call `check`, and take `entries`."""

    def __init__(self, library: LlamaLibrary) -> None:
        self._ggml = _Ggml(library)
        self._operations: dict[int, str] = {}
        self._sums: dict[str, npt.NDArray[np.float64]] = {}
        self._counts: dict[str, npt.NDArray[np.int64]] = {}
        self._error: BaseException | None = None
        self._seen = False
        self.callback = library.c.ggml_backend_sched_eval_callback(self._evaluate)

    def check(self) -> None:
        """Raise what went wrong inside a callback, whence nothing can be raised."""
        if self._error is not None:
            raise self._error

    def entries(self) -> dict[str, Entry]:
        """What was collected. Raises ModelError where nothing was, or where the model computes no numbers."""
        if not self._sums:
            raise ModelError("Nothing of the model was seen while it read the calibration text; give a longer text.")
        bad = next((name for name, sums in self._sums.items() if not np.isfinite(sums).all()), None)
        if bad is not None:
            raise ModelError(f"The inputs of {bad} are no numbers on the calibration text: the weights are damaged.")
        return {
            name: Entry(sums.astype(np.float32), self._counts[name].astype(np.float32))
            for name, sums in self._sums.items()
        }

    def _evaluate(self, address: int, ask: bool, _: object) -> bool:
        if self._error is not None:
            return False
        try:
            tensor = _Tensor.from_address(address)
            if not self._seen:
                self._seen = True
                self._ggml.require_layout(tensor)
            operation = self._operation(tensor.op)
            if operation not in ("MUL_MAT", "MUL_MAT_ID"):
                return not ask
            weight, given = tensor.src[0].contents, tensor.src[1].contents
            name = _plain(weight.name)
            if ask:
                return (
                    name.startswith("blk.")
                    and given.type == _F32
                    and (operation == "MUL_MAT_ID" or given.ne[1] >= _LEAST_ROWS)
                )
            if operation == "MUL_MAT_ID":
                self._add_experts(name, weight.ne[2], given, tensor.src[2].contents)
            else:
                self._add(name, weight.ne[2], weight.ne[3], given)
            return True
        except BaseException as error:
            self._error = error
            return False

    def _operation(self, number: int) -> str:
        if number not in self._operations:
            self._operations[number] = self._ggml.operation(number)
        return self._operations[number]

    def _add(self, name: str, second: int, third: int, given: _Tensor) -> None:
        """A product with a matrix, or with a stack of (third, second) of them."""
        values = self._ggml.array(given, np.float32)
        matrices = second * third
        sums = self._sums.setdefault(name, np.zeros((matrices, values.shape[-1])))
        if matrices == 1:
            sums[0] += _squares(values.reshape(-1, values.shape[-1]))
        else:
            for outer, inner in np.ndindex(values.shape[:2]):
                sums[outer % third * second + inner % second] += _squares(values[outer, inner])
        counts = self._counts.setdefault(name, np.zeros(1, np.int64))
        counts += values.shape[0] * values.shape[1] * values.shape[2] // matrices

    def _add_experts(self, name: str, experts: int, given: _Tensor, chosen: _Tensor) -> None:
        """A product with the experts that each token chose: `chosen` is (1, 1, tokens, used)."""
        values = self._ggml.array(given, np.float32)[0]  # (tokens, used or 1, columns)
        ids = self._ggml.array(chosen, np.int32)[0, 0]
        sums = self._sums.setdefault(name, np.zeros((experts, values.shape[-1])))
        counts = self._counts.setdefault(name, np.zeros(experts, np.int64))
        for place in range(ids.shape[1]):
            own = values[:, place % values.shape[1]]
            for expert in np.unique(ids[:, place]):
                sums[expert] += _squares(own[ids[:, place] == expert])
        counts += np.bincount(ids.reshape(-1), minlength=experts)


def decode_all(
    library: LlamaLibrary,
    model: Any,
    chunks: Sequence[Ids],
    collector: ImatrixCollector,
    *,
    threads: int,
    progress: Callable[[float], None],
) -> None:
    """Let an open model read all chunks, each as a sequence of its own, with logits wanted of every token: else the
    last layer's products are made for the wanted ones alone. Raises ModelError."""
    c = library.c
    groups = list(_grouped(chunks, max(_BATCH, max(map(len, chunks)))))
    parameters = c.llama_context_default_params()
    parameters.n_ctx = max(sum(map(len, group)) for group in groups)
    parameters.n_batch = parameters.n_ubatch = parameters.n_outputs_max = _BATCH
    parameters.n_seq_max = max(map(len, groups))
    parameters.n_threads = parameters.n_threads_batch = threads
    parameters.kv_unified = True
    parameters.no_perf = True
    parameters.cb_eval = collector.callback
    library.forget_words()
    context = c.llama_init_from_model(model, parameters)
    if not context:
        raise ModelError(f"The model cannot be run ({library.last_words() or 'the C library gives no reason'}).")
    batch = c.llama_batch_init(_BATCH, 0, 1)
    try:
        done, whole = 0, sum(map(len, chunks))
        for group in groups:
            c.llama_memory_clear(c.llama_get_memory(context), True)
            for part in _parts(group):
                batch.n_tokens = len(part)
                for index, (sequence, position, token) in enumerate(part):
                    batch.token[index], batch.pos[index], batch.logits[index] = token, position, 1
                    batch.n_seq_id[index], batch.seq_id[index][0] = 1, sequence
                code = c.llama_decode(context, batch)
                collector.check()
                if code:
                    raise ModelError(f"The model cannot read the calibration text ({library.last_words() or code}).")
                done += len(part)
                progress(done / whole)
    finally:
        c.llama_batch_free(batch)
        c.llama_free(context)


def _grouped(chunks: Sequence[Ids], room: int) -> Iterator[list[Ids]]:
    """Chunks that fit into one cache together, in order."""
    group: list[Ids] = []
    for chunk in chunks:
        if group and (sum(map(len, group)) + len(chunk) > room or len(group) == _SEQUENCES):
            yield group
            group = []
        group.append(chunk)
    if group:
        yield group


def _parts(group: Sequence[Ids]) -> Iterator[list[tuple[int, int, int]]]:
    """(sequence, position, token) in batches of about equal length: a short last one would be passed over."""
    flat = [
        (sequence, position, int(token))
        for sequence, chunk in enumerate(group)
        for position, token in enumerate(chunk.tolist())
    ]
    count = -(-len(flat) // _BATCH)
    bounds = [len(flat) * number // count for number in range(count + 1)]
    for start, end in itertools.pairwise(bounds):
        yield flat[start:end]


def _squares(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The sum of squares of each column."""
    found: npt.NDArray[np.float32] = np.einsum("ij,ij->j", rows, rows)
    return found


def _plain(name: bytes) -> str:
    """`CUDA0#blk.0.attn_k.weight#0` is `blk.0.attn_k.weight`."""
    parts = name.decode("utf-8", "replace").split("#")
    return parts[1] if len(parts) > 1 else parts[0]
