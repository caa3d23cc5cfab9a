"""A real llama.cpp server in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MISSING = "no llama.cpp server here (`pip install xllamacpp==2026.10.11549`)"

_SERVE = """
import sys, xllamacpp
params = xllamacpp.CommonParams()
params.model.path = sys.argv[1]
params.n_ctx = int(sys.argv[2]) * 2
params.n_parallel = 2
params.n_gpu_layers = 0
params.cpuparams.n_threads = int(sys.argv[3])
params.port = 0
params.ui = False
params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
server = xllamacpp.Server(params)
print(server.listening_address, flush=True)
sys.stdin.read()
"""


@contextmanager
def llama_server(file: Path, context: int, threads: int = 2) -> Iterator[str]:
    """The address of a server of the GGUF `file`, two requests at a time, each with `context` tokens."""
    process = subprocess.Popen(
        [sys.executable, "-c", _SERVE, str(file), str(context), str(threads)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        url = process.stdout.readline().strip()
        assert url.startswith("http://127.0.0.1:"), "the llama.cpp server did not start"
        yield url
    finally:
        process.stdin.close()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
