"""Was it the memory that ran out? Every kind of error by which PyTorch and its libraries say so. Free of torch."""

from __future__ import annotations

import sys

# Of RuntimeErrors that have no class of their own: torch's CPU allocator; oneDNN and other C++ libraries; a call of the
# CUDA driver rather than torch's allocator; cuBLAS's and cuDNN's workspaces.
_SAID = (
    "DefaultCPUAllocator: ",
    "std::bad_alloc",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether less work at a time would help."""
    torch = sys.modules.get("torch")
    if isinstance(error, MemoryError) or (torch is not None and isinstance(error, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _SAID)
